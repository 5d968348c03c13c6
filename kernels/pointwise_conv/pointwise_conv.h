// Pointwise (1×1) convolution: in NHWC a matrix product over all pixels of all images (MobileNets, section 3.1).
//
//   forward          y[m,o]  = Σ_i x[m,i] · w[o,i]
//   backward_data    dx[m,i] = Σ_o dy[m,o] · w[o,i]
//   backward_weight  dw[o,i] = Σ_m dy[m,o] · x[m,i]
//
// m runs over the rows: batch · height · width pixels. Layout: filters [Cout,Cin], which is PyTorch's [Cout,Cin,1,1].
#pragma once

#include "kernels/common/bf16.h"
#include "kernels/common/fused_norm.h"
#include "kernels/common/table.h"

namespace kernels {

struct PointwiseConvShape {
  int64_t rows;  // batch · height · width
  int in_channels, out_channels;
};

// T: the type of the activations and of their gradients, float or Bf16 (common/bf16.h). Weights and their gradients are
// float, and so are all sums.
template <class T>
struct PointwiseConvOf {
  static constexpr const char* operation = "pointwise_conv";
  const char* name;
  const char* idea;
  Provider provider;
  bool (*supports)(const PointwiseConvShape&);
  size_t (*workspace)(const PointwiseConvShape&);  // bytes, enough for each of the passes
  void (*forward)(Context&, const PointwiseConvShape&,
                  const T* x,      // (M, Cin)
                  const float* w,  // (Cout, Cin)
                  T* y);           // (M, Cout)
  void (*backward_data)(Context&, const PointwiseConvShape&,
                        const T* dy,     // (M, Cout)
                        const float* w,  // (Cout, Cin)
                        T* dx);          // (M, Cin)
  void (*backward_weight)(Context&, const PointwiseConvShape&,
                          const T* x,   // (M, Cin)
                          const T* dy,  // (M, Cout)
                          float* dw);   // (Cout, Cin)
  // With the batch norms and ReLU6 on both sides (common/fused_norm.h): z = a(x) · wᵀ.
  void (*forward_fused)(Context&, const PointwiseConvShape&,
                        const T* x,               // (M, Cin)
                        const FusedNorm& norm_x,  // of x: its statistics are there
                        const float* w,           // (Cout, Cin)
                        T* z,                     // (M, Cout)
                        const FusedNorm& norm_z) = nullptr;
  void (*backward_fused)(Context&, const PointwiseConvShape&,
                         const T* x,               // (M, Cin)
                         const FusedNorm& norm_x,  // its gradients are written
                         const float* w,           // (Cout, Cin)
                         const T* z,               // (M, Cout)
                         const FusedNorm& norm_z,  // its gradients are there
                         const T* du_z,            // (M, Cout) the gradient at the output of z's batch norm
                         T* du_x,                  // (M, Cin) the gradient at the output of x's batch norm
                         float* dw) = nullptr;     // (Cout, Cin)
  // In inference, the batch norm folded into w and bias (common/fused_norm.h): y = min(max(x · wᵀ + bias, 0), 6).
  void (*forward_folded)(Context&, const PointwiseConvShape&,
                         const T* x,         // (M, Cin)
                         const float* w,     // (Cout, Cin)
                         const float* bias,  // (Cout)
                         T* y) = nullptr;    // (M, Cout)
  // The same for many calls with one w: `pack` brings it once into the row's own layout, of `packed_bytes`, which does
  // not depend on the rows. All three or none.
  size_t (*packed_bytes)(const PointwiseConvShape&) = nullptr;
  void (*pack)(Context&, const PointwiseConvShape&, const float* w, void* packed) = nullptr;
  void (*forward_packed)(Context&, const PointwiseConvShape&,
                         const T* x,          // (M, Cin)
                         const void* packed,  // what pack() made of w
                         const float* bias,   // (Cout)
                         T* y) = nullptr;     // (M, Cout)
  Precision precision = Precision::fp32;
};
using PointwiseConv = PointwiseConvOf<float>;

namespace reference {
void pointwise_conv_forward(const PointwiseConvShape&, const double* x, const double* w, double* y);
void pointwise_conv_backward_data(const PointwiseConvShape&, const double* dy, const double* w, double* dx);
void pointwise_conv_backward_weight(const PointwiseConvShape&, const double* x, const double* dy, double* dw);
}  // namespace reference

}  // namespace kernels
