#include <algorithm>

#include "kernels/conv2d/conv2d.h"

namespace kernels::reference {
namespace {

// Calls body(index in x, index in w, index in y) for each product of the formulas: y[n,p,q,o] += x[n,h,v,i] ·
// w[o,r,s,i].
template <class Body>
void for_each_product(const Conv2dShape& shape, Body body) {
  const int H = shape.height, W = shape.width, P = shape.out_height(), Q = shape.out_width();
  const int I = shape.in_channels, O = shape.out_channels;
  for (int64_t n = 0; n < shape.batch; ++n)
    for (int p = 0; p < P; ++p)
      for (int q = 0; q < Q; ++q)
        for (int o = 0; o < O; ++o)
          for (int r = 0; r < 3; ++r)
            for (int s = 0; s < 3; ++s) {
              const int h = p * shape.stride + r - 1, v = q * shape.stride + s - 1;
              if (h < 0 || h >= H || v < 0 || v >= W) continue;
              for (int i = 0; i < I; ++i)
                body(((n * H + h) * W + v) * I + i, ((int64_t{o} * 3 + r) * 3 + s) * I + i,
                     ((n * P + p) * Q + q) * O + o);
            }
}

}  // namespace

void conv2d_forward(const Conv2dShape& s, const double* x, const double* w, double* y) {
  std::fill_n(y, int64_t{s.batch} * s.out_height() * s.out_width() * s.out_channels, 0);
  for_each_product(s, [&](int64_t in, int64_t tap, int64_t out) { y[out] += x[in] * w[tap]; });
}

void conv2d_backward_data(const Conv2dShape& s, const double* dy, const double* w, double* dx) {
  std::fill_n(dx, int64_t{s.batch} * s.height * s.width * s.in_channels, 0);
  for_each_product(s, [&](int64_t in, int64_t tap, int64_t out) { dx[in] += dy[out] * w[tap]; });
}

void conv2d_backward_weight(const Conv2dShape& s, const double* x, const double* dy, double* dw) {
  std::fill_n(dw, int64_t{s.out_channels} * 9 * s.in_channels, 0);
  for_each_product(s, [&](int64_t in, int64_t tap, int64_t out) { dw[tap] += x[in] * dy[out]; });
}

}  // namespace kernels::reference
