#include "kernels/pointwise_conv/pointwise_conv.h"

namespace kernels::reference {

void pointwise_conv_forward(const PointwiseConvShape& s, const double* x, const double* w, double* y) {
  for (int64_t m = 0; m < s.rows; ++m)
    for (int o = 0; o < s.out_channels; ++o) {
      double sum = 0;
      for (int i = 0; i < s.in_channels; ++i) sum += x[m * s.in_channels + i] * w[int64_t{o} * s.in_channels + i];
      y[m * s.out_channels + o] = sum;
    }
}

void pointwise_conv_backward_data(const PointwiseConvShape& s, const double* dy, const double* w, double* dx) {
  for (int64_t m = 0; m < s.rows; ++m)
    for (int i = 0; i < s.in_channels; ++i) {
      double sum = 0;
      for (int o = 0; o < s.out_channels; ++o) sum += dy[m * s.out_channels + o] * w[int64_t{o} * s.in_channels + i];
      dx[m * s.in_channels + i] = sum;
    }
}

void pointwise_conv_backward_weight(const PointwiseConvShape& s, const double* x, const double* dy, double* dw) {
  for (int o = 0; o < s.out_channels; ++o)
    for (int i = 0; i < s.in_channels; ++i) {
      double sum = 0;
      for (int64_t m = 0; m < s.rows; ++m) sum += dy[m * s.out_channels + o] * x[m * s.in_channels + i];
      dw[int64_t{o} * s.in_channels + i] = sum;
    }
}

}  // namespace kernels::reference
