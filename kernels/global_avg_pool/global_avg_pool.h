// Global average pooling: the mean over all positions of an image, a channel at a time.
//
//   forward   y[n,c] = 1/P Σ_p x[n,p,c]          backward  dx[n,p,c] = dy[n,c] / P
#pragma once

#include "kernels/common/bf16.h"
#include "kernels/common/fused_norm.h"
#include "kernels/common/table.h"

namespace kernels {

struct GlobalAvgPoolShape {
  int batch, positions, channels;  // positions P = height · width
};

// T: the type of x and its gradients, float or Bf16 (common/bf16.h); behind the pooling all is float.
template <class T>
struct GlobalAvgPoolOf {
  static constexpr const char* operation = "global_avg_pool";
  const char* name;
  const char* idea;
  Provider provider;
  bool (*supports)(const GlobalAvgPoolShape&);
  size_t (*workspace)(const GlobalAvgPoolShape&);
  void (*forward)(Context&, const GlobalAvgPoolShape&,
                  const T* x,  // (N, P, C)
                  float* y);   // (N, C)
  void (*backward)(Context&, const GlobalAvgPoolShape&,
                   const float* dy,  // (N, C)
                   T* dx);           // (N, P, C)
  // With the batch norm and ReLU6 before it (common/fused_norm.h).
  void (*forward_fused)(Context&, const GlobalAvgPoolShape&,
                        const T* x,               // (N, P, C)
                        const FusedNorm& norm_x,  // of x: its statistics are there
                        float* y) = nullptr;      // (N, C)
  void (*backward_fused)(Context&, const GlobalAvgPoolShape&,
                         const T* x,               // (N, P, C)
                         const FusedNorm& norm_x,  // its gradients are written
                         const float* dy,          // (N, C)
                         T* du_x) = nullptr;       // (N, P, C) the gradient at the batch norm's output
};
using GlobalAvgPool = GlobalAvgPoolOf<float>;

namespace reference {
void global_avg_pool_forward(const GlobalAvgPoolShape&, const double* x, double* y);
void global_avg_pool_backward(const GlobalAvgPoolShape&, const double* dy, double* dx);
}  // namespace reference

}  // namespace kernels
