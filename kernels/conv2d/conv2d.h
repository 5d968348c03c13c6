// Full 3×3 convolution, padding 1: MobileNet's stem (3 input channels), and any number of channels.
//
//   forward          y[n,p,q,o]  = Σ_{r,s,i} x[n, p·stride+r-1, q·stride+s-1, i] · w[o,r,s,i]
//   backward_data    dx[n,h,v,i] = Σ_{r,s,o} dy[n,p,q,o] · w[o,r,s,i]   over p·stride+r-1 = h, q·stride+s-1 = v
//   backward_weight  dw[o,r,s,i] = Σ_{n,p,q} x[n, p·stride+r-1, q·stride+s-1, i] · dy[n,p,q,o]
//
// x is 0 outside the image.
//
// Layout: activations NHWC, filters [Cout,3,3,Cin]. PyTorch's [Cout,Cin,3,3] is converted by engine/io.
#pragma once

#include "kernels/common/bf16.h"
#include "kernels/common/fused_norm.h"
#include "kernels/common/table.h"

namespace kernels {

struct Conv2dShape {
  int batch, height, width, in_channels, out_channels, stride;  // stride 1 or 2
  int out_height() const { return (height - 1) / stride + 1; }
  int out_width() const { return (width - 1) / stride + 1; }
};

// T: the type of y, z and their gradients, float or Bf16 (common/bf16.h). x and its gradient are float in either case:
// it is a network's first layer, which takes images.
template <class T>
struct Conv2dOf {
  static constexpr const char* operation = "conv2d";
  const char* name;
  const char* idea;
  Provider provider;
  bool (*supports)(const Conv2dShape&);
  size_t (*workspace)(const Conv2dShape&);  // bytes, enough for each of the passes
  void (*forward)(Context&, const Conv2dShape&,
                  const float* x,  // (N, H, W, Cin)
                  const float* w,  // (Cout, 3, 3, Cin)
                  T* y);           // (N, P, Q, Cout)
  void (*backward_data)(Context&, const Conv2dShape&,
                        const T* dy,     // (N, P, Q, Cout)
                        const float* w,  // (Cout, 3, 3, Cin)
                        float* dx);      // (N, H, W, Cin)
  void (*backward_weight)(Context&, const Conv2dShape&,
                          const float* x,  // (N, H, W, Cin)
                          const T* dy,     // (N, P, Q, Cout)
                          float* dw);      // (Cout, 3, 3, Cin)
  // With the batch norm and ReLU6 behind it (common/fused_norm.h); x is an image, or any activation.
  void (*forward_fused)(Context&, const Conv2dShape&,
                        const float* x,  // (N, H, W, Cin)
                        const float* w,  // (Cout, 3, 3, Cin)
                        T* z,            // (N, P, Q, Cout)
                        const FusedNorm& norm_z) = nullptr;
  void (*backward_weight_fused)(Context&, const Conv2dShape&,
                                const float* x,           // (N, H, W, Cin)
                                const T* z,               // (N, P, Q, Cout)
                                const FusedNorm& norm_z,  // its gradients are there
                                const T* du_z,            // (N, P, Q, Cout) the gradient at the batch norm's output
                                float* dw) = nullptr;     // (Cout, 3, 3, Cin)
  // In inference, the batch norm folded into w and bias (common/fused_norm.h): y = min(max(x * w + bias, 0), 6).
  void (*forward_folded)(Context&, const Conv2dShape&,
                         const float* x,     // (N, H, W, Cin)
                         const float* w,     // (Cout, 3, 3, Cin)
                         const float* bias,  // (Cout)
                         T* y) = nullptr;    // (N, P, Q, Cout)
};
using Conv2d = Conv2dOf<float>;

namespace reference {
void conv2d_forward(const Conv2dShape&, const double* x, const double* w, double* y);
void conv2d_backward_data(const Conv2dShape&, const double* dy, const double* w, double* dx);
void conv2d_backward_weight(const Conv2dShape&, const double* x, const double* dy, double* dw);
}  // namespace reference

}  // namespace kernels
