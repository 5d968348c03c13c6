#include <algorithm>

#include "kernels/depthwise_conv/depthwise_conv.h"

namespace kernels::reference {
namespace {

// Calls body(index in x, index in w, index in y) for each product of the formulas: y[n,p,q,c] += x[n,i,j,c] · w[r,s,c].
template <class Body>
void for_each_product(const DepthwiseConvShape& shape, Body body) {
  const int H = shape.height, W = shape.width, C = shape.channels, P = shape.out_height(), Q = shape.out_width();
  for (int64_t n = 0; n < shape.batch; ++n)
    for (int p = 0; p < P; ++p)
      for (int q = 0; q < Q; ++q)
        for (int r = 0; r < 3; ++r)
          for (int s = 0; s < 3; ++s) {
            const int i = p * shape.stride + r - 1, j = q * shape.stride + s - 1;
            if (i < 0 || i >= H || j < 0 || j >= W) continue;
            for (int c = 0; c < C; ++c)
              body(((n * H + i) * W + j) * C + c, (r * 3 + s) * C + c, ((n * P + p) * Q + q) * C + c);
          }
}

}  // namespace

void depthwise_conv_forward(const DepthwiseConvShape& s, const double* x, const double* w, double* y) {
  std::fill_n(y, int64_t{s.batch} * s.out_height() * s.out_width() * s.channels, 0);
  for_each_product(s, [&](int64_t in, int64_t tap, int64_t out) { y[out] += x[in] * w[tap]; });
}

void depthwise_conv_backward_data(const DepthwiseConvShape& s, const double* dy, const double* w, double* dx) {
  std::fill_n(dx, int64_t{s.batch} * s.height * s.width * s.channels, 0);
  for_each_product(s, [&](int64_t in, int64_t tap, int64_t out) { dx[in] += dy[out] * w[tap]; });
}

void depthwise_conv_backward_weight(const DepthwiseConvShape& s, const double* x, const double* dy, double* dw) {
  std::fill_n(dw, 9 * int64_t{s.channels}, 0);
  for_each_product(s, [&](int64_t in, int64_t tap, int64_t out) { dw[tap] += x[in] * dy[out]; });
}

}  // namespace kernels::reference
