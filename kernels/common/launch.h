// Launching a kernel and checking what came of it. `<<<>>>` is not C++, so both machines launch through launch().
#pragma once

#include <string>

#include "kernels/common/target.h"
#ifdef __SIMT__
#include <simt/simt.h>
#endif

namespace kernels::KERNEL_TARGET {

// Throws kernels::Error with the runtime's words if status is not success. `what` names the call.
inline void check(cudaError_t status, const char* what, const char* file, int line) {
  if (status == cudaSuccess) return;
  std::string message = std::string(what) + " (" + file + ":" + std::to_string(line) +
                        "): " + cudaGetErrorName(status) + ": " + cudaGetErrorString(status);
#ifdef __SIMT__
  if (*simt::last_error_message()) message += std::string(": ") + simt::last_error_message();
#endif
  throw Error(message);
}

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Puts `kernel` on the context's stream. shared_bytes is dynamic shared memory; above 48 KiB the kernel is first
// allowed it. Arguments convert to the kernel's parameter types. The template parameters stand apart so that `nullptr`
// and ints convert.
template <class... P, class... A>
void launch(const Context& context, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
            A&&... arguments) {
  static_assert(sizeof...(P) == sizeof...(A), "one argument for each kernel parameter");
  const auto run = [&](P... values) {
    void* pointers[] = {const_cast<void*>(static_cast<const void*>(&values))..., nullptr};
    if (shared_bytes > 48 * 1024)
      check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)),
            "cudaFuncSetAttribute", __FILE__, __LINE__);
    check(cudaLaunchKernel(kernel, grid, block, pointers, shared_bytes, static_cast<cudaStream_t>(context.stream)),
          "launch", __FILE__, __LINE__);
    ++context.launches;
  };
  run(static_cast<P>(arguments)...);
}

#if defined(__SIMT__) || defined(__CUDACC__)
// The block's dynamic shared memory, 16-byte aligned: CUDA's `extern __shared__` array, which a host compiler cannot
// define.
template <class T>
__device__ __forceinline__ T* dynamic_shared() {
#ifdef __SIMT__
  return static_cast<T*>(simt::dynamic_shared_memory());
#else
  extern __shared__ __align__(16) unsigned char dynamic_shared_bytes[];
  return reinterpret_cast<T*>(dynamic_shared_bytes);
#endif
}
#endif

}  // namespace kernels::KERNEL_TARGET
