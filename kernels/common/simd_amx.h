// The tile registers of a processor's matrix unit (AMX): eight, of up to 16 rows of 64 bytes. One instruction adds to a
// register of 16 × 16 sums the product of 16 rows of 16 pairs of bfloat16 and 16 × 16 pairs of columns: 8192
// multiply-adds in 16 cycles, 16 times what a core does on vectors of floats.
//
// The level `amx` alone has it, even where the whole program is compiled for such a processor: Linux must be asked
// first. SIMD_AMX names the header with the instructions, <immintrin.h> or the tests' emulation.
#pragma once

#include "kernels/common/simd_vector.h"

#ifdef SIMD_AMX
#include SIMD_AMX
#endif

namespace kernels::cpu::SIMD_LEVEL {

constexpr int register_rows = 16;     // of a tile register
constexpr int register_columns = 16;  // of 4 bytes: floats or pairs

#ifdef SIMD_AMX
constexpr bool has_matrix_unit = true;

// What the registers' shapes are, as the processor reads it.
struct alignas(64) RegisterShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// The shapes that this thread's registers have, as shape_registers() took them; 0: none.
inline thread_local int shaped = 0;

// Registers 0 … 3 for the sums, two beside each other of `upper` rows and below them two of `lower` rows; 4 and 5 for
// as many rows of A with `depth` pairs; 6 and 7 for `depth` rows of B. Each up to 16; lower may be 0, registers that
// are not there.
inline void shape_registers(int upper, int lower, int depth) {
  const int shape = upper | lower << 8 | depth << 16;
  if (shape == shaped) return;
  RegisterShapes shapes;
  for (int i = 0; i < 8; ++i) {
    const bool of_a = i == 4 || i == 5, of_b = i >= 6;
    const int rows = of_b ? depth : i == 2 || i == 3 || i == 5 ? lower : upper;
    shapes.rows[i] = static_cast<uint8_t>(rows);
    shapes.row_bytes[i] = static_cast<uint16_t>(rows == 0 ? 0 : 4 * (of_a ? depth : register_columns));
  }
  __asm__ volatile("" : : "r"(&shapes) : "memory");  // g++ thinks that only the first bytes are read
  _tile_loadconfig(&shapes);
  shaped = shape;
}

// A task that multiplies has one: what it leaves in the registers would be saved with each change of threads, and
// others (oneDNN) shape them too.
struct MatrixUnit {
  MatrixUnit() { shaped = 0; }
  ~MatrixUnit() {
    if (shaped != 0) _tile_release();
    shaped = 0;
  }
  MatrixUnit(const MatrixUnit&) = delete;
  MatrixUnit& operator=(const MatrixUnit&) = delete;
};

// c (upper and lower rows, 32), its rows ldc apart, = or += A · B, `steps` times `depth` pairs. A's lower rows are
// `lower` units behind its upper ones, its rows `stride` units apart, a step `step` units behind the last one; B's rows
// (of pairs) are 32 units, one after the other. before(k) goes before step k.
template <bool lower_half, class Before>
void matrix_unit_tile(int64_t steps, int64_t depth, const Pair* a, int64_t lower, int64_t stride, int64_t step,
                      const Pair* b, float* c, int64_t ldc, bool add, const Before& before) {
  constexpr int64_t row = 2 * register_columns;
  float* const c_lower = c + register_rows * ldc;
  __asm__ volatile("" ::: "memory");  // g++ does not know that what follows reads memory
  if (add) {
    _tile_loadd(0, c, 4 * ldc);
    _tile_loadd(1, c + register_columns, 4 * ldc);
    if constexpr (lower_half) {
      _tile_loadd(2, c_lower, 4 * ldc);
      _tile_loadd(3, c_lower + register_columns, 4 * ldc);
    }
  } else {
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (lower_half) {
      _tile_zero(2);
      _tile_zero(3);
    }
  }
  for (int64_t k = 0; k < steps; ++k) {
    before(k);
    _tile_loadd(4, a, 4 * stride);
    _tile_loadd(6, b, 4 * row);
    _tile_loadd(7, b + register_columns, 4 * row);
    if constexpr (lower_half) _tile_loadd(5, a + lower, 4 * stride);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (lower_half) {
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    a += step;
    b += depth * row;
  }
  _tile_stored(0, c, 4 * ldc);
  _tile_stored(1, c + register_columns, 4 * ldc);
  if constexpr (lower_half) {
    _tile_stored(2, c_lower, 4 * ldc);
    _tile_stored(3, c_lower + register_columns, 4 * ldc);
  }
}

#else
constexpr bool has_matrix_unit = false;

void shape_registers(int upper, int lower, int depth);  // neither is called
template <bool lower_half, class Before>
void matrix_unit_tile(int64_t steps, int64_t depth, const Pair* a, int64_t lower, int64_t stride, int64_t step,
                      const Pair* b, float* c, int64_t ldc, bool add, const Before& before);

struct MatrixUnit {
  MatrixUnit() {}  // so that one that is not used is no unused variable
};

#endif

}  // namespace kernels::cpu::SIMD_LEVEL
