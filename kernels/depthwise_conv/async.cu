// Idea: asynchronous copies (cp.async) and two buffers. A block takes a run of tiles; while it computes one from shared
// memory, the next is on its way into the other buffer, past the registers. That hides the wait that `tiled` has before
// its barrier. The filter is loaded once for all tiles of the run, and four outputs of a row are computed together as
// in `strip`, which halves the loads from shared memory. In backward_weight the run is a slice as in `split`.
#include "kernels/common/async_copy.h"
#include "kernels/depthwise_conv/tile.h"
#include "kernels/depthwise_conv/weight_sums.h"

namespace kernels::KERNEL_TARGET {

namespace {

constexpr int T = 4;  // outputs of a row at a time

// One copy instruction for V floats.
template <int V>
struct Put {
  AsyncCopies& copies;
  __device__ __forceinline__ void operator()(float* to, const float* from, bool inside) const {
    copies.copy<4 * V>(to, from, inside);
  }
};

// Calls compute(buffer, tile) for tiles first … end - 1, each when it has been staged: stage(buffer, tile) has started
// its copies one tile ahead.
template <class Stage, class Compute>
__device__ __forceinline__ void pipeline(AsyncCopies& copies, int first, int end, Stage stage, Compute compute) {
  stage(0, first);
  copies.commit();
  for (int k = first; k < end; ++k) {
    const int buffer = (k - first) % 2;
    if (k + 1 < end) stage(1 - buffer, k + 1);
    copies.commit();   // an empty group after the last tile, so that the wait is always for all but the newest
    copies.wait<1>();  // this thread's copies of tile k have landed
    __syncthreads();   // all threads' have
    compute(buffer, k);
    __syncthreads();  // nobody reads this buffer any more: the next turn fills it again
  }
}

template <int V, int S, bool spread, bool flip>
__device__ __forceinline__ void convolve(const Tiles& tiles, int tiles_a_block, int channels,
                                         const float* __restrict__ source, const float* __restrict__ w,
                                         float* __restrict__ result) {
  float* shared = dynamic_shared<float>();  // (2, source rows, source columns, groups, V)
  const int size = source_size<S, spread>(tiles.rows) * source_size<S, spread>(tile_size) * blockDim.x * V;
  const int c = (blockIdx.x % tiles.chunks * blockDim.x + threadIdx.x) * V;
  const int first = blockIdx.x / tiles.chunks * tiles_a_block;
  const int end = first + tiles_a_block < tiles.count ? first + tiles_a_block : tiles.count;
  Floats<V> filter[9];
  if (c < channels)
    load_taps(filter, w + c, channels, flip);
  else
    set_zero(filter);
  AsyncCopies copies;
  pipeline(
      copies, first, end,
      [&](int buffer, int k) {
        if (c < channels)
          load_source<S, spread, V>(shared + buffer * size, source + c, tiles, tile_at(tiles, k), channels,
                                    Put<V>{copies});
      },
      [&](int buffer, int k) {
        if (c < channels)
          convolve_tile<S, spread, T>(shared + buffer * size, filter, result + c, tiles, tile_at(tiles, k), channels);
      });
}

}  // namespace

template <int V, int S>
__global__ void __launch_bounds__(tile_threads)
    depthwise_conv_async_forward(Tiles tiles, int tiles_a_block, int channels, const float* __restrict__ x,
                                 const float* __restrict__ w, float* __restrict__ y) {
  convolve<V, S, false, false>(tiles, tiles_a_block, channels, x, w, y);
}

template <int V, int S>
__global__ void __launch_bounds__(tile_threads)
    depthwise_conv_async_backward_data(Tiles tiles, int tiles_a_block, int channels, const float* __restrict__ dy,
                                       const float* __restrict__ w, float* __restrict__ dx) {
  convolve<V, S, S == 2, S == 1>(tiles, tiles_a_block, channels, dy, w, dx);
}

// partial: (slices, 3, 3, C). blockIdx: (channel block, slice).
template <int V, int S>
__global__ void __launch_bounds__(tile_threads)
    depthwise_conv_async_backward_weight(Tiles tiles, int tiles_a_slice, int channels, const float* __restrict__ x,
                                         const float* __restrict__ dy, float* __restrict__ partial) {
  float* shared = dynamic_shared<float>();  // two buffers: (source rows, source columns, groups, V) of x, then dy's
  const int x_size = source_size<S, false>(tiles.rows) * source_size<S, false>(tile_size) * blockDim.x * V;
  const int size = x_size + tiles.rows * tile_size * blockDim.x * V;
  const int c = (blockIdx.x * blockDim.x + threadIdx.x) * V;
  const int first = blockIdx.y * tiles_a_slice;
  const int end = first + tiles_a_slice < tiles.count ? first + tiles_a_slice : tiles.count;
  Floats<V> sums[9];
  set_zero(sums);
  AsyncCopies copies;
  pipeline(
      copies, first, end,
      [&](int buffer, int k) {
        if (c >= channels) return;
        const TileAt at = tile_at(tiles, k);
        float* x_tile = shared + buffer * size;
        load_source<S, false, V>(x_tile, x + c, tiles, at, channels, Put<V>{copies});
        load_pixels<tile_size, V>(x_tile + x_size, dy + at.image * tiles.height * tiles.width * channels + c, at.row,
                                  tiles.rows, at.column, tiles.height, tiles.width, channels, Put<V>{copies});
      },
      [&](int buffer, int) {
        const float* x_tile = shared + buffer * size;
        if (c < channels) add_tile<S, T>(sums, x_tile, x_tile + x_size, tiles.rows);
      });
  add_lanes(sums, c, channels, partial + static_cast<int64_t>(blockIdx.y) * 9 * channels, shared);
}

namespace {

// The longer a block's run, the more of its waiting is hidden; but about 2^10 blocks fill today's largest GPUs.
int tiles_a_block(const Tiles& tiles) { return std::clamp<int64_t>(int64_t{tiles.count} * tiles.chunks >> 10, 1, 8); }

struct Slices {
  int tiles;  // of a slice
  int count;
};
// At least 4 tiles a slice, or there is nothing to overlap. By the shape alone: the result has the same bits in every
// run.
Slices slices_of(const Tiles& tiles) {
  const int length = std::max<int>(4, ceil_div(tiles.count, most_slices));
  return {length, static_cast<int>(ceil_div(tiles.count, length))};
}

}  // namespace

extern const DepthwiseConv depthwise_conv_async = {
    .name = "async",
    .idea = "cp.async and two buffers: the next tile is loaded while this one is computed",
    .provider = Provider::native,
    // A block a tile at most: block numbers fit into 31 bits.
    .supports =
        [](const DepthwiseConvShape& s) { return int64_t{s.batch} * s.height * s.width * s.channels < 1ll << 31; },
    .workspace = [](const DepthwiseConvShape& s) -> size_t {
      return partial_bytes(s, slices_of(tiles_of(s, 1, false)).count);  // tiles do not depend on V
    },
    .forward =
        [](Context& context, const DepthwiseConvShape& s, const float* x, const float* w, float* y) {
          const int V = vector_width(s, {x, w, y});
          const Tiles tiles = tiles_of(s, V, false);
          const int run = tiles_a_block(tiles);
          const int pixels = s.stride == 1 ? tiles.source_pixels<1, false>() : tiles.source_pixels<2, false>();
          const auto kernel = s.stride == 1
                                  ? (V == 4 ? depthwise_conv_async_forward<4, 1> : depthwise_conv_async_forward<1, 1>)
                                  : (V == 4 ? depthwise_conv_async_forward<4, 2> : depthwise_conv_async_forward<1, 2>);
          launch(context, kernel, ceil_div(tiles.count, run) * tiles.chunks, dim3(tiles.groups, tiles.lanes()),
                 sizeof(float) * 2 * pixels * tiles.groups * V, tiles, run, s.channels, x, w, y);
        },
    .backward_data =
        [](Context& context, const DepthwiseConvShape& s, const float* dy, const float* w, float* dx) {
          const int V = vector_width(s, {dy, w, dx});
          const Tiles tiles = tiles_of(s, V, true);
          const int run = tiles_a_block(tiles);
          const int pixels = s.stride == 1 ? tiles.source_pixels<1, false>() : tiles.source_pixels<2, true>();
          const auto kernel =
              s.stride == 1
                  ? (V == 4 ? depthwise_conv_async_backward_data<4, 1> : depthwise_conv_async_backward_data<1, 1>)
                  : (V == 4 ? depthwise_conv_async_backward_data<4, 2> : depthwise_conv_async_backward_data<1, 2>);
          launch(context, kernel, ceil_div(tiles.count, run) * tiles.chunks, dim3(tiles.groups, tiles.lanes()),
                 sizeof(float) * 2 * pixels * tiles.groups * V, tiles, run, s.channels, dy, w, dx);
        },
    .backward_weight =
        [](Context& context, const DepthwiseConvShape& s, const float* x, const float* dy, float* dw) {
          const int V = vector_width(s, {x, dy});
          const Tiles tiles = tiles_of(s, V, false);
          const Slices slices = slices_of(tiles);
          const int pixels = (s.stride == 1 ? tiles.source_pixels<1, false>() : tiles.source_pixels<2, false>()) +
                             tiles.rows * tile_size;
          float* partial = static_cast<float*>(context.workspace);
          const auto kernel =
              s.stride == 1
                  ? (V == 4 ? depthwise_conv_async_backward_weight<4, 1> : depthwise_conv_async_backward_weight<1, 1>)
                  : (V == 4 ? depthwise_conv_async_backward_weight<4, 2> : depthwise_conv_async_backward_weight<1, 2>);
          launch(context, kernel, dim3(tiles.chunks, slices.count), dim3(tiles.groups, tiles.lanes()),
                 sizeof(float) * std::max(2 * pixels * tiles.groups * V, weight_threads * 9 * V), tiles, slices.tiles,
                 s.channels, x, dy, partial);
          add_partial_weights(context, s.channels, slices.count, partial, dw);
        },
};

}  // namespace kernels::KERNEL_TARGET
