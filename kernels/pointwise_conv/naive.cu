// Idea: one thread an output. Neighbouring threads make neighbouring outputs of one row, so stores are coalesced; each
// thread reads both of its rows from memory or a cache, 8 bytes for one multiply-add.
#include "kernels/common/launch.h"
#include "kernels/pointwise_conv/pointwise_conv.h"

namespace kernels::KERNEL_TARGET {

template <class T>
__global__ void pointwise_conv_naive_forward(int64_t rows, int in, int out, const T* x, const float* w, T* y) {
  const int64_t element = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (element >= rows * out) return;
  const int64_t m = element / out, o = element % out;
  float sum = 0;
  for (int i = 0; i < in; ++i) sum += to_float(x[m * in + i]) * w[o * in + i];
  y[element] = from_float<T>(sum);
}

template <class T>
__global__ void pointwise_conv_naive_backward_data(int64_t rows, int in, int out, const T* dy, const float* w, T* dx) {
  const int64_t element = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (element >= rows * in) return;
  const int64_t m = element / in, i = element % in;
  float sum = 0;
  for (int64_t o = 0; o < out; ++o) sum += to_float(dy[m * out + o]) * w[o * in + i];
  dx[element] = from_float<T>(sum);
}

template <class T>
__global__ void pointwise_conv_naive_backward_weight(int64_t rows, int in, int out, const T* x, const T* dy,
                                                     float* dw) {
  const int64_t element = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (element >= static_cast<int64_t>(out) * in) return;
  const int64_t o = element / in, i = element % in;
  float sum = 0;
  for (int64_t m = 0; m < rows; ++m) sum += to_float(dy[m * out + o]) * to_float(x[m * in + i]);
  dw[element] = sum;
}

template <class T>
static constexpr PointwiseConvOf<T> naive_row = {
    .name = "naive",
    .idea = "one thread an output",
    .provider = Provider::native,
    .supports = [](const PointwiseConvShape&) { return true; },
    .workspace = [](const PointwiseConvShape&) -> size_t { return 0; },
    .forward =
        [](Context& context, const PointwiseConvShape& s, const T* x, const float* w, T* y) {
          launch(context, pointwise_conv_naive_forward<T>, ceil_div(s.rows * s.out_channels, 256), 256, 0, s.rows,
                 s.in_channels, s.out_channels, x, w, y);
        },
    .backward_data =
        [](Context& context, const PointwiseConvShape& s, const T* dy, const float* w, T* dx) {
          launch(context, pointwise_conv_naive_backward_data<T>, ceil_div(s.rows * s.in_channels, 256), 256, 0, s.rows,
                 s.in_channels, s.out_channels, dy, w, dx);
        },
    .backward_weight =
        [](Context& context, const PointwiseConvShape& s, const T* x, const T* dy, float* dw) {
          launch(context, pointwise_conv_naive_backward_weight<T>,
                 ceil_div(int64_t{s.out_channels} * s.in_channels, 256), 256, 0, s.rows, s.in_channels, s.out_channels,
                 x, dy, dw);
        },
};

extern const PointwiseConv pointwise_conv_naive = naive_row<float>;
extern const PointwiseConvOf<Bf16> pointwise_conv_naive_bf16 = naive_row<Bf16>;

}  // namespace kernels::KERNEL_TARGET
