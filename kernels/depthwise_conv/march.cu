// Idea: register blocking down the columns too. A thread keeps its strip of columns and walks down a band of rows.
// It loads each row of the strip once and adds it at once to the sums of all the output rows that need it (three at
// stride 1), which it carries along in registers; the filter stays there as well. 6 loads for 4 outputs at stride 1,
// where `strip` takes 18 and 9 of the filter; neither shared memory nor a barrier is needed. In backward_weight it is
// the rows of dy that are carried, and the sums are split as in `split`.
#include "kernels/depthwise_conv/weight_sums.h"

namespace kernels::KERNEL_TARGET {

namespace {

constexpr int threads = 128;    // a block's
constexpr int weight_rows = 8;  // rows of dy in a band

// The columns of a strip of y or dy. 9 columns of x at stride 2, for four of y, would fill the registers for nothing: 5
// for two are hardly more loads.
constexpr __host__ __device__ int strip_columns(int stride) { return stride == 1 ? 4 : 2; }
constexpr int back_columns = 4;  // of dx in backward_data, at either stride

// The rows of a band: the more, the fewer rows are loaded twice; the fewer, the more threads there are. 2^16 threads
// fill today's largest GPUs at the registers that this kernel takes. No sum depends on it.
int band_rows(int64_t strips, int rows) {
  for (const int band : {16, 8})
    if (strips * ceil_div(rows, band) >= 1 << 16) return band;
  return 4;
}

template <int V, int T>
__device__ __forceinline__ void store_row(const Floats<V> (&values)[T], float* row, int first, int width,
                                          int channels) {
#pragma unroll
  for (int t = 0; t < T; ++t)
    if (first + t < width) values[t].store(row + (first + t) * channels);
}

template <int V, int N>
__device__ __forceinline__ void copy(Floats<V> (&to)[N], const Floats<V> (&from)[N]) {
#pragma unroll
  for (int k = 0; k < N; ++k) to[k] = from[k];
}

// Which piece of work is this thread's: groups of channels run fastest, then strips, bands, images. In 32 bits, since
// a GPU divides 64 in many instructions; `supports` sees to it.
struct Piece {
  int c, column, row;
  int64_t image;
};
__device__ __forceinline__ Piece piece_of(unsigned unit, int c, int columns, int strips, int bands, int band) {
  return {c, static_cast<int>(unit % strips) * columns, static_cast<int>(unit / strips % bands) * band,
          unit / strips / bands};
}

// y = x * w for a strip and `band` rows; flip turns the filter by 180°.
template <int V, int S, bool flip>
__device__ __forceinline__ void march(const DepthwiseConvShape& shape, int band, const float* __restrict__ x,
                                      const float* __restrict__ w, float* __restrict__ y) {
  constexpr int T = strip_columns(S);
  const int H = shape.height, W = shape.width, C = shape.channels, P = (H - 1) / S + 1, Q = (W - 1) / S + 1;
  const unsigned groups = C / V, index = blockIdx.x * blockDim.x + threadIdx.x;
  const Piece at = piece_of(index / groups, index % groups * V, T, (Q + T - 1) / T, (P + band - 1) / band, band);
  if (at.image >= shape.batch) return;
  x += at.image * H * W * C + at.c;
  y += at.image * P * Q * C + at.c;
  const int end = at.row + band < P ? at.row + band : P, left = at.column * S - 1;
  Floats<V> filter[9], pixels[(T - 1) * S + 3], current[T], next[T];
  load_taps(filter, w + at.c, C, flip);
  const auto load = [&](int i) { load_row(pixels, x + static_cast<int64_t>(i) * W * C, left, i < H ? W : 0, C); };
  // `current` is output row p and has got the row above; at stride 1 also the row of the same number.
  set_zero(current);
  if (at.row > 0) {
    load(at.row * S - 1);
    multiply_row<S>(current, pixels, filter);
  }
  if constexpr (S == 1) {
    set_zero(next);
    load(at.row);
    multiply_row<S>(current, pixels, filter + 3);
    multiply_row<S>(next, pixels, filter);
    for (int p = at.row; p < end; ++p) {
      load(p + 1);
      multiply_row<S>(current, pixels, filter + 6);
      store_row(current, y + static_cast<int64_t>(p) * Q * C, at.column, Q, C);
      copy(current, next);
      multiply_row<S>(current, pixels, filter + 3);
      set_zero(next);
      multiply_row<S>(next, pixels, filter);
    }
  } else {
    for (int p = at.row; p < end; ++p) {
      load(2 * p);
      multiply_row<S>(current, pixels, filter + 3);
      load(2 * p + 1);
      multiply_row<S>(current, pixels, filter + 6);
      store_row(current, y + static_cast<int64_t>(p) * Q * C, at.column, Q, C);
      set_zero(current);
      multiply_row<S>(current, pixels, filter);
    }
  }
}

// dx at stride 2, a strip of 2 · band rows. Row p of dy belongs to rows 2p - 1, 2p and 2p + 1 of dx, through the
// filter's rows 0, 1 and 2; only odd rows have two rows of dy.
template <int V>
__device__ __forceinline__ void march_back(const DepthwiseConvShape& shape, int band, const float* __restrict__ dy,
                                           const float* __restrict__ w, float* __restrict__ dx) {
  constexpr int T = back_columns;
  const int H = shape.height, W = shape.width, C = shape.channels, P = (H - 1) / 2 + 1, Q = (W - 1) / 2 + 1;
  const unsigned groups = C / V, index = blockIdx.x * blockDim.x + threadIdx.x;
  const Piece at = piece_of(index / groups, index % groups * V, T, (W + T - 1) / T, (P + band - 1) / band, band);
  if (at.image >= shape.batch) return;
  dy += at.image * P * Q * C + at.c;
  dx += at.image * H * W * C + at.c;
  const int end = at.row + band < P ? at.row + band : P;
  Floats<V> filter[9], pixels[T / 2 + 1], even[T], odd[T];
  load_taps(filter, w + at.c, C, false);
  load_row(pixels, dy + static_cast<int64_t>(at.row) * Q * C, at.column / 2, Q, C);
  for (int p = at.row; p < end; ++p) {
    set_zero(even);
    set_zero(odd);
    spread_row(even, pixels, filter + 3);
    store_row(even, dx + static_cast<int64_t>(2 * p) * W * C, at.column, W, C);
    spread_row(odd, pixels, filter + 6);
    load_row(pixels, dy + static_cast<int64_t>(p + 1) * Q * C, at.column / 2, p + 1 < P ? Q : 0, C);
    spread_row(odd, pixels, filter);
    if (2 * p + 1 < H) store_row(odd, dx + static_cast<int64_t>(2 * p + 1) * W * C, at.column, W, C);
  }
}

}  // namespace

template <int V, int S>
__global__ void __launch_bounds__(threads, 4)
    depthwise_conv_march_forward(DepthwiseConvShape shape, int band, const float* __restrict__ x,
                                 const float* __restrict__ w, float* __restrict__ y) {
  march<V, S, false>(shape, band, x, w, y);
}

// At stride 1, dx = dy * w, the filter turned by 180°.
template <int V, int S>
__global__ void __launch_bounds__(threads, 4)
    depthwise_conv_march_backward_data(DepthwiseConvShape shape, int band, const float* __restrict__ dy,
                                       const float* __restrict__ w, float* __restrict__ dx) {
  if constexpr (S == 1)
    march<V, 1, true>(shape, band, dy, w, dx);
  else
    march_back<V>(shape, band, dy, w, dx);
}

// partial: (slices, 3, 3, C). blockIdx: (channel block, slice); blockDim: (groups, lanes). A unit is a strip
// of weight_rows rows of dy.
template <int V, int S>
__global__ void __launch_bounds__(weight_threads, S == 1 ? 4 : 3)
    depthwise_conv_march_backward_weight(DepthwiseConvShape shape, int64_t units_a_lane, const float* __restrict__ x,
                                         const float* __restrict__ dy, float* __restrict__ partial) {
  constexpr int T = strip_columns(S);
  const int H = shape.height, W = shape.width, C = shape.channels, P = (H - 1) / S + 1, Q = (W - 1) / S + 1;
  const int c = (blockIdx.x * blockDim.x + threadIdx.x) * V, lanes = blockDim.y;
  const int strips = (Q + T - 1) / T, bands = (P + weight_rows - 1) / weight_rows;
  const int64_t units = static_cast<int64_t>(shape.batch) * bands * strips;
  const int64_t slice_begin = blockIdx.y * units_a_lane * lanes;
  __shared__ __align__(16) float shared[add_lanes_floats<V>];
  Floats<V> sums[9];
  set_zero(sums);
  for (int64_t turn = 0; turn < units_a_lane; ++turn) {
    const int64_t unit = slice_begin + turn * lanes + threadIdx.y;
    if (unit >= units || c >= C) break;
    const Piece at = piece_of(static_cast<unsigned>(unit), c, T, strips, bands, weight_rows);
    const float* images = x + at.image * H * W * C + c;
    const float* gradients = dy + at.image * P * Q * C + c;
    const int end = at.row + weight_rows < P ? at.row + weight_rows : P;
    Floats<V> pixels[(T - 1) * S + 3], above[T], middle[T], below[T];  // rows of dy
    const auto load_x = [&](int i) {
      load_row(pixels, images + static_cast<int64_t>(i) * W * C, at.column * S - 1, i >= 0 && i < H ? W : 0, C);
    };
    const auto load_dy = [&](Floats<V>(&row)[T], int p) {
      load_row(row, gradients + static_cast<int64_t>(p) * Q * C, at.column, p < end ? Q : 0, C);
    };
    load_dy(below, at.row);
    load_x(at.row * S - 1);
    add_products<S>(sums, pixels, below);
    copy(middle, below);
    if constexpr (S == 1) {
      // Row i of x meets rows i + 1, i and i - 1 of dy through the filter's rows 0, 1 and 2.
      set_zero(above);
      for (int i = at.row; i <= end; ++i) {
        load_dy(below, i + 1);
        load_x(i);
        add_products<S>(sums, pixels, below);
        add_products<S>(sums + 3, pixels, middle);
        add_products<S>(sums + 6, pixels, above);
        copy(above, middle);
        copy(middle, below);
      }
    } else {
      // Row 2p of x meets row p of dy through the filter's row 1, row 2p + 1 rows p and p + 1 through 2 and 0.
      for (int p = at.row; p < end; ++p) {
        load_x(2 * p);
        add_products<S>(sums + 3, pixels, middle);
        load_dy(below, p + 1);
        load_x(2 * p + 1);
        add_products<S>(sums + 6, pixels, middle);
        add_products<S>(sums, pixels, below);
        copy(middle, below);
      }
    }
  }
  add_lanes(sums, c, C, partial + static_cast<int64_t>(blockIdx.y) * 9 * C, shared);
}

namespace {

Split cut(const DepthwiseConvShape& s, int V) {
  const int64_t strips = ceil_div(s.out_width(), strip_columns(s.stride)),
                bands = ceil_div(s.out_height(), weight_rows);
  return split(s.channels / V, s.batch * strips * bands, ceil_div(4, s.out_height()));
}

}  // namespace

extern const DepthwiseConv depthwise_conv_march = {
    .name = "march",
    .idea = "a strip walks down the rows: an input is loaded once, sums are carried in registers",
    .provider = Provider::native,
    // Thread numbers fit into 32 bits.
    .supports =
        [](const DepthwiseConvShape& s) {
          return int64_t{s.batch} * s.height * ceil_div(s.width, 4) * s.channels < 0xffffff00;
        },
    .workspace = [](const DepthwiseConvShape& s) -> size_t {
      return partial_bytes(s, std::max(cut(s, 1).slices, s.channels % 4 == 0 ? cut(s, 4).slices : 0));
    },
    .forward =
        [](Context& context, const DepthwiseConvShape& s, const float* x, const float* w, float* y) {
          const int V = vector_width(s, {x, w, y}), P = s.out_height();
          const int64_t strips = int64_t{s.batch} * ceil_div(s.out_width(), strip_columns(s.stride)) * (s.channels / V);
          const int band = band_rows(strips, P);
          const auto kernel = s.stride == 1
                                  ? (V == 4 ? depthwise_conv_march_forward<4, 1> : depthwise_conv_march_forward<1, 1>)
                                  : (V == 4 ? depthwise_conv_march_forward<4, 2> : depthwise_conv_march_forward<1, 2>);
          launch(context, kernel, ceil_div(strips * ceil_div(P, band), threads), threads, 0, s, band, x, w, y);
        },
    .backward_data =
        [](Context& context, const DepthwiseConvShape& s, const float* dy, const float* w, float* dx) {
          const int V = vector_width(s, {dy, w, dx}), P = s.out_height();
          const int64_t strips = int64_t{s.batch} * ceil_div(s.width, back_columns) * (s.channels / V);
          const int band = band_rows(strips, P);
          const auto kernel =
              s.stride == 1
                  ? (V == 4 ? depthwise_conv_march_backward_data<4, 1> : depthwise_conv_march_backward_data<1, 1>)
                  : (V == 4 ? depthwise_conv_march_backward_data<4, 2> : depthwise_conv_march_backward_data<1, 2>);
          launch(context, kernel, ceil_div(strips * ceil_div(P, band), threads), threads, 0, s, band, dy, w, dx);
        },
    .backward_weight =
        [](Context& context, const DepthwiseConvShape& s, const float* x, const float* dy, float* dw) {
          const int V = vector_width(s, {x, dy});
          const Split split = cut(s, V);
          float* partial = static_cast<float*>(context.workspace);
          const auto kernel =
              s.stride == 1
                  ? (V == 4 ? depthwise_conv_march_backward_weight<4, 1> : depthwise_conv_march_backward_weight<1, 1>)
                  : (V == 4 ? depthwise_conv_march_backward_weight<4, 2> : depthwise_conv_march_backward_weight<1, 2>);
          launch(context, kernel, dim3(split.channel_blocks, split.slices), dim3(split.groups, split.lanes), 0, s,
                 split.units_a_lane, x, dy, partial);
          add_partial_weights(context, s.channels, split.slices, partial, dw);
        },
};

}  // namespace kernels::KERNEL_TARGET
