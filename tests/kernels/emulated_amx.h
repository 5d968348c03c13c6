// The tile registers' instructions as loops, under the names of <immintrin.h>: so the tests run what the level `amx`
// does (kernels/common/simd_amx.h) on processors that have no matrix unit.
#pragma once

#include <immintrin.h>  // so that it takes no name from what follows

#include <cstdint>
#include <cstring>

#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps

namespace kernels::cpu::SIMD_LEVEL {

struct TileRegisters {
  uint16_t row_bytes[8] = {};
  uint8_t rows[8] = {};
  uint32_t data[8][16][16] = {};  // of 4 bytes each: a float, or a pair of bfloat16
};
inline thread_local TileRegisters tile_registers;

inline float to_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline uint32_t to_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline void _tile_loadconfig(const void* shapes) {
  auto& r = tile_registers;
  r = {};
  std::memcpy(r.row_bytes, static_cast<const char*>(shapes) + 16, sizeof r.row_bytes);
  std::memcpy(r.rows, static_cast<const char*>(shapes) + 48, sizeof r.rows);
}
inline void _tile_release() { tile_registers = {}; }
inline void _tile_zero(int to) { std::memset(tile_registers.data[to], 0, sizeof(uint32_t[16][16])); }
inline void _tile_loadd(int to, const void* from, int64_t stride) {
  auto& r = tile_registers;
  _tile_zero(to);
  for (int i = 0; i < r.rows[to]; ++i)
    std::memcpy(r.data[to][i], static_cast<const char*>(from) + i * stride, r.row_bytes[to]);
}
inline void _tile_stored(int from, void* to, int64_t stride) {
  const auto& r = tile_registers;
  for (int i = 0; i < r.rows[from]; ++i)
    std::memcpy(static_cast<char*>(to) + i * stride, r.data[from][i], r.row_bytes[from]);
}
inline void _tile_dpbf16ps(int sums, int a, int b) {
  auto& r = tile_registers;
  for (int m = 0; m < r.rows[sums]; ++m)
    for (int k = 0; k < r.rows[b]; ++k) {
      const uint32_t pair = r.data[a][m][k];
      for (int n = 0; n < r.row_bytes[sums] / 4; ++n) {
        float sum = to_float(r.data[sums][m][n]);
        sum += to_float(pair << 16) * to_float(r.data[b][k][n] << 16);
        sum += to_float(pair & 0xffff0000u) * to_float(r.data[b][k][n] & 0xffff0000u);
        r.data[sums][m][n] = to_bits(sum);
      }
    }
}

}  // namespace kernels::cpu::SIMD_LEVEL
