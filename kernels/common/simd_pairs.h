// The matrix product of the rows `simd` in bfloat16: the tiles of simd_product.h, with two steps of the depth at a
// time. A `pair` is two elements of bfloat16 that follow each other along the depth, the first in the low half:
// vdpbf16ps multiplies and adds 16 pairs, twice what an fp32 instruction does. Where a processor lacks it, pairs are
// widened to float. Sums are fp32.
#pragma once

#include "kernels/common/simd_product.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace kernels::cpu::SIMD_LEVEL {

typedef uint32_t Pair __attribute__((may_alias));
typedef Wide::Bits Pairs;
typedef uint32_t PairsMemory __attribute__((vector_size(4 * lanes), aligned(4), may_alias));

inline int64_t pairs_of(int64_t depth) { return ceil_div(depth, 2); }

// sum += a's two elements · b's, in each lane.
inline void multiply_add(Vector& sum, uint32_t a, const Pairs& b) {
#if defined(__AVX512BF16__)
  sum = (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(static_cast<int>(a)), (__m512bh)b);
#else
  float low, high;
  widen(low, a);
  widen(high, a >> 16);
  Vector b_low, b_high;
  widen(b_low, b);
  widen(b_high, b >> 16);
  sum += low * b_low;
  sum += high * b_high;
#endif
}

// c (rows, tile_columns), its rows ldc apart: = or += A · panel, as tile() does. A's pair (i, k) is at a[i · stride +
// k] or, transposed, at a[k · stride + i]; panel (pairs, tile_columns).
template <int rows, Order order>
void pair_tile(int64_t pairs, const Pair* a, int64_t stride, const Pair* panel, float* c, int64_t ldc, bool add) {
  Vector sum[rows][2];
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < 2; ++j) {
      sum[i][j] = Vector{};
      if (add) Wide::load(sum[i][j], c + i * ldc + j * lanes);
    }
  for (int64_t k = 0; k < pairs; ++k) {
    const Pairs first = *reinterpret_cast<const PairsMemory*>(panel + k * tile_columns);
    const Pairs second = *reinterpret_cast<const PairsMemory*>(panel + k * tile_columns + lanes);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      const uint32_t x = order == Order::rows ? a[i * stride + k] : a[k * stride + i];
      multiply_add(sum[i][0], x, first);
      multiply_add(sum[i][1], x, second);
    }
  }
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < 2; ++j) Wide::store(c + i * ldc + j * lanes, sum[i][j]);
}

// The same for 1 … most rows.
template <Order order, int most>
void any_pair_tile(int64_t rows, int64_t pairs, const Pair* a, int64_t stride, const Pair* panel, float* c, int64_t ldc,
                   bool add) {
  if constexpr (most > 1)
    if (rows < most) return any_pair_tile<order, most - 1>(rows, pairs, a, stride, panel, c, ldc, add);
  pair_tile<most, order>(pairs, a, stride, panel, c, ldc, add);
}

// The same for any number of rows, in tiles of nearly equal heights: c (rows, tile_columns).
template <Order order>
void multiply_pairs(int64_t rows, int64_t pairs, const Pair* a, int64_t stride, const Pair* panel, float* c,
                    int64_t ldc, bool add) {
  const int64_t tiles = ceil_div(rows, tile_rows);
  for (int64_t t = 0, i = 0, next; t < tiles; ++t, i = next) {
    next = rows * (t + 1) / tiles;
    any_pair_tile<order, tile_rows>(next - i, pairs, order == Order::rows ? a + i * stride : a + i, stride, panel,
                                    c + i * ldc, ldc, add);
  }
}

// to (pairs_of(rows), stride …): the pairs of rows 2k and 2k + 1 of what load(v, vector, row, column) gives, `count`
// columns, and in whole vectors 0 behind them; where rows is odd, a row of 0 makes the last pair.
template <class Load>
void pair_rows(int64_t rows, int64_t count, const Load& load, int64_t stride, Pair* to) {
  for (int64_t m = 0; m < rows; m += 2)
    kernels::cpu::SIMD_LEVEL::columns(count, [&](auto v, int64_t c) {
      Vector first, second = {};
      load(v, first, m, c);
      if (m + 1 < rows) load(v, second, m + 1, c);
      Pairs low, high;
      round(first, low);
      round(second, high);
      *reinterpret_cast<PairsMemory*>(to + m / 2 * stride + c) = low | high << 16;
    });
}

// Pairs of B (depth, columns) packed: panels (pairs_of(depth), tile_columns), one after the other.
inline int64_t packed_pairs(int64_t depth, int64_t columns) { return panels(columns) * pairs_of(depth) * tile_columns; }

// packed = B (depth, columns) in float, rounded. As pack() of simd_product.h.
inline void pack_pairs(const Context& context, Order order, int64_t depth, int64_t columns, const float* b,
                       int64_t stride, Pair* packed) {
  parallel_for(context, panels(columns), [=](int64_t i) {
    const int64_t first = i * tile_columns, count = smaller(tile_columns, columns - first);
    Pair* const panel = packed + i * pairs_of(depth) * tile_columns;
    for (int64_t j = 0; j < pairs_of(depth) * tile_columns; ++j) panel[j] = 0;
    if (order == Order::rows) {
      pair_rows(
          depth, count, [=](auto v, Vector& to, int64_t k, int64_t c) { v.load(to, b + k * stride + first + c); },
          tile_columns, panel);
      return;
    }
    for (int64_t j = 0; j < count; ++j)
      for (int64_t k = 0; k < depth; ++k) {
        uint32_t bits;
        round(b[(first + j) * stride + k], bits);
        panel[k / 2 * tile_columns + j] |= k % 2 == 0 ? bits : bits << 16;
      }
  });
}

}  // namespace kernels::cpu::SIMD_LEVEL
