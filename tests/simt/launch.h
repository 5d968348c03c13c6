// Launching kernels in the tests of engine/simt.
#pragma once

#include <cuda_runtime.h>

#include <tuple>
#include <vector>

namespace simt_tests {

struct Shape {
  dim3 grid, block;
  size_t shared_bytes = 0;
  cudaStream_t stream = nullptr;
};

// Arguments convert to the kernel's parameter types.
template <class... P, class... A>
cudaError_t launch(void (*kernel)(P...), const Shape& shape, A&&... arguments) {
  std::tuple<P...> values(static_cast<P>(arguments)...);
  return std::apply(
      [&](auto&... value) {
        void* pointers[] = {const_cast<void*>(static_cast<const void*>(&value))..., nullptr};
        return cudaLaunchKernel(kernel, shape.grid, shape.block, pointers, shape.shared_bytes, shape.stream);
      },
      values);
}

// Values on the device, which here a test may read directly.
template <class T>
std::vector<T> filled(size_t n, T value) {
  return std::vector<T>(n, value);
}

// Restores the order of threads and the number of OS threads at the end of a test.
struct Settings {
  uint64_t seed = simt::order_seed();
  int threads = simt::threads();
  ~Settings() {
    simt::set_order_seed(seed);
    simt::set_threads(threads);
  }
};

}  // namespace simt_tests
