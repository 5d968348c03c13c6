#pragma once

// What engine/simt offers beyond CUDA's own functions. <cuda_runtime.h> includes this file, so a kernel has it too.

#include <cstddef>
#include <cstdint>

#include "simt/runtime_api.h"

namespace simt {

// Host code on the threads that run grids: task(argument, i) for i = 0 … count - 1, once each, in any order and at the
// same time, as one piece of work of this stream; under capture it becomes one node of the graph. `argument` points to
// argument_bytes bytes, aligned as new aligns, that a graph keeps a copy of. A task neither throws nor launches.
// cudaErrorInvalidDeviceFunction without a task, cudaErrorInvalidValue for a negative count.
cudaError_t launch_tasks(cudaStream_t stream, std::int64_t count, void (*task)(const void* argument, std::int64_t i),
                         const void* argument, std::size_t argument_bytes);

// The number of OS threads that run the blocks of a grid and such tasks, the launching one included. At first it is the
// environment's SIMT_THREADS, or the number of processors that this process may use. n is clamped to [1, 1024].
void set_threads(int n);
int threads();

// The order in which the threads of a block and the blocks of a grid run: 0 (the default, or the environment's
// SIMT_SEED) is the natural order; any other seed permutes both, and the threads again after each barrier. The same
// seed gives the same order in every run, whatever the number of OS threads.
void set_order_seed(std::uint64_t seed);
std::uint64_t order_seed();

// What the last error of this OS thread was about: kernel, block, threads and reason if it came up while a kernel ran,
// else empty. Valid until the next error.
const char* last_error_message();

// The dynamic shared memory of the running block, aligned to 128 bytes: what `extern __shared__` names in CUDA. Each
// block finds it filled with 0xFF bytes (NaN as a float), so a read of what nobody wrote shows.
void* dynamic_shared_memory();

}  // namespace simt
