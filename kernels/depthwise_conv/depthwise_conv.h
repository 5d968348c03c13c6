// Depthwise 3×3 convolution, padding 1: every channel has its own 3×3 filter (Howard et al. 2017, MobileNets,
// section 3.1).
//
//   forward          y[n,p,q,c]  = Σ_{r,s} x[n, p·stride+r-1, q·stride+s-1, c] · w[r,s,c]
//   backward_data    dx[n,i,j,c] = Σ_{r,s} dy[n,p,q,c] · w[r,s,c]   over p·stride+r-1 = i, q·stride+s-1 = j
//   backward_weight  dw[r,s,c]   = Σ_{n,p,q} x[n, p·stride+r-1, q·stride+s-1, c] · dy[n,p,q,c]
//
// x is 0 outside the image.
//
// Layout: activations NHWC, filters [3,3,C]. PyTorch's [C,1,3,3] is converted by engine/io.
#pragma once

#include "kernels/common/bf16.h"
#include "kernels/common/fused_norm.h"
#include "kernels/common/table.h"

namespace kernels {

struct DepthwiseConvShape {
  int batch, height, width, channels, stride;  // stride 1 or 2
  int out_height() const { return (height - 1) / stride + 1; }
  int out_width() const { return (width - 1) / stride + 1; }
};

// T: the type of the activations and of their gradients, float or Bf16 (common/bf16.h). Weights, their gradients and
// all sums are float.
template <class T>
struct DepthwiseConvOf {
  static constexpr const char* operation = "depthwise_conv";
  const char* name;  // "naive", "tiled", "cudnn", "onednn"
  const char* idea;  // the one idea that this rung adds
  Provider provider;
  bool (*supports)(const DepthwiseConvShape&);
  size_t (*workspace)(const DepthwiseConvShape&);  // bytes, enough for each of the passes
  void (*forward)(Context&, const DepthwiseConvShape&,
                  const T* x,      // (N, H, W, C)
                  const float* w,  // (3, 3, C)
                  T* y);           // (N, P, Q, C), P = out_height(), Q = out_width()
  void (*backward_data)(Context&, const DepthwiseConvShape&,
                        const T* dy,     // (N, P, Q, C)
                        const float* w,  // (3, 3, C)
                        T* dx);          // (N, H, W, C)
  void (*backward_weight)(Context&, const DepthwiseConvShape&,
                          const T* x,   // (N, H, W, C)
                          const T* dy,  // (N, P, Q, C)
                          float* dw);   // (3, 3, C)
  // With the batch norms and ReLU6 on both sides (common/fused_norm.h): z = a(x) * w.
  void (*forward_fused)(Context&, const DepthwiseConvShape&,
                        const T* x,               // (N, H, W, C)
                        const FusedNorm& norm_x,  // of x: its statistics are there
                        const float* w,           // (3, 3, C)
                        T* z,                     // (N, P, Q, C)
                        const FusedNorm& norm_z) = nullptr;
  void (*backward_fused)(Context&, const DepthwiseConvShape&,
                         const T* x,               // (N, H, W, C)
                         const FusedNorm& norm_x,  // its gradients are written
                         const float* w,           // (3, 3, C)
                         const T* z,               // (N, P, Q, C)
                         const FusedNorm& norm_z,  // its gradients are there
                         const T* du_z,            // (N, P, Q, C) the gradient at the output of z's batch norm
                         T* du_x,                  // (N, H, W, C) the gradient at the output of x's batch norm
                         float* dw) = nullptr;     // (3, 3, C)
  // In inference, the batch norm folded into w and bias (common/fused_norm.h): y = min(max(x * w + bias, 0), 6).
  void (*forward_folded)(Context&, const DepthwiseConvShape&,
                         const T* x,         // (N, H, W, C)
                         const float* w,     // (3, 3, C)
                         const float* bias,  // (C)
                         T* y) = nullptr;    // (N, P, Q, C)
};
using DepthwiseConv = DepthwiseConvOf<float>;

// The formulas above in double precision, plain loops: what every row is tested against.
namespace reference {
void depthwise_conv_forward(const DepthwiseConvShape&, const double* x, const double* w, double* y);
void depthwise_conv_backward_data(const DepthwiseConvShape&, const double* dy, const double* w, double* dx);
void depthwise_conv_backward_weight(const DepthwiseConvShape&, const double* x, const double* dy, double* dw);
}  // namespace reference

}  // namespace kernels
