// What the matrix product of simd_product.h takes in bfloat16: two steps of the depth at a time. A Pair is two elements
// that follow each other along the depth: vdpbf16ps multiplies and adds 16 pairs, twice what an fp32 instruction does.
// Where a processor lacks it, pairs are widened to float. Sums are fp32.
#pragma once

#include "kernels/common/simd_product.h"

namespace kernels::cpu::SIMD_LEVEL {

inline void store_pairs(Pair* to, const Vector& pairs) { __builtin_memcpy(to, &pairs, sizeof pairs); }

// to (units<Pair>(rows), stride …): the pairs of rows 2k and 2k + 1 of what load(v, vector, row, column) gives, `count`
// columns, and in whole vectors 0 behind them; where rows is odd, a row of 0 makes the last pair.
template <class Load>
void pair_rows(int64_t rows, int64_t count, const Load& load, int64_t stride, Pair* to) {
  for (int64_t m = 0; m < rows; m += 2)
    columns(count, [&](auto v, int64_t c) {
      Vector first, second = {}, pairs;
      load(v, first, m, c);
      if (m + 1 < rows) load(v, second, m + 1, c);
      round_normal(first, second, pairs);
      store_pairs(to + m / 2 * stride + c, pairs);
    });
}

// The same into a panel, of up to tile_columns columns; behind the last one 0.
template <class Load>
void pair_panel(int64_t rows, int64_t count, const Load& load, Pair* panel) {
  if (count <= lanes)
    for (int64_t m = 0; m < rows; m += 2) store_pairs(panel + m / 2 * tile_columns + lanes, Vector{});
  pair_rows(rows, count, load, tile_columns, panel);
}

// What a transposed A and its panel of so many rows need behind their pairs to be whole steps of the depth: 0.
inline void end_pairs(int64_t rows, int64_t count, int64_t stride, Pair* to) {
  for (int64_t k = units<Pair>(rows); k < round_up(units<Pair>(rows), depth_step<Pair>); ++k)
    columns(count, [=](auto, int64_t c) { store_pairs(to + k * stride + c, Vector{}); });
}

// The pairs of `rows` rows, a transposed A, as the product takes them: for a matrix unit each block of 16 × 16 of them
// is transposed in its place, so that the depth lies along the rows of a register.
inline void transpose_blocks([[maybe_unused]] int64_t rows, [[maybe_unused]] int64_t count,
                             [[maybe_unused]] int64_t stride, [[maybe_unused]] Pair* to) {
  if constexpr (on_matrix_unit<Pair>) {
    end_pairs(rows, count, stride, to);
    for (int64_t k = 0; k < units<Pair>(rows); k += lanes)
      for (int64_t c = 0; c < count; c += lanes) {
        float* const block = reinterpret_cast<float*>(to + k * stride + c);
        transpose_block(block, stride, block, stride);
      }
  }
}

// pack_panel() in pairs, of B in float: rounded.
inline void pack_panel(Order order, int64_t depth, int64_t columns, const float* b, int64_t stride, Pair* panel) {
  if (order == Order::rows)
    return pair_panel(
        depth, columns, [=](auto v, Vector& to, int64_t k, int64_t c) { v.load(to, b + k * stride + c); }, panel);
  // Two vectors of a row of B transposed become one of pairs; lanes of them, transposed, are lanes rows of the panel.
  for (int64_t k = 0; k < depth; k += 2 * lanes)
    for (int64_t j = 0; j < tile_columns; j += lanes) {
      alignas(64) float block[lanes * lanes] = {}, transposed[lanes * lanes];
      for (int64_t i = 0; i < smaller(lanes, columns - j); ++i) {
        const float* const row = b + (j + i) * stride + k;
        alignas(64) Bf16 halves[2 * lanes] = {};
        for (int64_t h = 0; h < 2; ++h)
          kernels::cpu::SIMD_LEVEL::columns(smaller(lanes, depth - k - h * lanes), [&](auto v, int64_t c) {
            Vector value;
            v.load(value, row + h * lanes + c);
            Wide::store_normal(halves + h * lanes + c, value);
          });
        __builtin_memcpy(block + i * lanes, halves, sizeof halves);
      }
      transpose_block(block, lanes, transposed, lanes);
      const int64_t rows = smaller(lanes, ceil_div(depth - k, 2));
      for (int64_t i = 0; i < rows; ++i) {
        Vector pairs;
        Wide::load(pairs, transposed + i * lanes);
        store_pairs(panel + (k / 2 + i) * tile_columns + j, pairs);
      }
    }
}

}  // namespace kernels::cpu::SIMD_LEVEL
