#pragma once

// Kernel launches and the attributes of kernels.

#include <cstddef>
#include <memory>
#include <tuple>
#include <utility>

#include "runtime_api.h"

namespace simt {
namespace detail {

// A kernel with its arguments, their types forgotten.
struct Call {
  void (*kernel)();
  const void* arguments;                                       // a std::tuple of the kernel's parameter types
  void (*run)(void (*kernel)(), const void* arguments);        // calls the kernel as one thread
  std::shared_ptr<const void> (*copy)(const void* arguments);  // for a graph
};

cudaError_t launch(const Call& call, dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t stream);

template <class... P>
void run(void (*kernel)(), const void* arguments) {
  std::apply(reinterpret_cast<void (*)(P...)>(kernel), *static_cast<const std::tuple<P...>*>(arguments));
}

template <class... P>
std::shared_ptr<const void> copy(const void* arguments) {
  return std::make_shared<std::tuple<P...>>(*static_cast<const std::tuple<P...>*>(arguments));
}

template <class... P>
cudaError_t launch(void (*kernel)(P...), const std::tuple<P...>& arguments, dim3 grid, dim3 block,
                   std::size_t shared_bytes, cudaStream_t stream) {
  Call call = {reinterpret_cast<void (*)()>(kernel), &arguments, &run<P...>, &copy<P...>};
  return launch(call, grid, block, shared_bytes, stream);
}

}  // namespace detail

// Runs kernel; arguments[i] points to the i-th argument, of exactly the parameter's type. They are copied at the call.
// What a GPU refuses is refused with the same error. A kernel that goes wrong (a barrier or a warp operation that can
// never complete, __trap(), a C++ exception) gives cudaErrorLaunchFailure, and last_error_message() says what happened.
template <class... P>
cudaError_t cudaLaunchKernel(void (*kernel)(P...), dim3 grid, dim3 block, void** arguments,
                             std::size_t shared_bytes = 0, cudaStream_t stream = nullptr) {
  auto unpack = [&]<std::size_t... I>(std::index_sequence<I...>) {
    return std::tuple<P...>(*static_cast<P*>(arguments[I])...);
  };
  return detail::launch(kernel, unpack(std::index_sequence_for<P...>()), grid, block, shared_bytes, stream);
}

struct cudaLaunchAttribute;
struct cudaLaunchConfig_t {
  dim3 gridDim;
  dim3 blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;  // ignored
  unsigned numAttrs = 0;
};

template <class... P, class... A>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(P...), A&&... arguments) {
  return detail::launch(kernel, std::tuple<P...>(std::forward<A>(arguments)...), config->gridDim, config->blockDim,
                        config->dynamicSmemBytes, config->stream);
}

struct cudaFuncAttributes {
  std::size_t sharedSizeBytes;  // 0: the host compiler does not tell
  std::size_t constSizeBytes;
  std::size_t localSizeBytes;
  int maxThreadsPerBlock;
  int numRegs;
  int ptxVersion;
  int binaryVersion;
  int maxDynamicSharedSizeBytes;
};
enum cudaFuncAttribute : int {
  cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
  cudaFuncAttributePreferredSharedMemoryCarveout = 9,
};

namespace detail {
cudaError_t set_attribute(void (*kernel)(), cudaFuncAttribute attribute, int value);
cudaError_t get_attributes(cudaFuncAttributes* attributes, void (*kernel)());
cudaError_t occupancy(int* blocks, int block_threads, std::size_t shared_bytes);
}  // namespace detail

template <class... P>
cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), cudaFuncAttribute attribute, int value) {
  return detail::set_attribute(reinterpret_cast<void (*)()>(kernel), attribute, value);
}

template <class... P>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, void (*kernel)(P...)) {
  return detail::get_attributes(attributes, reinterpret_cast<void (*)()>(kernel));
}

// As on a device of compute capability 8.0 where registers do not limit.
template <class... P>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void (*)(P...), int block_threads,
                                                          std::size_t shared_bytes) {
  return detail::occupancy(blocks, block_threads, shared_bytes);
}

}  // namespace simt
