// Idea: the weight gradient's sum over the batch is split. A block takes a slice of the rows of dy, of all images in
// order, and 32 groups of channels at most; a thread adds up all nine taps of one group over some rows of the slice,
// four outputs at a time, with 4 loads of dy and 18 of x for 36 products. The block adds its threads' sums
// in shared memory and writes them to the workspace; a second kernel adds the slices. Both in a fixed order and without
// atomics: the result has the same bits in every run.
#include <algorithm>

#include "kernels/common/slices.h"
#include "kernels/depthwise_conv/depthwise_conv.h"
#include "kernels/depthwise_conv/row.h"

namespace kernels::KERNEL_TARGET {

namespace {

constexpr int T = 4;               // outputs of a row at a time
constexpr int most_threads = 128;  // a block's
constexpr int most_groups = 32;    // of V channels, a block's
constexpr int most_slices = 512;

// How the work is cut. By the shape and V alone, so that the result has the same bits in every run.
struct Split {
  int groups, lanes;   // a block's threads: (groups, lanes); a group is V channels, a lane some of the slice's rows
  int channel_blocks;  // blocks side by side
  int rows_a_lane;     // rows of dy
  int slices;
};

Split split(const DepthwiseConvShape& s, int V) {
  Split result;
  result.groups = std::min(s.channels / V, most_groups);
  result.lanes = most_threads / result.groups;
  result.channel_blocks = ceil_div(s.channels / V, result.groups);
  // At least 16 outputs a thread, or the block's own sum would cost more than it saves.
  const int64_t rows = int64_t{s.batch} * s.out_height();
  const int64_t enough = ceil_div(16, s.out_width());
  result.rows_a_lane = std::max(enough, ceil_div(rows, int64_t{most_slices} * result.lanes));
  result.slices = ceil_div(rows, int64_t{result.rows_a_lane} * result.lanes);
  return result;
}

// sums[s] += Σ_t x[t·S + s] · dy[t] over T outputs of a row; tap 0 of the first meets column j of the row of x.
template <int V, int S>
__device__ __forceinline__ void add_products(Floats<V> (&sums)[3], const Floats<V> (&dy)[T], const float* x_row, int j,
                                             int width, int channels) {
  Floats<V> pixels[(T - 1) * S + 3];
  load_row(pixels, x_row, j, width, channels);
#pragma unroll
  for (int s = 0; s < 3; ++s)
#pragma unroll
    for (int t = 0; t < T; ++t) sums[s].multiply_add(pixels[t * S + s], dy[t]);
}

}  // namespace

// partial: (slices, 3, 3, C). blockIdx: (channel block, slice); blockDim: (groups, lanes).
template <int V, int S>
__global__ void __launch_bounds__(most_threads)
    depthwise_conv_split_backward_weight(DepthwiseConvShape shape, int rows_a_lane, const float* __restrict__ x,
                                         const float* __restrict__ dy, float* __restrict__ partial) {
  __shared__ __align__(16) float shared[most_threads * 9 * V];  // (9, threads, V)
  const int H = shape.height, W = shape.width, C = shape.channels, P = (H - 1) / S + 1, Q = (W - 1) / S + 1;
  const int c = (blockIdx.x * blockDim.x + threadIdx.x) * V, lanes = blockDim.y;
  const int64_t rows = static_cast<int64_t>(shape.batch) * P;
  Floats<V> top[3], middle[3], bottom[3];  // taps of the filter's rows
#pragma unroll
  for (int s = 0; s < 3; ++s) top[s] = middle[s] = bottom[s] = Floats<V>::zero();

  // Lanes take turns, so that neighbouring rows, which share rows of x, are at work at the same time.
  const int64_t slice_begin = static_cast<int64_t>(blockIdx.y) * rows_a_lane * lanes;
  for (int turn = 0; turn < rows_a_lane; ++turn) {
    const int64_t row = slice_begin + turn * lanes + threadIdx.y;  // n · P + p
    if (row >= rows || c >= C) break;
    const int64_t n = row / P;
    const int p = row % P, i = p * S;
    const float* dy_row = dy + row * Q * C + c;
    const float* x_row = x + (n * H + i) * W * C + c;  // the middle one of three
    for (int q = 0; q < Q; q += T) {
      Floats<V> gradients[T];
      load_row(gradients, dy_row, q, Q, C);
      const int j = q * S - 1;
      if (i > 0) add_products<V, S>(top, gradients, x_row - W * C, j, W, C);
      add_products<V, S>(middle, gradients, x_row, j, W, C);
      if (i + 1 < H) add_products<V, S>(bottom, gradients, x_row + W * C, j, W, C);
    }
  }

  const int groups = blockDim.x;
  float* mine = shared + (threadIdx.y * groups + threadIdx.x) * V;
#pragma unroll
  for (int s = 0; s < 3; ++s) {
    top[s].store(mine + s * most_threads * V);
    middle[s].store(mine + (3 + s) * most_threads * V);
    bottom[s].store(mine + (6 + s) * most_threads * V);
  }
  __syncthreads();
  if (c >= C) return;
  for (int tap = threadIdx.y; tap < 9; tap += lanes) {
    const float* from = shared + (tap * most_threads + threadIdx.x) * V;
    auto sum = Floats<V>::load(from);
    for (int lane = 1; lane < lanes; ++lane) sum.add(Floats<V>::load(from + lane * groups * V));
    sum.store(partial + (static_cast<int64_t>(blockIdx.y) * 9 + tap) * C + c);
  }
}

__global__ void depthwise_conv_split_add_slices(int count, int slices, const float* __restrict__ partial,
                                                float* __restrict__ dw) {
  add_slices_block(count, slices, partial, dw);
}

extern const DepthwiseConv depthwise_conv_split = {
    .name = "split",
    .idea = "backward_weight: blocks add up slices of the batch, a second kernel the slices, in a fixed order",
    .provider = Provider::native,
    .supports = [](const DepthwiseConvShape&) { return true; },
    .workspace = [](const DepthwiseConvShape& s) -> size_t {
      return sizeof(float) * 9 * s.channels *
             std::max(split(s, 1).slices, s.channels % 4 == 0 ? split(s, 4).slices : 0);
    },
    .forward = nullptr,
    .backward_data = nullptr,
    .backward_weight =
        [](Context& context, const DepthwiseConvShape& s, const float* x, const float* dy, float* dw) {
          const int V = vector_width(s, {x, dy});
          const Split cut = split(s, V);
          float* partial = static_cast<float*>(context.workspace);
          const auto kernel =
              s.stride == 1
                  ? (V == 4 ? depthwise_conv_split_backward_weight<4, 1> : depthwise_conv_split_backward_weight<1, 1>)
                  : (V == 4 ? depthwise_conv_split_backward_weight<4, 2> : depthwise_conv_split_backward_weight<1, 2>);
          launch(context, kernel, dim3(cut.channel_blocks, cut.slices), dim3(cut.groups, cut.lanes), 0, s,
                 cut.rows_a_lane, x, dy, partial);
          launch(context, depthwise_conv_split_add_slices, ceil_div(9 * s.channels, slices_outputs),
                 slices_block(cut.slices), 0, 9 * s.channels, cut.slices, partial, dw);
        },
};

}  // namespace kernels::KERNEL_TARGET
