// Idea: register blocking along the row. A thread computes a strip of four neighbouring outputs of a row (and of four
// channels), so it loads each input of a row once for all taps and outputs that need it: 18 loads a strip at stride 1,
// where one output at a time takes 36, and a filter once for four outputs.
#include "kernels/common/launch.h"
#include "kernels/depthwise_conv/depthwise_conv.h"
#include "kernels/depthwise_conv/row.h"

namespace kernels::KERNEL_TARGET {

namespace {

constexpr int T = 4;          // outputs of a strip
constexpr int threads = 128;  // a block's

// y = x * w for one strip; flip turns the filter by 180°.
template <int V, int S, bool flip>
__device__ __forceinline__ void convolve_strip(const DepthwiseConvShape& shape, const float* __restrict__ x,
                                               const float* __restrict__ w, float* __restrict__ y) {
  const int H = shape.height, W = shape.width, C = shape.channels;
  const unsigned P = (H - 1) / S + 1, Q = (W - 1) / S + 1, groups = C / V, strips = (Q + T - 1) / T;
  const unsigned index = blockIdx.x * blockDim.x + threadIdx.x;
  const unsigned strip = index / groups, row = strip / strips;
  const int64_t n = row / P;
  if (n >= shape.batch) return;
  const int c = index % groups * V, q = strip % strips * T, p = row % P;
  x += n * H * W * C + c;
  w += c;
  Floats<V> sums[T];
  set_zero(sums);
#pragma unroll
  for (int r = 0; r < 3; ++r) {
    const int i = p * S + r - 1;
    if (i < 0 || i >= H) continue;
    Floats<V> pixels[(T - 1) * S + 3];
    load_row(pixels, x + static_cast<int64_t>(i) * W * C, q * S - 1, W, C);
    Floats<V> taps[3];
    load_taps(taps, w + (flip ? 2 - r : r) * 3 * C, C, flip);
    multiply_row<S>(sums, pixels, taps);
  }
  y += (static_cast<int64_t>(row) * Q + q) * C + c;
#pragma unroll
  for (int t = 0; t < T; ++t)
    if (q + t < static_cast<int>(Q)) sums[t].store(y + t * C);
}

// dx of a strip of T columns from column j on (T and j are even) and of rows 2p and 2p + 1 at stride 2. Row 2p meets
// row p of dy through the filter's row 1; row 2p + 1 meets rows p and p + 1 through the filter's rows 2 and 0. The same
// holds for columns.
template <int V>
__device__ __forceinline__ void scatter_strip(const DepthwiseConvShape& shape, const float* __restrict__ dy,
                                              const float* __restrict__ w, float* __restrict__ dx) {
  const int H = shape.height, W = shape.width, C = shape.channels, P = (H - 1) / 2 + 1, Q = (W - 1) / 2 + 1;
  const unsigned groups = C / V, strips = (W + T - 1) / T;
  const unsigned index = blockIdx.x * blockDim.x + threadIdx.x;
  const unsigned strip = index / groups, row = strip / strips;
  const int64_t n = row / P;
  if (n >= shape.batch) return;
  const int c = index % groups * V, j = strip % strips * T, p = row % P;
  dy += static_cast<int64_t>(row) * Q * C + c;
  w += c;
  dx += ((n * H + 2 * p) * W + j) * C + c;
  Floats<V> upper[T / 2 + 1], lower[T / 2 + 1], even[T], odd[T];
  load_row(upper, dy, j / 2, Q, C);
  load_row(lower, dy + Q * C, j / 2, p + 1 < P ? Q : 0, C);
  set_zero(even);
  set_zero(odd);
  Floats<V> filter[9];
  load_taps(filter, w, C, false);
  spread_row(even, upper, filter + 3);
  spread_row(odd, upper, filter + 6);
  spread_row(odd, lower, filter);
#pragma unroll
  for (int t = 0; t < T; ++t) {
    if (j + t >= W) break;
    even[t].store(dx + t * C);
    if (2 * p + 1 < H) odd[t].store(dx + (W + t) * C);
  }
}

}  // namespace

template <int V, int S>
__global__ void __launch_bounds__(threads)
    depthwise_conv_strip_forward(DepthwiseConvShape shape, const float* __restrict__ x, const float* __restrict__ w,
                                 float* __restrict__ y) {
  convolve_strip<V, S, false>(shape, x, w, y);
}

// At stride 1, dx = dy * w, the filter turned by 180°.
template <int V, int S>
__global__ void __launch_bounds__(threads)
    depthwise_conv_strip_backward_data(DepthwiseConvShape shape, const float* __restrict__ dy,
                                       const float* __restrict__ w, float* __restrict__ dx) {
  if constexpr (S == 1)
    convolve_strip<V, 1, true>(shape, dy, w, dx);
  else
    scatter_strip<V>(shape, dy, w, dx);
}

extern const DepthwiseConv depthwise_conv_strip = {
    .name = "strip",
    .idea = "four outputs of a row a thread: an input of the row is loaded once",
    .provider = Provider::native,
    // Thread numbers fit into 32 bits.
    .supports =
        [](const DepthwiseConvShape& s) {
          return int64_t{s.batch} * s.height * ceil_div(s.width, T) * s.channels < 0xffffff00;
        },
    .workspace = [](const DepthwiseConvShape&) -> size_t { return 0; },
    .forward =
        [](Context& context, const DepthwiseConvShape& s, const float* x, const float* w, float* y) {
          const int V = vector_width(s, {x, w, y});
          const int64_t count = int64_t{s.batch} * s.out_height() * ceil_div(s.out_width(), T) * (s.channels / V);
          const auto kernel = s.stride == 1
                                  ? (V == 4 ? depthwise_conv_strip_forward<4, 1> : depthwise_conv_strip_forward<1, 1>)
                                  : (V == 4 ? depthwise_conv_strip_forward<4, 2> : depthwise_conv_strip_forward<1, 2>);
          launch(context, kernel, ceil_div(count, threads), threads, 0, s, x, w, y);
        },
    .backward_data =
        [](Context& context, const DepthwiseConvShape& s, const float* dy, const float* w, float* dx) {
          const int V = vector_width(s, {dy, w, dx});
          const int64_t count = int64_t{s.batch} * s.out_height() * ceil_div(s.width, T) * (s.channels / V);
          const auto kernel =
              s.stride == 1
                  ? (V == 4 ? depthwise_conv_strip_backward_data<4, 1> : depthwise_conv_strip_backward_data<1, 1>)
                  : (V == 4 ? depthwise_conv_strip_backward_data<4, 2> : depthwise_conv_strip_backward_data<1, 2>);
          launch(context, kernel, ceil_div(count, threads), threads, 0, s, dy, w, dx);
        },
    .backward_weight = nullptr,
};

}  // namespace kernels::KERNEL_TARGET
