// Batch norm and ReLU6 without memory of their own: the passes `…_fused` of the convolutions and of the pooling.
//
// What lies in memory between two convolutions is z (M, C), a convolution's bare output. The activation behind it,
//
//   a = min(max(u, 0), 6),  u = scale·(z-μ) + β,  scale = γ/√(σ²+ε),
//
// is computed by whoever loads z (its prologue); whoever stores z sums its statistics μ, σ² (its epilogue). Backward,
// du is the gradient at u, ReLU6's mask included. The gradient at z follows from it element by element,
//
//   dz = scale·du + slope·(z-μ) + constant,   slope = -scale·dγ/(√(σ²+ε)·M),   constant = -scale·dβ/M,
//
// so a backward convolution computes dz as it loads du and z. Its data gradient, masked by where its input's u lies in
// (0, 6), is the du of the batch norm below, whose sums dβ = Σ du and dγ = Σ du·(z-μ)/√(σ²+ε) are its epilogue.
//
// Counting elements of a convolution's input I and output O, forward moves I + O, the data gradient 2·O + 2·I and the
// weight gradient 2·O + I: 5·O + 4·I, where convolution, batch norm and ReLU6 as separate operations move about
// 16·O + 3·I.
//
// In inference μ and σ² are the running ones, constants: scale goes into the convolution's weights, β - scale·μ is a
// bias (`forward_folded`).
#pragma once

#include <cstdint>

namespace kernels {

// One batch norm, with the ReLU6 behind it. All arrays (C).
struct FusedNorm {
  const float *weight = nullptr, *bias = nullptr;  // γ, β
  float eps = 0, momentum = 0;
  float *running_mean = nullptr, *running_var = nullptr;  // moved as batchnorm.h says
  // Written by the pass that stores z; read by all that load it.
  float *mean = nullptr, *invstd = nullptr, *scale = nullptr;  // μ, 1/√(σ²+ε), γ/√(σ²+ε)
  // Written by the pass that stores du; slope and constant are read by those that load it.
  float *dweight = nullptr, *dbias = nullptr, *slope = nullptr, *constant = nullptr;  // dγ, dβ
};

// In double, for the tests. All (M, C) arrays; factors (C).
namespace reference {
// a from z.
void fused_activate(int64_t rows, int channels, const double* mean, const double* scale, const double* bias,
                    const double* z, double* a);
// dz from du and z.
void fused_gradient(int64_t rows, int channels, const double* mean, const double* scale, const double* slope,
                    const double* constant, const double* z, const double* du, double* dz);
// du from the activation's gradient da, and the norm's gradients, slope and constant.
void fused_mask(int64_t rows, int channels, const double* mean, const double* invstd, const double* scale,
                const double* bias, const double* z, const double* da, double* du, double* dweight, double* dbias,
                double* slope, double* constant);
}  // namespace reference

}  // namespace kernels
