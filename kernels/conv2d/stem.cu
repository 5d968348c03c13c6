// Idea: few input channels (an image's three), so whole filters fit beside the sums. A block keeps the filters of 32
// output channels in shared memory, transposed to [27][channel], and a thread keeps a strip of four pixels in
// registers:
//   forward          8 output channels of the strip: 8 · 4 sums, for two 16-byte loads of the filter and 4 pixels a tap
//   backward_data    dx of the strip, summed over 4 output channels; the block adds its threads' sums over the others
//   backward_weight  all 27 taps of 4 output channels, over some rows of dy; the block adds its threads' sums, a second
//                    kernel the blocks', both in a fixed order and without atomics
#include <algorithm>

#include "kernels/common/fused.h"
#include "kernels/common/slices.h"
#include "kernels/conv2d/conv2d.h"

namespace kernels::KERNEL_TARGET {

namespace {

constexpr int I = 3, taps = 9 * I;  // input channels; tap = (r · 3 + s) · I + i
constexpr int T = 4;                // pixels of a strip
constexpr int most_channels = 32;   // output channels of a block at a time
constexpr int most_threads = 128;   // a block's
constexpr int weight_threads = 64;  // in backward_weight, whose threads hold 27 sums of 16 bytes each
constexpr int most_slices = 512;

// 4 where 16-byte accesses to (…, Cout) arrays are possible, else 1.
int vector_width(const Conv2dShape& shape, std::initializer_list<const void*> arrays,
                 std::initializer_list<FusedNorm> norms = {}) {
  return shape.out_channels % 4 == 0 && all_aligned(arrays) && norms_aligned(norms) ? 4 : 1;
}

// The filters of `channels` output channels from w on, transposed into shared memory, (taps, channels); zero for those
// beyond the `valid` ones that exist. All threads of the block.
__device__ __forceinline__ void load_filters(float* filters, const float* w, int channels, int valid) {
  const int threads = blockDim.x * blockDim.y, thread = threadIdx.y * blockDim.x + threadIdx.x;
  for (int k = thread; k < taps * channels; k += threads) {
    const int o = k % channels, tap = k / channels;
    filters[k] = o < valid ? w[static_cast<int64_t>(o) * taps + tap] : 0;
  }
}

// The N pixels of a row of x from column `first` on, all input channels; zero outside columns 0 … width - 1.
template <int N>
__device__ __forceinline__ void load_pixels(float (&pixels)[N][I], const float* row, int first, int width) {
#pragma unroll
  for (int k = 0; k < N; ++k) {
    const bool inside = first + k >= 0 && first + k < width;
#pragma unroll
    for (int i = 0; i < I; ++i) pixels[k][i] = inside ? row[(first + k) * I + i] : 0;
  }
}

// Writes the first of four channels, as many as exist. vector: all or none of them do, and `to` is aligned for four.
template <class Z>
__device__ __forceinline__ void store(Z* to, const Floats<4>& four, int exist, bool vector) {
  if (vector) {
    if (exist > 0) four.store(to);
    return;
  }
  if (exist > 0) to[0] = from_float<Z>(four[0]);
  if (exist > 1) to[1] = from_float<Z>(four[1]);
  if (exist > 2) to[2] = from_float<Z>(four[2]);
  if (exist > 3) to[3] = from_float<Z>(four[3]);
}

}  // namespace

// blockIdx: (strips, output channels); blockDim: (groups, lanes). Group g computes channels 4g … 4g + 3 of the block's
// first half and the same of its second half, so that neighbouring threads write without a gap. Counted: with the
// statistics of y (common/fused.h), a slice the strips of a block. Folded: y = ReLU6(x * w + bias). Z: the type of y.
enum class StemEpilogue { bare, counted, folded };
template <int S, StemEpilogue epilogue, class Z>
__global__ void __launch_bounds__(most_threads)
    conv2d_stem_forward(Conv2dShape shape, bool vector, const float* __restrict__ x, const float* __restrict__ w,
                        const float* __restrict__ bias, Z* __restrict__ y, Partials partials) {
  constexpr bool counted = epilogue == StemEpilogue::counted;
  __shared__ __align__(16) float filters[taps * most_channels];
  const int H = shape.height, W = shape.width, P = (H - 1) / S + 1, Q = (W - 1) / S + 1, O = shape.out_channels;
  const int groups = blockDim.x, channels = groups * 8;
  const int first_channel = blockIdx.y * channels;
  load_filters(filters, w + static_cast<int64_t>(first_channel) * taps, channels, O - first_channel);
  __syncthreads();

  const unsigned strips = (Q + T - 1) / T, strip = blockIdx.x * blockDim.y + threadIdx.y, row = strip / strips;
  const int64_t n = row / P;
  const int o = first_channel + threadIdx.x * 4;
  Statistics<4> low_statistics, high_statistics;
  if (n < shape.batch) {
    const int q = strip % strips * T, p = row % P;
    Floats<4> low[T], high[T];
#pragma unroll
    for (int t = 0; t < T; ++t) low[t] = high[t] = Floats<4>::zero();
    for (int r = 0; r < 3; ++r) {
      const int h = p * S + r - 1;
      if (h < 0 || h >= H) continue;
      float pixels[(T - 1) * S + 3][I];
      load_pixels(pixels, x + (n * H + h) * W * I, q * S - 1, W);
      const float* filter = filters + r * 3 * I * channels + threadIdx.x * 4;
#pragma unroll
      for (int s = 0; s < 3; ++s)
#pragma unroll
        for (int i = 0; i < I; ++i) {
          const auto w_low = Floats<4>::load(filter + (s * I + i) * channels);
          const auto w_high = Floats<4>::load(filter + (s * I + i) * channels + channels / 2);
#pragma unroll
          for (int t = 0; t < T; ++t) {
            low[t].multiply_add(pixels[t * S + s][i], w_low);
            high[t].multiply_add(pixels[t * S + s][i], w_high);
          }
        }
    }
    if constexpr (epilogue == StemEpilogue::folded) {
      const auto bias_of = [&](int first) {
        return Floats<4>::each([&](int k) { return first + k < O ? bias[first + k] : 0.0f; });
      };
      const auto low_bias = bias_of(o), high_bias = bias_of(o + channels / 2);
#pragma unroll
      for (int t = 0; t < T; ++t) {
        low[t].add(low_bias), high[t].add(high_bias);
        low[t] = low[t].relu6(), high[t] = high[t].relu6();
      }
    }
    y += (static_cast<int64_t>(row) * Q + q) * O + o;
#pragma unroll
    for (int t = 0; t < T; ++t) {
      if (q + t >= Q) continue;
      store(y + t * O, low[t], O - o, vector);
      store(y + t * O + channels / 2, high[t], O - o - channels / 2, vector);
      if constexpr (counted) {
        low_statistics.add(as_stored<Z>(low[t]), t == 0);
        high_statistics.add(as_stored<Z>(high[t]), t == 0);
      }
    }
  }
  if constexpr (counted) {
    __shared__ __align__(16) float shared[2][join_floats<4, most_threads>];
    float* partial = partials.sums + static_cast<int64_t>(blockIdx.x) * 2 * O;
    join_statistics(low_statistics, lane_of_block(), o, O, shared[0], partial, partials.counts + blockIdx.x);
    join_statistics(high_statistics, lane_of_block(), o + channels / 2, O, shared[1], partial,
                    partials.counts + blockIdx.x);
  }
}

// blockDim: (groups, lanes); a lane computes a strip, its groups share the output channels.
template <int V, int S, class Z>
__global__ void __launch_bounds__(most_threads, 4)
    conv2d_stem_backward_data(Conv2dShape shape, const Z* __restrict__ dy, const float* __restrict__ w,
                              float* __restrict__ dx) {
  __shared__ __align__(16) float filters[taps * most_channels];
  __shared__ float shared[most_threads * T * I];
  const int H = shape.height, W = shape.width, P = (H - 1) / S + 1, Q = (W - 1) / S + 1, O = shape.out_channels;
  const int groups = blockDim.x, lanes = blockDim.y, channels = groups * V;
  const unsigned strips = (W + T - 1) / T, strip = blockIdx.x * lanes + threadIdx.y, row = strip / strips;
  const int64_t n = row / H;
  const bool outside = n >= shape.batch;
  const int v = strip % strips * T, h = row % H;

  Floats<V> sums[T][I];
#pragma unroll
  for (int t = 0; t < T; ++t)
#pragma unroll
    for (int i = 0; i < I; ++i) sums[t][i] = Floats<V>::zero();
  for (int first_channel = 0; first_channel < O; first_channel += channels) {
    __syncthreads();  // all threads are done with the filters
    load_filters(filters, w + static_cast<int64_t>(first_channel) * taps, channels, O - first_channel);
    __syncthreads();
    const int o = first_channel + threadIdx.x * V;
    if (outside || o >= O) continue;
    const Plain<V, Z> load_dy(dy, nullptr, o, {}, o);
    for (int r = 0; r < 3; ++r) {
      const int up = h + 1 - r, p = up / S;  // up = p · S, where there is such a row of dy
      if (up < 0 || up % S != 0 || p >= P) continue;
      // From the column of dy that meets pixel 0 through the last tap.
      constexpr int N = S == 1 ? T + 2 : T / 2 + 1, before = S == 1 ? 1 : 0;
      Floats<V> pixels[N];
      load_row(pixels, load_dy, (n * P + p) * Q * O, v / S - before, Q, O);
      const float* filter = filters + r * 3 * I * channels + threadIdx.x * V;
#pragma unroll
      for (int s = 0; s < 3; ++s)
#pragma unroll
        for (int i = 0; i < I; ++i) {
          const auto tap = Floats<V>::load(filter + (s * I + i) * channels);
#pragma unroll
          for (int t = 0; t < T; ++t)  // v is a multiple of T, so of S
            if ((t + 1 - s) % S == 0) sums[t][i].multiply_add(pixels[(t + 1 - s) / S + before], tap);
        }
    }
  }

  // shared: (lanes, T · I, groups)
#pragma unroll
  for (int t = 0; t < T; ++t)
#pragma unroll
    for (int i = 0; i < I; ++i) shared[(threadIdx.y * T * I + t * I + i) * groups + threadIdx.x] = sums[t][i].sum();
  __syncthreads();
  if (outside) return;
  dx += (static_cast<int64_t>(row) * W + v) * I;
  for (int k = threadIdx.x; k < T * I && v + k / I < W; k += groups) {
    float sum = 0;
    for (int g = 0; g < groups; ++g) sum += shared[(threadIdx.y * T * I + k) * groups + g];
    dx[k] = sum;
  }
}

// partial: (slices, O, 27). blockIdx: (output channels, slice); blockDim: (groups, lanes). A group is V output
// channels; a lane adds rows_a_lane rows of dy. Load: what it makes of dy, which is z with the prologue Gradient.
template <int S, class Load>
__global__ void __launch_bounds__(weight_threads, Load::fused ? 4 : 0)
    conv2d_stem_backward_weight(Conv2dShape shape, int rows_a_lane, const float* __restrict__ x,
                                const typename Load::Element* __restrict__ dy,
                                const typename Load::Element* __restrict__ du_z, FusedNorm norm_z,
                                float* __restrict__ partial) {
  constexpr int V = Load::width;
  __shared__ __align__(16) float shared[taps * weight_threads * V];  // (taps, threads, V)
  const int H = shape.height, W = shape.width, P = (H - 1) / S + 1, Q = (W - 1) / S + 1, O = shape.out_channels;
  const int groups = blockDim.x, lanes = blockDim.y;
  const int o = (blockIdx.x * groups + threadIdx.x) * V;
  const int64_t rows = static_cast<int64_t>(shape.batch) * P;

  Floats<V> sums[3][3][I];
#pragma unroll
  for (int r = 0; r < 3; ++r)
#pragma unroll
    for (int s = 0; s < 3; ++s)
#pragma unroll
      for (int i = 0; i < I; ++i) sums[r][s][i] = Floats<V>::zero();
  const int safe_o = o < O ? o : 0;
  const Load load_dy(dy, du_z, safe_o, norm_z, safe_o);
  const int64_t slice_begin = static_cast<int64_t>(blockIdx.y) * rows_a_lane * lanes;
  for (int turn = 0; turn < rows_a_lane; ++turn) {
    const int64_t row = slice_begin + turn * lanes + threadIdx.y;  // n · P + p
    if (row >= rows || o >= O) break;
    const int64_t n = row / P;
    const int p = row % P;
    for (int q = 0; q < Q; q += T) {
      Floats<V> gradients[T];
      load_row(gradients, load_dy, row * Q * O, q, Q, O);
#pragma unroll
      for (int r = 0; r < 3; ++r) {
        const int h = p * S + r - 1;
        if (h < 0 || h >= H) continue;
        float pixels[(T - 1) * S + 3][I];
        load_pixels(pixels, x + (n * H + h) * W * I, q * S - 1, W);
#pragma unroll
        for (int s = 0; s < 3; ++s)
#pragma unroll
          for (int i = 0; i < I; ++i)
#pragma unroll
            for (int t = 0; t < T; ++t) sums[r][s][i].multiply_add(pixels[t * S + s][i], gradients[t]);
      }
    }
  }

#pragma unroll
  for (int r = 0; r < 3; ++r)
#pragma unroll
    for (int s = 0; s < 3; ++s)
#pragma unroll
      for (int i = 0; i < I; ++i)
        sums[r][s][i].store(shared + (((r * 3 + s) * I + i) * weight_threads + threadIdx.y * groups + threadIdx.x) * V);
  __syncthreads();
  if (o >= O) return;
  for (int tap = threadIdx.y; tap < taps; tap += lanes) {
    const float* from = shared + (tap * weight_threads + threadIdx.x) * V;
    auto sum = Floats<V>::load(from);
    for (int lane = 1; lane < lanes; ++lane) sum.add(Floats<V>::load(from + lane * groups * V));
#pragma unroll
    for (int k = 0; k < V; ++k) partial[(static_cast<int64_t>(blockIdx.y) * O + o + k) * taps + tap] = sum[k];
  }
}

__global__ void conv2d_stem_add_slices(int64_t count, int slices, const float* __restrict__ partial,
                                       float* __restrict__ dw) {
  add_slices_block(count, slices, partial, dw);
}

namespace {

// How backward_weight's work is cut; by the shape and V alone, so that the result has the same bits in every run.
struct Split {
  int groups, lanes, channel_blocks, rows_a_lane, slices;
};

Split split(const Conv2dShape& s, int V) {
  Split result;
  result.groups = std::min<int>(ceil_div(s.out_channels, V), most_channels / V);
  result.lanes = weight_threads / result.groups;
  result.channel_blocks = ceil_div(s.out_channels, result.groups * V);
  const int64_t rows = int64_t{s.batch} * s.out_height();
  result.rows_a_lane = std::max(ceil_div(32, s.out_width()), ceil_div(rows, int64_t{most_slices} * result.lanes));
  result.slices = ceil_div(rows, int64_t{result.rows_a_lane} * result.lanes);
  return result;
}

// The blocks of forward that share their output channels, and a block.
int forward_slices(const Conv2dShape& s) {
  const int lanes = most_threads / std::min<int>(ceil_div(s.out_channels, 8), most_channels / 8);
  return ceil_div(int64_t{s.batch} * s.out_height() * ceil_div(s.out_width(), T), lanes);
}

template <StemEpilogue epilogue, class Z>
void forward(Context& context, const Conv2dShape& s, const float* x, const float* w, const float* bias, Z* y,
             const Partials& partials) {
  const int groups = std::min<int>(ceil_div(s.out_channels, 8), most_channels / 8);
  launch(context, s.stride == 1 ? conv2d_stem_forward<1, epilogue, Z> : conv2d_stem_forward<2, epilogue, Z>,
         dim3(forward_slices(s), ceil_div(s.out_channels, groups * 8)), dim3(groups, most_threads / groups), 0, s,
         vector_width(s, {y}) == 4, x, w, bias, y, partials);
}

// The first pass: `partial` sums, (slices, O, 27).
template <class Z, template <int, class> class Load>
void backward_weight(Context& context, const Conv2dShape& s, int V, const float* x, const Z* dy, const Z* du_z,
                     const FusedNorm& norm_z, float* partial) {
  const Split cut = split(s, V);
  const auto kernel =
      s.stride == 1
          ? (V == 4 ? conv2d_stem_backward_weight<1, Load<4, Z>> : conv2d_stem_backward_weight<1, Load<1, Z>>)
          : (V == 4 ? conv2d_stem_backward_weight<2, Load<4, Z>> : conv2d_stem_backward_weight<2, Load<1, Z>>);
  launch(context, kernel, dim3(cut.channel_blocks, cut.slices), dim3(cut.groups, cut.lanes), 0, s, cut.rows_a_lane, x,
         dy, du_z, norm_z, partial);
}

void add_slices(Context& context, const Conv2dShape& s, int slices, const float* partial, float* dw) {
  const int64_t count = int64_t{s.out_channels} * taps;
  launch(context, conv2d_stem_add_slices, ceil_div(count, slices_outputs), slices_block(slices), 0, count, slices,
         partial, dw);
}

template <class Z>
void backward_data(Context& context, const Conv2dShape& s, const Z* dy, const float* w, float* dx) {
  const int V = vector_width(s, {dy});
  const int groups = std::min<int>(ceil_div(s.out_channels, V), most_channels / V);
  const int lanes = most_threads / groups;
  const int64_t strips = int64_t{s.batch} * s.height * ceil_div(s.width, T);
  const auto kernel = s.stride == 1
                          ? (V == 4 ? conv2d_stem_backward_data<4, 1, Z> : conv2d_stem_backward_data<1, 1, Z>)
                          : (V == 4 ? conv2d_stem_backward_data<4, 2, Z> : conv2d_stem_backward_data<1, 2, Z>);
  launch(context, kernel, ceil_div(strips, lanes), dim3(groups, lanes), 0, s, dy, w, dx);
}

// Z: the type of y, z and their gradients.
template <class Z>
constexpr Conv2dOf<Z> stem_row = {
    .name = "stem",
    .idea = "three input channels: filters in shared memory, several pixels and output channels a thread",
    .provider = Provider::native,
    // Strip numbers fit into 32 bits.
    .supports =
        [](const Conv2dShape& s) {
          return s.in_channels == I && int64_t{s.batch} * s.height * ceil_div(s.width, T) < (int64_t{1} << 31);
        },
    .workspace = [](const Conv2dShape& s) -> size_t {
      return std::max(sizeof(float) * taps * s.out_channels * std::max(split(s, 1).slices, split(s, 4).slices),
                      partials_bytes(forward_slices(s), s.out_channels));
    },
    .forward = [](Context& context, const Conv2dShape& s, const float* x, const float* w,
                  Z* y) { forward<StemEpilogue::bare>(context, s, x, w, nullptr, y, {}); },
    .backward_data = backward_data<Z>,
    .backward_weight =
        [](Context& context, const Conv2dShape& s, const float* x, const Z* dy, float* dw) {
          const int V = vector_width(s, {dy});
          float* partial = static_cast<float*>(context.workspace);
          backward_weight<Z, Plain>(context, s, V, x, dy, nullptr, {}, partial);
          add_slices(context, s, split(s, V).slices, partial, dw);
        },
    .forward_fused =
        [](Context& context, const Conv2dShape& s, const float* x, const float* w, Z* z, const FusedNorm& norm_z) {
          const int slices = forward_slices(s);
          const Partials partials = partials_at(context.workspace, slices, s.out_channels);
          forward<StemEpilogue::counted>(context, s, x, w, nullptr, z, partials);
          fused_finish_statistics(context, int64_t{s.batch} * s.out_height() * s.out_width(), s.out_channels, slices,
                                  partials, norm_z);
        },
    .backward_weight_fused =
        [](Context& context, const Conv2dShape& s, const float* x, const Z* z, const FusedNorm& norm_z, const Z* du_z,
           float* dw) {
          const int V = vector_width(s, {z, du_z}, {norm_z});
          float* partial = static_cast<float*>(context.workspace);
          backward_weight<Z, Gradient>(context, s, V, x, z, du_z, norm_z, partial);
          add_slices(context, s, split(s, V).slices, partial, dw);
        },
    .forward_folded = [](Context& context, const Conv2dShape& s, const float* x, const float* w, const float* bias,
                         Z* y) { forward<StemEpilogue::folded>(context, s, x, w, bias, y, {}); },
};

}  // namespace

extern const Conv2d conv2d_stem = stem_row<float>;
extern const Conv2dOf<Bf16> conv2d_stem_bf16 = stem_row<Bf16>;

}  // namespace kernels::KERNEL_TARGET
