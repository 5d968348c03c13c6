// Idea: the weight gradient's sum over the batch is split. A block takes a slice of the rows of dy, of all images in
// order, and 32 groups of channels at most; a thread adds up all nine taps of one group over some rows of the slice,
// four outputs at a time, with 4 loads of dy and 18 of x for 36 products. The block adds its threads' sums
// in shared memory and writes them to the workspace; a second kernel adds the slices. Both in a fixed order and without
// atomics: the result has the same bits in every run.
#include "kernels/depthwise_conv/weight_sums.h"

namespace kernels::KERNEL_TARGET {

namespace {

constexpr int T = 4;  // outputs of a row at a time

// A unit is a row of dy. At least 16 outputs a thread.
Split cut(const DepthwiseConvShape& s, int V) {
  return split(s.channels / V, int64_t{s.batch} * s.out_height(), ceil_div(16, s.out_width()));
}

}  // namespace

// partial: (slices, 3, 3, C). blockIdx: (channel block, slice); blockDim: (groups, lanes).
template <int V, int S>
__global__ void __launch_bounds__(weight_threads)
    depthwise_conv_split_backward_weight(DepthwiseConvShape shape, int64_t rows_a_lane, const float* __restrict__ x,
                                         const float* __restrict__ dy, float* __restrict__ partial) {
  const int H = shape.height, W = shape.width, C = shape.channels, P = (H - 1) / S + 1, Q = (W - 1) / S + 1;
  const int c = (blockIdx.x * blockDim.x + threadIdx.x) * V, lanes = blockDim.y;
  const int64_t rows = static_cast<int64_t>(shape.batch) * P;
  __shared__ __align__(16) float shared[add_lanes_floats<V>];
  Floats<V> sums[9];
  set_zero(sums);

  // Lanes take turns, so that neighbouring rows, which share rows of x, are at work at the same time.
  const int64_t slice_begin = blockIdx.y * rows_a_lane * lanes;
  for (int64_t turn = 0; turn < rows_a_lane; ++turn) {
    const int64_t row = slice_begin + turn * lanes + threadIdx.y;  // n · P + p
    if (row >= rows || c >= C) break;
    const int64_t n = row / P;
    const int p = row % P, i = p * S;
    const float* dy_row = dy + row * Q * C + c;
    const float* x_row = x + (n * H + i) * W * C + c;  // the middle one of three
    for (int q = 0; q < Q; q += T) {
      Floats<V> gradients[T];
      load_row(gradients, dy_row, q, Q, C);
#pragma unroll
      for (int r = 0; r < 3; ++r) {
        if (i + r - 1 < 0 || i + r - 1 >= H) continue;
        Floats<V> pixels[(T - 1) * S + 3];
        load_row(pixels, x_row + (r - 1) * W * C, q * S - 1, W, C);
        add_products<S>(sums + 3 * r, pixels, gradients);
      }
    }
  }

  add_lanes(sums, c, C, partial + static_cast<int64_t>(blockIdx.y) * 9 * C, shared);
}

__global__ void depthwise_conv_split_add_slices(int count, int slices, const float* __restrict__ partial,
                                                float* __restrict__ dw) {
  add_slices_block(count, slices, partial, dw);
}

void add_partial_weights(const Context& context, int channels, int slices, const float* partial, float* dw) {
  launch(context, depthwise_conv_split_add_slices, ceil_div(9 * int64_t{channels}, slices_outputs),
         slices_block(slices), 0, 9 * channels, slices, partial, dw);
}

extern const DepthwiseConv depthwise_conv_split = {
    .name = "split",
    .idea = "backward_weight: blocks add up slices of the batch, a second kernel the slices, in a fixed order",
    .provider = Provider::native,
    .supports = [](const DepthwiseConvShape&) { return true; },
    .workspace = [](const DepthwiseConvShape& s) -> size_t {
      return partial_bytes(s, std::max(cut(s, 1).slices, s.channels % 4 == 0 ? cut(s, 4).slices : 0));
    },
    .forward = nullptr,
    .backward_data = nullptr,
    .backward_weight =
        [](Context& context, const DepthwiseConvShape& s, const float* x, const float* dy, float* dw) {
          const int V = vector_width(s, {x, dy});
          const Split split = cut(s, V);
          float* partial = static_cast<float*>(context.workspace);
          const auto kernel =
              s.stride == 1
                  ? (V == 4 ? depthwise_conv_split_backward_weight<4, 1> : depthwise_conv_split_backward_weight<1, 1>)
                  : (V == 4 ? depthwise_conv_split_backward_weight<4, 2> : depthwise_conv_split_backward_weight<1, 2>);
          launch(context, kernel, dim3(split.channel_blocks, split.slices), dim3(split.groups, split.lanes), 0, s,
                 split.units_a_lane, x, dy, partial);
          add_partial_weights(context, s.channels, split.slices, partial, dw);
        },
};

}  // namespace kernels::KERNEL_TARGET
