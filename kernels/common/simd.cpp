// fused_passes.h on vectors: a task takes some rows, and of these one vector of channels after the other.
#include "kernels/common/fused_passes.h"
#include "kernels/common/simd_norm.h"

namespace kernels::cpu::SIMD_LEVEL {
namespace {

size_t partial_bytes(int64_t rows, int64_t channels) { return chunks_of(rows).partial_bytes(channels); }

int64_t row_piece(int64_t channels) { return larger(1, piece / channels); }

void activate(Context& context, int64_t rows, int64_t C, const Bf16* z, const FusedNorm& norm, Bf16* a) {
  parallel_pieces(context, rows, row_piece(C), [=](int64_t begin, int64_t end) {
    columns(C, [=](auto v, int64_t c) {
      const Factors factors(v, norm, c);
      for (int64_t m = begin; m < end; ++m) {
        Vector value;
        v.load(value, z + m * C + c);
        factors.activate(value);
        v.store(a + m * C + c, value);
      }
    });
  });
}

void statistics(Context& context, int64_t rows, int64_t C, const Bf16* z, const FusedNorm& norm, double* partials) {
  if (rows < 2) fail(one_value);
  const Chunks chunks = chunks_of(rows);
  parallel_for(context, chunks.count(), [=](int64_t i) {
    const Bf16* const first = z + chunks.begin(i) * C;
    set_zero(partials + i * 2 * C, 2 * C);
    add_statistics(chunks.end(i) - chunks.begin(i), 0, C, C, first, first, partials + i * 2 * C);
  });
  finish_statistics(context, chunks, C, z, partials, norm);
}

void gradient(Context& context, int64_t rows, int64_t C, const Bf16* z, const Bf16* du, const FusedNorm& norm,
              Bf16* dz) {
  parallel_pieces(context, rows, row_piece(C), [=](int64_t begin, int64_t end) {
    columns(C, [=](auto v, int64_t c) {
      const GradientFactors factors(v, norm, c);
      for (int64_t m = begin; m < end; ++m) {
        Vector value, result;
        v.load(value, z + m * C + c);
        v.load(result, du + m * C + c);
        factors.pass(value, result);
        v.store(dz + m * C + c, result);
      }
    });
  });
}

void mask(Context& context, int64_t rows, int64_t C, const Bf16* z, Bf16* du, const FusedNorm& norm, double* partials) {
  const Chunks chunks = chunks_of(rows);
  parallel_for(context, chunks.count(), [=](int64_t i) {
    const int64_t begin = chunks.begin(i);
    set_zero(partials + i * 2 * C, 2 * C);
    mask_rows(norm, chunks.end(i) - begin, 0, C, C, z + begin * C, du + begin * C, partials + i * 2 * C);
  });
  finish_gradients(context, rows, chunks.count(), C, partials, norm);
}

}  // namespace

template <>
const FusedPasses& simd_row<FusedPasses>() {
  static constexpr FusedPasses passes = {partial_bytes, activate, statistics, gradient, mask};
  return passes;
}

}  // namespace kernels::cpu::SIMD_LEVEL
