// Idea: one thread an output. Neighbouring threads make neighbouring outputs of one row, so stores are coalesced; each
// thread reads both of its rows from memory or a cache, 8 bytes for one multiply-add.
#include "kernels/common/launch.h"
#include "kernels/pointwise_conv/pointwise_conv.h"

namespace kernels::KERNEL_TARGET {

__global__ void pointwise_conv_naive_forward(int64_t rows, int in, int out, const float* x, const float* w, float* y) {
  const int64_t element = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (element >= rows * out) return;
  const int64_t m = element / out, o = element % out;
  float sum = 0;
  for (int i = 0; i < in; ++i) sum += x[m * in + i] * w[o * in + i];
  y[element] = sum;
}

__global__ void pointwise_conv_naive_backward_data(int64_t rows, int in, int out, const float* dy, const float* w,
                                                   float* dx) {
  const int64_t element = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (element >= rows * in) return;
  const int64_t m = element / in, i = element % in;
  float sum = 0;
  for (int64_t o = 0; o < out; ++o) sum += dy[m * out + o] * w[o * in + i];
  dx[element] = sum;
}

__global__ void pointwise_conv_naive_backward_weight(int64_t rows, int in, int out, const float* x, const float* dy,
                                                     float* dw) {
  const int64_t element = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (element >= static_cast<int64_t>(out) * in) return;
  const int64_t o = element / in, i = element % in;
  float sum = 0;
  for (int64_t m = 0; m < rows; ++m) sum += dy[m * out + o] * x[m * in + i];
  dw[element] = sum;
}

extern const PointwiseConv pointwise_conv_naive = {
    .name = "naive",
    .idea = "one thread an output",
    .provider = Provider::native,
    .supports = [](const PointwiseConvShape&) { return true; },
    .workspace = [](const PointwiseConvShape&) -> size_t { return 0; },
    .forward =
        [](Context& context, const PointwiseConvShape& s, const float* x, const float* w, float* y) {
          launch(context, pointwise_conv_naive_forward, ceil_div(s.rows * s.out_channels, 256), 256, 0, s.rows,
                 s.in_channels, s.out_channels, x, w, y);
        },
    .backward_data =
        [](Context& context, const PointwiseConvShape& s, const float* dy, const float* w, float* dx) {
          launch(context, pointwise_conv_naive_backward_data, ceil_div(s.rows * s.in_channels, 256), 256, 0, s.rows,
                 s.in_channels, s.out_channels, dy, w, dx);
        },
    .backward_weight =
        [](Context& context, const PointwiseConvShape& s, const float* x, const float* dy, float* dw) {
          launch(context, pointwise_conv_naive_backward_weight, ceil_div(int64_t{s.out_channels} * s.in_channels, 256),
                 256, 0, s.rows, s.in_channels, s.out_channels, x, dy, dw);
        },
};

}  // namespace kernels::KERNEL_TARGET
