// Idea: register blocking down the columns too. A thread keeps its strip of columns and walks down a band of rows.
// It loads each row of the strip once and adds it at once to the sums of all the output rows that need it (three at
// stride 1), which it carries along in registers; the filter stays there as well. 6 loads for 4 outputs at stride 1,
// where `strip` takes 18 and 9 of the filter; neither shared memory nor a barrier is needed. In backward_weight it is
// the rows of dy that are carried, and the sums are split as in `split`.
#include "kernels/depthwise_conv/passes.h"

namespace kernels::KERNEL_TARGET {

namespace {

constexpr int threads = 128;    // a block's
constexpr int weight_rows = 8;  // rows of dy in a band

// Blocks at once on a multiprocessor, by which the compiler deals out the registers: a norm's factors and sums take up
// to 36 more.
template <class... Policies>
[[maybe_unused]] constexpr int blocks_at_once = (Policies::fused || ...) ? 2 : 3;

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

// Through an epilogue; row: its index of column 0. The strip's first column is inside.
template <class Store, int V, int T>
__device__ __forceinline__ void store_row(const Floats<V> (&values)[T], Store& store, int64_t row, int first, int width,
                                          int channels) {
  decltype(store.fetch(0)) fetched[T] = {};
#pragma unroll
  for (int t = 0; t < T; ++t)
    if (first + t < width) fetched[t] = store.fetch(row + (first + t) * channels);
#pragma unroll
  for (int t = 0; t < T; ++t)
    if (first + t < width) store(row + (first + t) * channels, values[t], fetched[t], t == 0);
}

template <int V, int N>
__device__ __forceinline__ void copy(Floats<V> (&to)[N], const Floats<V> (&from)[N]) {
#pragma unroll
  for (int k = 0; k < N; ++k) to[k] = from[k];
}

// A piece of work: strips run fastest, then bands, images. In 32 bits, since a GPU divides 64 in many instructions;
// `supports` sees to it.
struct Piece {
  int c, column, row;
  int64_t image;
};
__device__ __forceinline__ Piece piece_of(unsigned unit, int c, int columns, int strips, int bands, int band) {
  return {c, static_cast<int>(unit % strips) * columns, static_cast<int>(unit / strips % bands) * band,
          unit / strips / bands};
}

// How the threads of forward and backward_data lie: a block is (groups of V channels, lanes), a lane a piece. What the
// lanes of a block do is a slice.
struct Rows {
  ChannelThreads block;
  int band, slices;
};
Rows cut_rows(const DepthwiseConvShape& s, int V, int strips_a_row) {
  Rows result;
  result.block = channel_threads(s.channels / V, threads);
  const int64_t strips = int64_t{s.batch} * strips_a_row;
  result.band = band_rows(strips * (s.channels / V), s.out_height());
  result.slices = ceil_div(strips * ceil_div(s.out_height(), result.band), result.block.lanes);
  return result;
}
Rows cut_forward(const DepthwiseConvShape& s, int V) {
  return cut_rows(s, V, ceil_div(s.out_width(), strip_columns(s.stride)));
}
Rows cut_backward(const DepthwiseConvShape& s, int V) { return cut_rows(s, V, ceil_div(s.width, back_columns)); }

// y = x * w for a strip and `band` rows; flip turns the filter by 180°.
template <int S, bool flip, class Load, class Store>
__device__ __forceinline__ void march(const DepthwiseConvShape& shape, const Piece& at, int band, const Load& load_x,
                                      const float* __restrict__ w, Store& store) {
  constexpr int T = strip_columns(S), V = Load::width;
  const int H = shape.height, W = shape.width, C = shape.channels, P = (H - 1) / S + 1, Q = (W - 1) / S + 1;
  const int end = at.row + band < P ? at.row + band : P, left = at.column * S - 1;
  Floats<V> filter[9], pixels[(T - 1) * S + 3], current[T], next[T];
  load_taps(filter, w + at.c, C, flip);
  const auto load = [&](int i) { load_row(pixels, load_x, static_cast<int64_t>(i) * W * C, left, i < H ? W : 0, C); };
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
      store_row(current, store, static_cast<int64_t>(p) * Q * C, at.column, Q, C);
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
      store_row(current, store, static_cast<int64_t>(p) * Q * C, at.column, Q, C);
      set_zero(current);
      multiply_row<S>(current, pixels, filter);
    }
  }
}

// dx at stride 2, a strip of 2 · band rows. Row p of dy belongs to rows 2p - 1, 2p and 2p + 1 of dx, through the
// filter's rows 0, 1 and 2; only odd rows have two rows of dy.
template <class Load, class Store>
__device__ __forceinline__ void march_back(const DepthwiseConvShape& shape, const Piece& at, int band,
                                           const Load& load_dy, const float* __restrict__ w, Store& store) {
  constexpr int T = back_columns, V = Load::width;
  const int H = shape.height, W = shape.width, C = shape.channels, P = (H - 1) / 2 + 1, Q = (W - 1) / 2 + 1;
  const int end = at.row + band < P ? at.row + band : P;
  Floats<V> filter[9], pixels[T / 2 + 1], even[T], odd[T];
  load_taps(filter, w + at.c, C, false);
  load_row(pixels, load_dy, static_cast<int64_t>(at.row) * Q * C, at.column / 2, Q, C);
  for (int p = at.row; p < end; ++p) {
    set_zero(even);
    set_zero(odd);
    spread_row(even, pixels, filter + 3);
    store_row(even, store, static_cast<int64_t>(2 * p) * W * C, at.column, W, C);
    spread_row(odd, pixels, filter + 6);
    load_row(pixels, load_dy, static_cast<int64_t>(p + 1) * Q * C, at.column / 2, p + 1 < P ? Q : 0, C);
    spread_row(odd, pixels, filter);
    if (2 * p + 1 < H) store_row(odd, store, static_cast<int64_t>(2 * p + 1) * W * C, at.column, W, C);
  }
}

}  // namespace

// Load, Store: what they make of x and do with y (common/fused.h). blockIdx: slice · channel_blocks + channel block.
template <int S, class Load, class Store>
__global__ void __launch_bounds__(threads, blocks_at_once<Load, Store>)
    depthwise_conv_march_forward(DepthwiseConvShape shape, int channel_blocks, int band,
                                 const typename Load::Element* __restrict__ x, FusedNorm norm_x,
                                 const float* __restrict__ w, typename Store::Element* __restrict__ y,
                                 Partials partials) {
  constexpr int T = strip_columns(S), V = Load::width;
  const int H = shape.height, W = shape.width, C = shape.channels, P = (H - 1) / S + 1, Q = (W - 1) / S + 1;
  const unsigned slice = blockIdx.x / channel_blocks;
  const int channel = (blockIdx.x % channel_blocks * blockDim.x + threadIdx.x) * V;
  Piece at = piece_of(slice * blockDim.y + threadIdx.y, channel, T, (Q + T - 1) / T, (P + band - 1) / band, band);
  const bool inside = at.image < shape.batch && channel < C;
  if (!inside) at = {};
  const Load load(x, nullptr, at.image * H * W * C + at.c, norm_x, at.c);
  Store store(y, nullptr, at.image * P * Q * C + at.c, norm_x, at.c);
  if (inside) march<S, false>(shape, at, band, load, w, store);
  store.template finish<threads>(channel, C, slice, partials);
}

// dy is z with the prologue Gradient; x is what the epilogue Masked takes. At stride 1, dx = dy * w, the filter turned
// by 180°.
template <int S, class Load, class Store>
__global__ void __launch_bounds__(threads, blocks_at_once<Load, Store>)
    depthwise_conv_march_backward_data(DepthwiseConvShape shape, int channel_blocks, int band,
                                       const typename Load::Element* __restrict__ dy,
                                       const typename Load::Element* __restrict__ du_z, FusedNorm norm_z,
                                       const float* __restrict__ w, const typename Store::Element* __restrict__ x,
                                       FusedNorm norm_x, typename Store::Element* __restrict__ dx, Partials partials) {
  constexpr int T = back_columns, V = Load::width;
  const int H = shape.height, W = shape.width, C = shape.channels, P = (H - 1) / S + 1, Q = (W - 1) / S + 1;
  const unsigned slice = blockIdx.x / channel_blocks;
  const int channel = (blockIdx.x % channel_blocks * blockDim.x + threadIdx.x) * V;
  Piece at = piece_of(slice * blockDim.y + threadIdx.y, channel, T, (W + T - 1) / T, (P + band - 1) / band, band);
  const bool inside = at.image < shape.batch && channel < C;
  if (!inside) at = {};
  const Load load(dy, du_z, at.image * P * Q * C + at.c, norm_z, at.c);
  Store store(dx, x, at.image * H * W * C + at.c, norm_x, at.c);
  if (inside) {
    if constexpr (S == 1)
      march<1, true>(shape, at, band, load, w, store);
    else
      march_back(shape, at, band, load, w, store);
  }
  store.template finish<threads>(channel, C, slice, partials);
}

// partial: (slices, 3, 3, C). blockIdx: (channel block, slice); blockDim: (groups, lanes). A unit is a strip
// of weight_rows rows of dy. LoadX: what it makes of x; LoadDy: of dy, which is z with the prologue Gradient.
template <int S, class LoadX, class LoadDy>
__global__ void __launch_bounds__(weight_threads, (S == 1 ? blocks_at_once<LoadX, LoadDy> : 3))
    depthwise_conv_march_backward_weight(DepthwiseConvShape shape, int64_t units_a_lane,
                                         const typename LoadX::Element* __restrict__ x, FusedNorm norm_x,
                                         const typename LoadDy::Element* __restrict__ dy,
                                         const typename LoadDy::Element* __restrict__ du_z, FusedNorm norm_z,
                                         float* __restrict__ partial) {
  constexpr int T = strip_columns(S), V = LoadX::width;
  const int H = shape.height, W = shape.width, C = shape.channels, P = (H - 1) / S + 1, Q = (W - 1) / S + 1;
  const int c = (blockIdx.x * blockDim.x + threadIdx.x) * V, lanes = blockDim.y;
  const int strips = (Q + T - 1) / T, bands = (P + weight_rows - 1) / weight_rows;
  const int64_t units = static_cast<int64_t>(shape.batch) * bands * strips;
  const int64_t slice_begin = blockIdx.y * units_a_lane * lanes;
  __shared__ __align__(16) float shared[add_lanes_floats<V>];
  Floats<V> sums[9];
  set_zero(sums);
  const int safe_c = c < C ? c : 0;
  const LoadX load_pixel(x, nullptr, safe_c, norm_x, safe_c);
  const LoadDy load_gradient(dy, du_z, safe_c, norm_z, safe_c);
  for (int64_t turn = 0; turn < units_a_lane; ++turn) {
    const int64_t unit = slice_begin + turn * lanes + threadIdx.y;
    if (unit >= units || c >= C) break;
    const Piece at = piece_of(static_cast<unsigned>(unit), c, T, strips, bands, weight_rows);
    const int64_t image = at.image * H * W * C, gradients = at.image * P * Q * C;
    const int end = at.row + weight_rows < P ? at.row + weight_rows : P;
    Floats<V> pixels[(T - 1) * S + 3], above[T], middle[T], below[T];  // rows of dy
    const auto load_x = [&](int i) {
      load_row(pixels, load_pixel, image + static_cast<int64_t>(i) * W * C, at.column * S - 1, i >= 0 && i < H ? W : 0,
               C);
    };
    const auto load_dy = [&](Floats<V>(&row)[T], int p) {
      load_row(row, load_gradient, gradients + static_cast<int64_t>(p) * Q * C, at.column, p < end ? Q : 0, C);
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

struct March {
  static int forward_slices(const DepthwiseConvShape& s, int V) { return cut_forward(s, V).slices; }
  static int data_slices(const DepthwiseConvShape& s, int V) { return cut_backward(s, V).slices; }
  static Split weight_split(const DepthwiseConvShape& s, int V) {
    const int64_t strips = ceil_div(s.out_width(), strip_columns(s.stride)),
                  bands = ceil_div(s.out_height(), weight_rows);
    return split(s.channels / V, s.batch * strips * bands, ceil_div(4, s.out_height()));
  }

  template <class T, template <int, class> class Load, template <int, class> class Store>
  static void forward(Context& context, const DepthwiseConvShape& s, int V, const T* x, const FusedNorm& norm_x,
                      const float* w, T* y, const Partials& partials) {
    const Rows rows = cut_forward(s, V);
    const auto kernel = by_stride(s, V, [](auto v, auto stride) {
      return &depthwise_conv_march_forward<stride.value, Load<v.value, T>, Store<v.value, T>>;
    });
    launch(context, kernel, int64_t{rows.slices} * rows.block.blocks, dim3(rows.block.groups, rows.block.lanes), 0, s,
           rows.block.blocks, rows.band, x, norm_x, w, y, partials);
  }

  template <class T, template <int, class> class Load, template <int, class> class Store>
  static void backward_data(Context& context, const DepthwiseConvShape& s, int V, const T* dy, const T* du_z,
                            const FusedNorm& norm_z, const float* w, const T* x, const FusedNorm& norm_x, T* dx,
                            const Partials& partials) {
    const Rows rows = cut_backward(s, V);
    const auto kernel = by_stride(s, V, [](auto v, auto stride) {
      return &depthwise_conv_march_backward_data<stride.value, Load<v.value, T>, Store<v.value, T>>;
    });
    launch(context, kernel, int64_t{rows.slices} * rows.block.blocks, dim3(rows.block.groups, rows.block.lanes), 0, s,
           rows.block.blocks, rows.band, dy, du_z, norm_z, w, x, norm_x, dx, partials);
  }

  // The first pass: `partial` sums, (slices, 3, 3, C).
  template <class T, template <int, class> class LoadX, template <int, class> class LoadDy>
  static void backward_weight(Context& context, const DepthwiseConvShape& s, int V, const T* x, const FusedNorm& norm_x,
                              const T* dy, const T* du_z, const FusedNorm& norm_z, float* partial) {
    const Split split = weight_split(s, V);
    const auto kernel = by_stride(s, V, [](auto v, auto stride) {
      return &depthwise_conv_march_backward_weight<stride.value, LoadX<v.value, T>, LoadDy<v.value, T>>;
    });
    launch(context, kernel, dim3(split.channel_blocks, split.slices), dim3(split.groups, split.lanes), 0, s,
           split.units_a_lane, x, norm_x, dy, du_z, norm_z, partial);
  }
};

// Thread numbers fit into 32 bits.
bool supports(const DepthwiseConvShape& s) {
  return int64_t{s.batch} * s.height * ceil_div(s.width, 4) * s.channels < 0xffffff00;
}

template <class T>
constexpr DepthwiseConvOf<T> row = passes_of<March, T>(
    "march", "a strip walks down the rows: an input is loaded once, sums are carried in registers", supports);

}  // namespace

extern const DepthwiseConv depthwise_conv_march = row<float>;
extern const DepthwiseConvOf<Bf16> depthwise_conv_march_bf16 = row<Bf16>;

}  // namespace kernels::KERNEL_TARGET
