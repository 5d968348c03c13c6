// Stores past the caches, for results of which more are written than the caches hold: memory takes whole lines then,
// where it would else have to read each one first.
#pragma once

#include "kernels/common/simd.h"

#ifdef __AVX512F__  // a vector is a line of the cache; of less a line would go to memory in parts
#include <immintrin.h>
#endif

namespace kernels::cpu::SIMD_LEVEL {

// Whether the rows (·, C) of an array of so many floats are stored so.
#ifdef __AVX512F__
constexpr int64_t least_streamed = 1 << 19;  // floats: 2 MiB; with 6 or 12 MiB a training step gained less
inline bool streams(const float* array, int64_t floats, int64_t C) {
  return floats >= least_streamed && C % lanes == 0 && reinterpret_cast<uintptr_t>(array) % sizeof(Vector) == 0;
}
inline void stream(float* p, const Vector& value) { _mm512_stream_ps(p, reinterpret_cast<__m512>(value)); }
// Before others may read what this thread has streamed.
inline void end_stream() { _mm_sfence(); }
#else
inline bool streams(const float*, int64_t, int64_t) { return false; }
inline void stream(float*, const Vector&) {}
inline void end_stream() {}
#endif
inline bool streams(const Bf16*, int64_t, int64_t) { return false; }
inline void stream(Bf16*, const Vector&) {}

constexpr int64_t line_bytes = 64;

// Two vectors of bfloat16 to p, which is a line where they pass the caches.
inline void store_line(Bf16* p, const Half (&halves)[2], [[maybe_unused]] bool streaming) {
#ifdef __AVX512F__
  __m512i line;
  __builtin_memcpy(&line, halves, sizeof line);
  if (streaming) return _mm512_stream_si512(reinterpret_cast<__m512i*>(p), line);
#endif
  __builtin_memcpy(p, halves, sizeof halves);
}

}  // namespace kernels::cpu::SIMD_LEVEL
