#pragma once

// Streams and capture, for the functions that put work into a stream.

#include <functional>
#include <vector>

#include "include/simt/runtime_api.h"

namespace simt {

struct CUgraphNode_st {
  std::function<cudaError_t()> run;
};

struct CUgraph_st {
  std::vector<CUgraphNode_st> nodes;  // in the order of the calls

  // Runs the nodes up to the first that fails, whose error is recorded then.
  cudaError_t run() const {
    for (const CUgraphNode_st& node : nodes) {
      if (cudaError_t error = node.run()) return error;
    }
    return cudaSuccess;
  }
};

namespace detail {

// Where an operation of this stream goes: *graph is null if it is to run now, else it is to become a node there. An
// error if the operation is not allowed at this time.
cudaError_t route(cudaStream_t stream, CUgraph_st** graph);

// An error if a capture is going on that forbids calls like cudaMalloc, which may wait for the device; it is then
// invalid.
cudaError_t check_no_capture();

}  // namespace detail
}  // namespace simt
