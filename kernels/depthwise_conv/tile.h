// What the rungs with shared memory share: how a map is cut into tiles, and how a tile gets into shared memory.
//
// A block takes a tile of the result, of the 128 bytes of neighbouring channels that one line of memory holds, and
// stages the source's pixels that the tile needs, halo included:
//   forward, stride 1                 8×8 of y from 10×10 of x
//   forward, stride 2                 4×8 of y from 9×17 of x
//   backward_data, stride 1           as forward, with the filter turned by 180°
//   backward_data, stride 2 (spread)  8×8 of dx from 5×5 of dy
//   backward_weight                   dy is cut like y of forward, and staged as well
// So that two of them, x and dy, stay below the 48 KiB that every kernel may have.
// blockDim is (groups of V channels, lanes); a thread works on its own channels of the pixels of all lanes.
#pragma once

#include <algorithm>

#include "kernels/common/launch.h"
#include "kernels/depthwise_conv/row.h"

namespace kernels::KERNEL_TARGET {

constexpr int tile_size = 8;       // columns, and rows at most, of a tile of the result
constexpr int tile_threads = 128;  // a block's at most

// Rows or columns of the source that `results` rows or columns of the result need.
template <int S, bool spread>
constexpr __host__ __device__ int source_size(int results) {
  return spread ? results / 2 + 1 : (results - 1) * S + 3;
}

struct Tiles {
  int height, width, source_height, source_width;  // of the result's and the source's map
  int rows;                                        // of a tile of the result; it has tile_size columns
  int down, across;                                // tiles of a map
  int groups, chunks;                              // groups of V channels of a block; blocks side by side
  int count;                                       // tiles of all images
  int lanes() const { return tile_threads / groups; }
  template <int S, bool spread>
  int source_pixels() const {
    return source_size<S, spread>(rows) * source_size<S, spread>(tile_size);
  }
};

// back: the result is dx, else y (or dy, for the weight gradient).
inline Tiles tiles_of(const DepthwiseConvShape& s, int V, bool back) {
  Tiles t;
  t.height = s.out_height(), t.width = s.out_width(), t.source_height = s.height, t.source_width = s.width;
  if (back) std::swap(t.height, t.source_height), std::swap(t.width, t.source_width);
  // Even, for the pairs of rows of backward_data at stride 2.
  t.rows = std::min(t.height + t.height % 2, s.stride == 2 && !back ? tile_size / 2 : tile_size);
  t.down = ceil_div(t.height, t.rows);
  t.across = ceil_div(t.width, tile_size);
  t.groups = std::min(s.channels / V, 32 / V);
  t.chunks = ceil_div(s.channels / V, t.groups);
  t.count = s.batch * t.down * t.across;
  return t;
}

// Tile k of all images.
struct TileAt {
  int row, column;  // its first
  int64_t image;
};
__device__ __forceinline__ TileAt tile_at(const Tiles& tiles, int k) {
  return {k / tiles.across % tiles.down * tiles.rows, k % tiles.across * tile_size, k / tiles.across / tiles.down};
}

// Stages rows × columns pixels of a map, from (first_row, first_column) on. put(to, from, inside) copies V floats, or
// zeros where the pixel is outside the map. map: the image's, at this thread's channels.
template <int columns, int V, class Put>
__device__ __forceinline__ void load_pixels(float* tile, const float* map, int first_row, int rows, int first_column,
                                            int height, int width, int channels, Put put) {
  for (int pixel = threadIdx.y; pixel < rows * columns; pixel += blockDim.y) {
    const int i = first_row + pixel / columns, j = first_column + pixel % columns;
    const bool inside = i >= 0 && i < height && j >= 0 && j < width;
    put(tile + (pixel * blockDim.x + threadIdx.x) * V,
        inside ? map + (static_cast<int64_t>(i) * width + j) * channels : map, inside);
  }
}

// The source's pixels of tile `at`. source: the whole array, at this thread's channels.
template <int S, bool spread, int V, class Put>
__device__ __forceinline__ void load_source(float* tile, const float* source, const Tiles& tiles, const TileAt& at,
                                            int channels, Put put) {
  load_pixels<source_size<S, spread>(tile_size), V>(
      tile, source + at.image * tiles.source_height * tiles.source_width * channels,
      spread ? at.row / 2 : at.row * S - 1, source_size<S, spread>(tiles.rows),
      spread ? at.column / 2 : at.column * S - 1, tiles.source_height, tiles.source_width, channels, put);
}

// N pixels of a row of a staged tile that has `columns` columns.
template <int columns, int V, int N>
__device__ __forceinline__ void load_staged(Floats<V> (&pixels)[N], const float* tile, int row, int column) {
  const int pitch = blockDim.x * V;
  tile += (row * columns + column) * pitch + threadIdx.x * V;
#pragma unroll
  for (int k = 0; k < N; ++k) pixels[k] = Floats<V>::load(tile + k * pitch);
}

// Computes the tile's results from its staged source and stores them, T neighbouring ones of a row at a time; at spread
// those of two rows, and T is even. result: the whole array, at this thread's channels. filter: turned by 180° for
// backward_data at stride 1.
template <int S, bool spread, int T, int V>
__device__ __forceinline__ void convolve_tile(const float* tile, const Floats<V> (&filter)[9], float* result,
                                              const Tiles& tiles, const TileAt& at, int channels) {
  constexpr int columns = source_size<S, spread>(tile_size), strips = tile_size / T, high = spread ? 2 : 1;
  result += at.image * tiles.height * tiles.width * channels;
  for (int cell = threadIdx.y; cell < tiles.rows / high * strips; cell += blockDim.y) {
    const int row = cell / strips * high, column = cell % strips * T;
    Floats<V> sums[high][T];
#pragma unroll
    for (int k = 0; k < high; ++k) set_zero(sums[k]);
    if constexpr (spread) {
      Floats<V> pixels[T / 2 + 1];
      load_staged<columns>(pixels, tile, row / 2, column / 2);
      spread_row(sums[0], pixels, filter + 3);
      spread_row(sums[1], pixels, filter + 6);
      load_staged<columns>(pixels, tile, row / 2 + 1, column / 2);
      spread_row(sums[1], pixels, filter);
    } else {
#pragma unroll
      for (int r = 0; r < 3; ++r) {
        Floats<V> pixels[(T - 1) * S + 3];
        load_staged<columns>(pixels, tile, row * S + r, column * S);
        multiply_row<S>(sums[0], pixels, filter + 3 * r);
      }
    }
#pragma unroll
    for (int k = 0; k < high; ++k)
#pragma unroll
      for (int t = 0; t < T; ++t) {
        const int i = at.row + row + k, j = at.column + column + t;
        if (i < tiles.height && j < tiles.width)
          sums[k][t].store(result + (static_cast<int64_t>(i) * tiles.width + j) * channels);
      }
  }
}

// The weight gradient: adds the products of a tile's staged x and dy (zero outside the map) to the sums.
template <int S, int T, int V>
__device__ __forceinline__ void add_tile(Floats<V> (&sums)[9], const float* x_tile, const float* dy_tile, int rows) {
  constexpr int strips = tile_size / T;
  for (int cell = threadIdx.y; cell < rows * strips; cell += blockDim.y) {
    const int row = cell / strips, column = cell % strips * T;
    Floats<V> gradients[T];
    load_staged<tile_size>(gradients, dy_tile, row, column);
#pragma unroll
    for (int r = 0; r < 3; ++r) {
      Floats<V> pixels[(T - 1) * S + 3];
      load_staged<source_size<S, false>(tile_size)>(pixels, x_tile, row * S + r, column * S);
      add_products<S>(sums + 3 * r, pixels, gradients);
    }
  }
}

}  // namespace kernels::KERNEL_TARGET
