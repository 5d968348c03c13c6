// Idea: a tile with its halo in shared memory. The block loads every input that its 8×8 outputs need once from global
// memory, and the nine uses of each come from shared memory: 100 loads for 64 outputs at stride 1, where `vectorised`
// takes 576. The price is a barrier: nobody computes until the slowest load has arrived. In backward_weight x and dy
// are both staged, and a block adds up all images for its channels.
#include "kernels/depthwise_conv/tile.h"
#include "kernels/depthwise_conv/weight_sums.h"

namespace kernels::KERNEL_TARGET {

namespace {

// Through registers, as any load and store.
template <int V>
struct Put {
  __device__ __forceinline__ void operator()(float* to, const float* from, bool inside) const {
    (inside ? Floats<V>::load(from) : Floats<V>::zero()).store(to);
  }
};

template <int V, int S, bool spread, bool flip>
__device__ __forceinline__ void convolve(const Tiles& tiles, int channels, const float* __restrict__ source,
                                         const float* __restrict__ w, float* __restrict__ result) {
  float* tile = dynamic_shared<float>();  // (source rows, source columns, groups, V)
  const int c = (blockIdx.x % tiles.chunks * blockDim.x + threadIdx.x) * V;
  const TileAt at = tile_at(tiles, blockIdx.x / tiles.chunks);
  if (c < channels) load_source<S, spread, V>(tile, source + c, tiles, at, channels, Put<V>());
  __syncthreads();
  if (c >= channels) return;
  Floats<V> filter[9];
  load_taps(filter, w + c, channels, flip);
  // One output a thread; at stride 2 a pair of two rows.
  convolve_tile<S, spread, spread ? 2 : 1>(tile, filter, result + c, tiles, at, channels);
}

}  // namespace

template <int V, int S>
__global__ void __launch_bounds__(tile_threads)
    depthwise_conv_tiled_forward(Tiles tiles, int channels, const float* __restrict__ x, const float* __restrict__ w,
                                 float* __restrict__ y) {
  convolve<V, S, false, false>(tiles, channels, x, w, y);
}

template <int V, int S>
__global__ void __launch_bounds__(tile_threads, 6)
    depthwise_conv_tiled_backward_data(Tiles tiles, int channels, const float* __restrict__ dy,
                                       const float* __restrict__ w, float* __restrict__ dx) {
  convolve<V, S, S == 2, S == 1>(tiles, channels, dy, w, dx);
}

template <int V, int S>
__global__ void __launch_bounds__(tile_threads)
    depthwise_conv_tiled_backward_weight(Tiles tiles, int channels, const float* __restrict__ x,
                                         const float* __restrict__ dy, float* __restrict__ dw) {
  float* x_tile = dynamic_shared<float>();  // (source rows, source columns, groups, V), then dy's (rows, columns, …)
  float* dy_tile = x_tile + source_size<S, false>(tiles.rows) * source_size<S, false>(tile_size) * blockDim.x * V;
  const int c = (blockIdx.x * blockDim.x + threadIdx.x) * V;
  Floats<V> sums[9];
  set_zero(sums);
  for (int k = 0; k < tiles.count; ++k) {
    const TileAt at = tile_at(tiles, k);
    if (c < channels) {
      load_source<S, false, V>(x_tile, x + c, tiles, at, channels, Put<V>());
      load_pixels<tile_size, V>(dy_tile, dy + at.image * tiles.height * tiles.width * channels + c, at.row, tiles.rows,
                                at.column, tiles.height, tiles.width, channels, Put<V>());
    }
    __syncthreads();
    if (c < channels) add_tile<S, 1>(sums, x_tile, dy_tile, tiles.rows);
    __syncthreads();  // before the next tile overwrites this one
  }
  add_lanes(sums, c, channels, dw, x_tile);
}

extern const DepthwiseConv depthwise_conv_tiled = {
    .name = "tiled",
    .idea = "a tile with its halo in shared memory: an input is loaded once a block",
    .provider = Provider::native,
    // A block a tile: block numbers fit into 31 bits.
    .supports =
        [](const DepthwiseConvShape& s) { return int64_t{s.batch} * s.height * s.width * s.channels < 1ll << 31; },
    .workspace = [](const DepthwiseConvShape&) -> size_t { return 0; },
    .forward =
        [](Context& context, const DepthwiseConvShape& s, const float* x, const float* w, float* y) {
          const int V = vector_width(s, {x, w, y});
          const Tiles tiles = tiles_of(s, V, false);
          const int pixels = s.stride == 1 ? tiles.source_pixels<1, false>() : tiles.source_pixels<2, false>();
          const auto kernel = s.stride == 1
                                  ? (V == 4 ? depthwise_conv_tiled_forward<4, 1> : depthwise_conv_tiled_forward<1, 1>)
                                  : (V == 4 ? depthwise_conv_tiled_forward<4, 2> : depthwise_conv_tiled_forward<1, 2>);
          launch(context, kernel, int64_t{tiles.count} * tiles.chunks, dim3(tiles.groups, tiles.lanes()),
                 sizeof(float) * pixels * tiles.groups * V, tiles, s.channels, x, w, y);
        },
    .backward_data =
        [](Context& context, const DepthwiseConvShape& s, const float* dy, const float* w, float* dx) {
          const int V = vector_width(s, {dy, w, dx});
          const Tiles tiles = tiles_of(s, V, true);
          const int pixels = s.stride == 1 ? tiles.source_pixels<1, false>() : tiles.source_pixels<2, true>();
          const auto kernel =
              s.stride == 1
                  ? (V == 4 ? depthwise_conv_tiled_backward_data<4, 1> : depthwise_conv_tiled_backward_data<1, 1>)
                  : (V == 4 ? depthwise_conv_tiled_backward_data<4, 2> : depthwise_conv_tiled_backward_data<1, 2>);
          launch(context, kernel, int64_t{tiles.count} * tiles.chunks, dim3(tiles.groups, tiles.lanes()),
                 sizeof(float) * pixels * tiles.groups * V, tiles, s.channels, dy, w, dx);
        },
    .backward_weight =
        [](Context& context, const DepthwiseConvShape& s, const float* x, const float* dy, float* dw) {
          const int V = vector_width(s, {x, dy, dw});
          const Tiles tiles = tiles_of(s, V, false);
          const int pixels = (s.stride == 1 ? tiles.source_pixels<1, false>() : tiles.source_pixels<2, false>()) +
                             tiles.rows * tile_size;
          const auto kernel =
              s.stride == 1
                  ? (V == 4 ? depthwise_conv_tiled_backward_weight<4, 1> : depthwise_conv_tiled_backward_weight<1, 1>)
                  : (V == 4 ? depthwise_conv_tiled_backward_weight<4, 2> : depthwise_conv_tiled_backward_weight<1, 2>);
          launch(context, kernel, tiles.chunks, dim3(tiles.groups, tiles.lanes()),
                 sizeof(float) * std::max(pixels * tiles.groups * V, weight_threads * 9 * V), tiles, s.channels, x, dy,
                 dw);
        },
};

}  // namespace kernels::KERNEL_TARGET
