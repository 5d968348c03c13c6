// cuBLAS for the rows of that name: fp32 products of the row-major matrices that pointwise convolution and linear have.
#pragma once

#include <cublas_v2.h>

#include <string>
#include <vector>

#include "kernels/common/launch.h"

namespace kernels::KERNEL_TARGET::cublas {

inline void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS) throw Error(std::string(what) + ": " + cublasGetStatusString(status));
}

// What Context::cublas points to.
struct Library {
  cublasHandle_t handle = nullptr;
  float* ones = nullptr;  // (ones_count), device
  int64_t ones_count = 0;
  std::vector<float*> shorter;  // that it took the place of: captured graphs read them yet

  // The default math mode keeps fp32 products fp32 (TF32 must be asked for), and cuBLAS by default uses no atomics: the
  // same bits in every run on one stream.
  Library() { check(cublasCreate(&handle), "cublasCreate"); }
  ~Library() {
    cudaFree(ones);
    for (float* array : shorter) cudaFree(array);
    cublasDestroy(handle);
  }
  Library(const Library&) = delete;
};

inline Library& library(Context& context) {
  if (context.cublas == nullptr) context.cublas = std::make_shared<Library>();
  auto& library = *static_cast<Library*>(context.cublas.get());
  check(cublasSetStream(library.handle, static_cast<cudaStream_t>(context.stream)), "cublasSetStream");
  return library;
}

// A vector of at least `count` ones in device memory: with it, sums over rows and repeated rows are products too.
inline const float* ones(Library& library, int64_t count) {
  if (count > library.ones_count) {
    using KERNEL_TARGET::check;
    if (library.ones != nullptr) library.shorter.push_back(library.ones);
    library.ones = nullptr, library.ones_count = 0;
    const std::vector<float> host(count, 1.0f);
    check(cudaMalloc(&library.ones, count * sizeof(float)), "cudaMalloc", __FILE__, __LINE__);
    check(cudaMemcpy(library.ones, host.data(), count * sizeof(float), cudaMemcpyHostToDevice), "cudaMemcpy", __FILE__,
          __LINE__);
    library.ones_count = count;
  }
  return library.ones;
}

// cuBLAS's matrices are column-major, so it sees each of ours transposed: it is asked for the transposed result.

// y (rows, out) = x (rows, in) · wᵀ + add · y,   w (out, in)
inline void forward(Library& library, int64_t rows, int64_t in, int64_t out, const float* x, const float* w, float add,
                    float* y) {
  const float one = 1;
  check(cublasSgemm_64(library.handle, CUBLAS_OP_T, CUBLAS_OP_N, out, rows, in, &one, w, in, x, in, &add, y, out),
        "cublasSgemm");
}

// dx (rows, in) = dy (rows, out) · w
inline void backward_data(Library& library, int64_t rows, int64_t in, int64_t out, const float* dy, const float* w,
                          float* dx) {
  const float one = 1, zero = 0;
  check(cublasSgemm_64(library.handle, CUBLAS_OP_N, CUBLAS_OP_N, in, rows, out, &one, w, in, dy, out, &zero, dx, in),
        "cublasSgemm");
}

// dw (out, in) = dyᵀ · x
inline void backward_weight(Library& library, int64_t rows, int64_t in, int64_t out, const float* x, const float* dy,
                            float* dw) {
  const float one = 1, zero = 0;
  check(cublasSgemm_64(library.handle, CUBLAS_OP_N, CUBLAS_OP_T, in, out, rows, &one, x, in, dy, out, &zero, dw, in),
        "cublasSgemm");
}

}  // namespace kernels::KERNEL_TARGET::cublas
