// Idea: several images a block and a whole map a thread, for maps of 4×4 and less, where strips and tiles are mostly
// border and one image may not fill a warp. Threads run over channels first, then over images. Each loads a map of its
// channels into registers, every element once, and takes several images with the same filter where there are very many.
// The map's size is known when the kernel is compiled, so a tap that falls outside costs neither a test nor a product:
// 100 of 144 are left on 4×4 at stride 1, 16 of 36 on 2×2.
#include "kernels/depthwise_conv/passes.h"

namespace kernels::KERNEL_TARGET {

namespace {

constexpr int threads = 128;  // a block's

// Blocks of the fused passes at once on a multiprocessor, by which the compiler deals out the registers: a norm's
// factors and sums take up to 36 more.
template <int N>
[[maybe_unused]] constexpr int fused_blocks = N == 4 ? 2 : 3;
// Of the plain ones: widening and rounding bfloat16 takes a few registers too, and so does a map of 4×4.
template <class T, int N>
[[maybe_unused]] constexpr int plain_blocks = sizeof(T) == sizeof(float) && N < 4 ? 4 : 3;

// A map in registers: N×N pixels, zero beyond height and width. at: the index of its first pixel.
template <class Load, int V, int N>
__device__ __forceinline__ void load_map(Floats<V> (&map)[N][N], const Load& load, int64_t at, int height, int width,
                                         int channels) {
#pragma unroll
  for (int i = 0; i < N; ++i) load_row(map[i], load, at + i * width * channels, 0, i < height ? width : 0, channels);
}

// value(i, j) for i < height, j < width of a map up to N×N. at: the index of its first pixel.
template <int N, class Store, class Value>
__device__ __forceinline__ void store_map(Store& store, int64_t at, int height, int width, int channels, Value value) {
  constexpr int batch = N <= 2 ? N : 1;  // what an epilogue fetches, it waits for once in so many: as registers allow
#pragma unroll
  for (int i = 0; i < N; ++i)
#pragma unroll
    for (int first = 0; first < N; first += batch) {
      decltype(value(0, 0)) values[batch];
      decltype(store.fetch(0)) fetched[batch] = {};
      const auto inside = [&](int k) { return i < height && first + k < width; };
      const auto to = [&](int k) { return at + (i * width + first + k) * channels; };
#pragma unroll
      for (int k = 0; k < batch; ++k) values[k] = value(i, first + k);
#pragma unroll
      for (int k = 0; k < batch; ++k)
        if (inside(k)) fetched[k] = store.fetch(to(k));
#pragma unroll
      for (int k = 0; k < batch; ++k)
        if (inside(k)) store(to(k), values[k], fetched[k], i == 0 && first + k == 0);
    }
}

// y = x * w for one image.
template <int S, int N, bool flip, class Load, class Store, int V>
__device__ __forceinline__ void convolve_image(const DepthwiseConvShape& shape, int64_t n, const Load& load,
                                               const Floats<V> (&filter)[9], Store& store) {
  const int H = shape.height, W = shape.width, C = shape.channels, P = (H - 1) / S + 1, Q = (W - 1) / S + 1;
  Floats<V> map[N][N];
  load_map(map, load, n * H * W * C, H, W, C);
  store_map<(N - 1) / S + 1>(store, n * P * Q * C, P, Q, C, [&](int p, int q) {
    auto sum = Floats<V>::zero();
#pragma unroll
    for (int r = 0; r < 3; ++r)
#pragma unroll
      for (int s = 0; s < 3; ++s) {
        const int i = p * S + r - 1, j = q * S + s - 1;
        if (i >= 0 && i < N && j >= 0 && j < N) sum.multiply_add(map[i][j], filter[flip ? 8 - r * 3 - s : r * 3 + s]);
      }
    return sum;
  });
}

// dx at stride 2, of maps up to N×N.
template <int N, class Load, class Store, int V>
__device__ __forceinline__ void spread_image(const DepthwiseConvShape& shape, int64_t n, const Load& load,
                                             const Floats<V> (&filter)[9], Store& store) {
  const int H = shape.height, W = shape.width, C = shape.channels, P = (H - 1) / 2 + 1, Q = (W - 1) / 2 + 1;
  Floats<V> map[N / 2][N / 2];
  load_map(map, load, n * P * Q * C, P, Q, C);
  store_map<N>(store, n * H * W * C, H, W, C, [&](int i, int j) {
    auto sum = Floats<V>::zero();
#pragma unroll
    for (int r = 0; r < 3; ++r)
#pragma unroll
      for (int s = 0; s < 3; ++s) {
        const int up = i + 1 - r, left = j + 1 - s;  // 2p and 2q, where there is such an output
        if (up >= 0 && left >= 0 && up < N && left < N && up % 2 == 0 && left % 2 == 0)
          sum.multiply_add(map[up / 2][left / 2], filter[r * 3 + s]);
      }
    return sum;
  });
}

}  // namespace

// Load, Store: what they make of x and do with y (common/fused.h). blockIdx: slice · channel_blocks + channel block;
// blockDim: (groups of V channels, lanes). A lane takes images_a_thread images.
template <int S, int N, class Load, class Store>
__global__ void __launch_bounds__(threads, Load::fused || Store::fused ? fused_blocks<N>
                                                                       : plain_blocks<typename Load::Element, N>)
    depthwise_conv_images_forward(DepthwiseConvShape shape, int channel_blocks, int images_a_thread,
                                  const typename Load::Element* __restrict__ x, FusedNorm norm_x,
                                  const float* __restrict__ w, typename Store::Element* __restrict__ y,
                                  Partials partials) {
  constexpr int V = Load::width;
  const unsigned slice = blockIdx.x / channel_blocks;
  const int channel = (blockIdx.x % channel_blocks * blockDim.x + threadIdx.x) * V;
  const int64_t first = static_cast<int64_t>(slice * blockDim.y + threadIdx.y) * images_a_thread;
  const bool inside = first < shape.batch && channel < shape.channels;
  const int c = inside ? channel : 0;
  const Load load(x, nullptr, c, norm_x, c);
  Store store(y, nullptr, c, norm_x, c);
  if (inside) {
    Floats<V> filter[9];
    load_taps(filter, w + c, shape.channels, false);
    for (int64_t n = first; n < first + images_a_thread && n < shape.batch; ++n)
      convolve_image<S, N, false>(shape, n, load, filter, store);
  }
  store.template finish<threads>(channel, shape.channels, slice, partials);
}

// dy is z with the prologue Gradient; x is what the epilogue Masked takes. At stride 1, dx = dy * w, the filter turned
// by 180°.
template <int S, int N, class Load, class Store>
__global__ void __launch_bounds__(threads, Load::fused ? fused_blocks<N> : plain_blocks<typename Load::Element, N>)
    depthwise_conv_images_backward_data(DepthwiseConvShape shape, int channel_blocks, int images_a_thread,
                                        const typename Load::Element* __restrict__ dy,
                                        const typename Load::Element* __restrict__ du_z, FusedNorm norm_z,
                                        const float* __restrict__ w, const typename Store::Element* __restrict__ x,
                                        FusedNorm norm_x, typename Store::Element* __restrict__ dx, Partials partials) {
  constexpr int V = Load::width;
  const unsigned slice = blockIdx.x / channel_blocks;
  const int channel = (blockIdx.x % channel_blocks * blockDim.x + threadIdx.x) * V;
  const int64_t first = static_cast<int64_t>(slice * blockDim.y + threadIdx.y) * images_a_thread;
  const bool inside = first < shape.batch && channel < shape.channels;
  const int c = inside ? channel : 0;
  const Load load(dy, du_z, c, norm_z, c);
  Store store(dx, x, c, norm_x, c);
  if (inside) {
    Floats<V> filter[9];
    load_taps(filter, w + c, shape.channels, false);
    for (int64_t n = first; n < first + images_a_thread && n < shape.batch; ++n) {
      if constexpr (S == 1)
        convolve_image<1, N, true>(shape, n, load, filter, store);
      else
        spread_image<N>(shape, n, load, filter, store);
    }
  }
  store.template finish<threads>(channel, shape.channels, slice, partials);
}

// partial: (slices, 3, 3, C). blockIdx: (channel block, slice); blockDim: (groups, lanes). A unit is an image. LoadX:
// what it makes of x; LoadDy: of dy, which is z with the prologue Gradient.
template <int S, int N, class LoadX, class LoadDy>
__global__ void __launch_bounds__(weight_threads, LoadX::fused ? fused_blocks<N> : 0)
    depthwise_conv_images_backward_weight(DepthwiseConvShape shape, int64_t images_a_lane,
                                          const typename LoadX::Element* __restrict__ x, FusedNorm norm_x,
                                          const typename LoadDy::Element* __restrict__ dy,
                                          const typename LoadDy::Element* __restrict__ du_z, FusedNorm norm_z,
                                          float* __restrict__ partial) {
  constexpr int V = LoadX::width;
  const int H = shape.height, W = shape.width, C = shape.channels, P = (H - 1) / S + 1, Q = (W - 1) / S + 1;
  const int c = (blockIdx.x * blockDim.x + threadIdx.x) * V, lanes = blockDim.y, safe_c = c < C ? c : 0;
  const int64_t slice_begin = blockIdx.y * images_a_lane * lanes;
  __shared__ __align__(16) float shared[add_lanes_floats<V>];
  Floats<V> sums[9];
  set_zero(sums);
  const LoadX load_x(x, nullptr, safe_c, norm_x, safe_c);
  const LoadDy load_dy(dy, du_z, safe_c, norm_z, safe_c);
  for (int64_t turn = 0; turn < images_a_lane; ++turn) {
    const int64_t n = slice_begin + turn * lanes + threadIdx.y;
    if (n >= shape.batch || c >= C) break;
    Floats<V> map[N][N];
    load_map(map, load_x, n * H * W * C, H, W, C);
#pragma unroll
    for (int p = 0; p < (N - 1) / S + 1; ++p) {
      Floats<V> row[(N - 1) / S + 1];
      load_row(row, load_dy, n * P * Q * C + p * Q * C, 0, p < P ? Q : 0, C);
#pragma unroll
      for (int q = 0; q < (N - 1) / S + 1; ++q)
#pragma unroll
        for (int r = 0; r < 3; ++r)
#pragma unroll
          for (int s = 0; s < 3; ++s) {
            const int i = p * S + r - 1, j = q * S + s - 1;
            if (i >= 0 && i < N && j >= 0 && j < N) sums[r * 3 + s].multiply_add(map[i][j], row[q]);
          }
    }
  }
  add_lanes(sums, c, C, partial + static_cast<int64_t>(blockIdx.y) * 9 * C, shared);
}

namespace {

// Several images a thread where as many threads as today's largest GPUs hold (about 2^16 of this kernel's) remain.
int images_a_thread(const DepthwiseConvShape& s, int V) {
  return std::clamp<int64_t>(int64_t{s.batch} * (s.channels / V) >> 16, 1, 8);
}

ChannelThreads block_of(const DepthwiseConvShape& s, int V) { return channel_threads(s.channels / V, threads); }
// Of forward and backward_data: what a block does.
int slices(const DepthwiseConvShape& s, int V) {
  return ceil_div(ceil_div(s.batch, images_a_thread(s, V)), block_of(s, V).lanes);
}

// The instance of a kernel for a shape: kernel(V, S, N) with constants, N = 2 or 4 for maps up to N×N.
template <class F>
auto instance(const DepthwiseConvShape& s, int V, F kernel) {
  const bool small = s.height <= 2 && s.width <= 2;
  return by_stride(s, V, [=](auto v, auto stride) {
    return small ? kernel(v, stride, std::integral_constant<int, 2>())
                 : kernel(v, stride, std::integral_constant<int, 4>());
  });
}

struct Images {
  static int forward_slices(const DepthwiseConvShape& s, int V) { return slices(s, V); }
  static int data_slices(const DepthwiseConvShape& s, int V) { return slices(s, V); }
  // At least 16 outputs a thread.
  static Split weight_split(const DepthwiseConvShape& s, int V) {
    return split(s.channels / V, s.batch, ceil_div(16, int64_t{s.out_height()} * s.out_width()));
  }

  template <class T, template <int, class> class Load, template <int, class> class Store>
  static void forward(Context& context, const DepthwiseConvShape& s, int V, const T* x, const FusedNorm& norm_x,
                      const float* w, T* y, const Partials& partials) {
    const ChannelThreads block = block_of(s, V);
    const auto kernel = instance(s, V, [](auto v, auto stride, auto n) {
      return &depthwise_conv_images_forward<stride.value, n.value, Load<v.value, T>, Store<v.value, T>>;
    });
    launch(context, kernel, int64_t{slices(s, V)} * block.blocks, dim3(block.groups, block.lanes), 0, s, block.blocks,
           images_a_thread(s, V), x, norm_x, w, y, partials);
  }

  template <class T, template <int, class> class Load, template <int, class> class Store>
  static void backward_data(Context& context, const DepthwiseConvShape& s, int V, const T* dy, const T* du_z,
                            const FusedNorm& norm_z, const float* w, const T* x, const FusedNorm& norm_x, T* dx,
                            const Partials& partials) {
    const ChannelThreads block = block_of(s, V);
    const auto kernel = instance(s, V, [](auto v, auto stride, auto n) {
      return &depthwise_conv_images_backward_data<stride.value, n.value, Load<v.value, T>, Store<v.value, T>>;
    });
    launch(context, kernel, int64_t{slices(s, V)} * block.blocks, dim3(block.groups, block.lanes), 0, s, block.blocks,
           images_a_thread(s, V), dy, du_z, norm_z, w, x, norm_x, dx, partials);
  }

  // The first pass: `partial` sums, (slices, 3, 3, C).
  template <class T, template <int, class> class LoadX, template <int, class> class LoadDy>
  static void backward_weight(Context& context, const DepthwiseConvShape& s, int V, const T* x, const FusedNorm& norm_x,
                              const T* dy, const T* du_z, const FusedNorm& norm_z, float* partial) {
    const Split split = weight_split(s, V);
    const auto kernel = instance(s, V, [](auto v, auto stride, auto n) {
      return &depthwise_conv_images_backward_weight<stride.value, n.value, LoadX<v.value, T>, LoadDy<v.value, T>>;
    });
    launch(context, kernel, dim3(split.channel_blocks, split.slices), dim3(split.groups, split.lanes), 0, s,
           split.units_a_lane, x, norm_x, dy, du_z, norm_z, partial);
  }
};

// Thread numbers fit into 32 bits.
bool supports(const DepthwiseConvShape& s) {
  return s.height <= 4 && s.width <= 4 && int64_t{s.batch} * s.channels < 0xffffff00;
}

template <class T>
constexpr DepthwiseConvOf<T> row = passes_of<Images, T>(
    "images", "maps up to 4x4: a whole map in a thread's registers, several images a block", supports);

}  // namespace

extern const DepthwiseConv depthwise_conv_images = row<float>;
extern const DepthwiseConvOf<Bf16> depthwise_conv_images_bf16 = row<Bf16>;

}  // namespace kernels::KERNEL_TARGET
