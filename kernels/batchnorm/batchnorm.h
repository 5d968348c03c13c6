// Batch normalisation over the rows of a (rows, channels) matrix: NHWC activations with rows = batch · height · width
// (Ioffe & Szegedy 2015). M = rows; statistics are per channel c.
//
//   training   μ = 1/M Σ_m x,  σ² = 1/M Σ_m (x-μ)²,  x̂ = (x-μ)/√(σ²+ε),  y = γ·x̂ + β
//              running_mean ← (1-momentum)·running_mean + momentum·μ
//              running_var  ← (1-momentum)·running_var  + momentum·σ²·M/(M-1)         (unbiased, as PyTorch's)
//   inference  y = γ·(x-running_mean)/√(running_var+ε) + β
//   backward   dβ = Σ_m dy,  dγ = Σ_m dy·x̂,  dx = γ/√(σ²+ε) · (dy - dβ/M - x̂·dγ/M)          (of the training forward)
//
// Sums run in a fixed order (no atomics), and the variance is never taken as E[x²]-E[x]² in fp32, which cancels.
#pragma once

#include "kernels/common/bf16.h"
#include "kernels/common/table.h"

namespace kernels {

struct BatchNormShape {
  int64_t rows;  // batch · height · width; training needs at least 2
  int channels;
};

// Throws where the unbiased variance does not exist.
inline constexpr const char* batchnorm_one_value =
    "batchnorm: training needs at least 2 values per channel, and there is 1";
inline void check_training(const BatchNormShape& s) {
  if (s.rows < 2) throw Error(batchnorm_one_value);
}

// T: the type of x, y and their gradients, float or Bf16 (common/bf16.h). Parameters, statistics and all sums are
// float.
template <class T>
struct BatchNormOf {
  static constexpr const char* operation = "batchnorm";
  const char* name;
  const char* idea;
  Provider provider;
  bool (*supports)(const BatchNormShape&);
  size_t (*workspace)(const BatchNormShape&);  // bytes, enough for each of the passes
  void (*forward_training)(Context&, const BatchNormShape&,
                           const T* x,           // (M, C)
                           const float* weight,  // (C) γ
                           const float* bias,    // (C) β
                           float eps, float momentum,
                           float* running_mean,  // (C) updated
                           float* running_var,   // (C) updated
                           float* saved_mean,    // (C) μ, for backward
                           float* saved_invstd,  // (C) 1/√(σ²+ε), for backward
                           T* y);                // (M, C)
  void (*forward_inference)(Context&, const BatchNormShape&,
                            const T* x,                 // (M, C)
                            const float* weight,        // (C)
                            const float* bias,          // (C)
                            const float* running_mean,  // (C)
                            const float* running_var,   // (C)
                            float eps,
                            T* y);  // (M, C)
  void (*backward)(Context&, const BatchNormShape&,
                   const T* x,                 // (M, C) the forward's input
                   const T* dy,                // (M, C)
                   const float* weight,        // (C)
                   const float* saved_mean,    // (C)
                   const float* saved_invstd,  // (C)
                   T* dx,                      // (M, C)
                   float* dweight,             // (C)
                   float* dbias);              // (C)
};
using BatchNorm = BatchNormOf<float>;

namespace reference {
void batchnorm_forward_training(const BatchNormShape&, const double* x, const double* weight, const double* bias,
                                double eps, double momentum, double* running_mean, double* running_var,
                                double* saved_mean, double* saved_invstd, double* y);
void batchnorm_forward_inference(const BatchNormShape&, const double* x, const double* weight, const double* bias,
                                 const double* running_mean, const double* running_var, double eps, double* y);
void batchnorm_backward(const BatchNormShape&, const double* x, const double* dy, const double* weight,
                        const double* saved_mean, const double* saved_invstd, double* dx, double* dweight,
                        double* dbias);
}  // namespace reference

}  // namespace kernels
