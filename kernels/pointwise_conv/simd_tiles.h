// What the fused passes make of a tile of the product before it is in memory, where a matrix unit leaves its sums in
// the level 1 cache: statistics or masks join the rounding, and no pass reads the results once more. They leave as
// whole lines, past the caches where they are many: at the pace of the tiles, which memory keeps up with.
#pragma once

#include "kernels/common/simd_norm.h"
#include "kernels/common/simd_pairs.h"
#include "kernels/common/simd_stream.h"

namespace kernels::cpu::SIMD_LEVEL {

// Whether an array (·, channels) takes tiles so: whole ones, of lines.
inline bool whole_tiles(const Bf16* array, int64_t channels) {
  return on_matrix_unit<Pair> && channels % tile_columns == 0 && reinterpret_cast<uintptr_t>(array) % line_bytes == 0;
}
inline bool whole_tiles(const float*, int64_t) { return false; }

// Elements from which on results pass the caches: those that are counted, and those that are masked, whose passes read
// more than they write. (Two cores of a Xeon with AMX: 8 MiB of 128 counted channels took 6 to 20 % longer so, 16 MiB
// of 64 up to 20 % less; masked ones 5 to 15 % less from 4 MiB on.)
constexpr int64_t least_counted = 1 << 23, least_masked = 1 << 21;

// Both take tile (rows, tile_columns), sums of the channels from c on, whose first row is `row` of the chunk or array.

// To z (·, O), rows of a chunk: stored, and counted as add_statistics does. first (O): the chunk's first row.
struct CountedTiles {
  Bf16* z;
  int64_t O;
  bool streaming;
  float* first;
  double* sums;  // (2, O)
  void operator()(int64_t row, int64_t rows, const float* tile, int64_t c) const {
    Vector start[2], sum[2] = {}, square[2] = {};
    for (int64_t m = 0; m < rows; ++m) {
      Vector value[2];
      Half halves[2];
      for (int j = 0; j < 2; ++j) Wide::load(value[j], tile + m * tile_columns + j * lanes);
      round_normal(value[0], value[1], halves);
      for (int j = 0; j < 2; ++j) {
        widen(value[j], halves[j]);
        if (m == 0) start[j] = value[j];
        value[j] -= start[j];
        sum[j] += value[j];
        square[j] += value[j] * value[j];
      }
      store_line(z + (row + m) * O + c, halves, streaming);
    }
    Vector base[2];
    for (int j = 0; j < 2; ++j) {
      if (row == 0) Wide::store(first + c + j * lanes, start[j]);
      Wide::load(base[j], first + c + j * lanes);
    }
    add_shifted<Wide>(rows, start, base, sum, square, O, sums + c);
  }
};

// To du (·, C): masked and counted as mask_rows does.
struct MaskedTiles {
  FusedNorm norm;
  const Bf16* x;  // (·, C)
  Bf16* du;
  int64_t C;
  bool streaming;
  double* sums;  // (2, C)
  void operator()(int64_t row, int64_t rows, const float* tile, int64_t c) const {
    const Factors<Wide> factors[2] = {{Wide(), norm, c}, {Wide(), norm, c + lanes}};
    Vector sum[2] = {}, product[2] = {};
    for (int64_t m = 0; m < rows; ++m) {
      Vector a[2], g[2];
      Half halves[2];
      for (int j = 0; j < 2; ++j) {
        Wide::load(a[j], x + (row + m) * C + c + j * lanes);
        Wide::load(g[j], tile + m * tile_columns + j * lanes);
        factors[j].mask(a[j], g[j]);
      }
      round_normal(g[0], g[1], halves);
      for (int j = 0; j < 2; ++j) {
        widen(g[j], halves[j]);
        sum[j] += g[j];
        product[j] += g[j] * (a[j] - factors[j].mean);
      }
      store_line(du + (row + m) * C + c, halves, streaming);
    }
    add_both<Wide>(sum, product, C, sums + c);
  }
};

}  // namespace kernels::cpu::SIMD_LEVEL
