// Vectors of floats for the rows `simd`, and how floats become bfloat16 and back. All of it is written for any compiler
// and processor; where AVX512-BF16 has an instruction, that is used instead.
#pragma once

#include <cstdint>

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace kernels::cpu::SIMD_LEVEL {

// A register full of floats, of their bits, and of as many halves of them.
#if defined(__AVX512F__)
constexpr int lanes = 16;
#elif defined(__AVX__)
constexpr int lanes = 8;
#else
constexpr int lanes = 4;
#endif
typedef float Vector __attribute__((vector_size(4 * lanes)));
typedef uint32_t Bits __attribute__((vector_size(4 * lanes)));
typedef uint16_t Half __attribute__((vector_size(2 * lanes)));

// Two elements of bfloat16 that follow each other, the first in the low half; in memory wherever a bfloat16 may be.
struct __attribute__((may_alias, packed, aligned(2))) Pair {
  uint32_t bits;
};

// The float that a bfloat16 is.
inline void widen(float& value, uint16_t half) {
  const uint32_t bits = uint32_t{half} << 16;
  __builtin_memcpy(&value, &bits, sizeof value);
}
inline void widen(Vector& value, const Half& half) {
  const Bits bits = __builtin_convertvector(half, Bits) << 16;
  __builtin_memcpy(&value, &bits, sizeof value);
}

// A float's bits, or a vector of them, rounded to the 16 of a bfloat16: to the nearest, ties to even, NaN as to_bf16
// (bf16.h) leaves it.
template <class B>
void round_bits(B& bits) {
  const B rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  bits = (bits & 0x7fffffffu) > 0x7f800000u ? B{} + 0x7fffu : rounded;
}
inline void round(float value, uint16_t& half) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof value);
  round_bits(bits);
  half = static_cast<uint16_t>(bits);
}

inline void round_any(const Vector& value, Half& half) {
  Bits bits;
  __builtin_memcpy(&bits, &value, sizeof value);
  round_bits(bits);
  half = __builtin_convertvector(bits, Half);
}

// round(): the same. round_normal(): the same for an operand or a result of the product of pairs, which may take what
// is below the smallest normal number as 0, and may leave other bits of a NaN. pairs: in each lane first's element, and
// second's. halves: two vectors.
#if defined(__AVX512BF16__)
inline void round_normal(const Vector& value, Half& half) { half = (Half)_mm512_cvtneps_pbh((__m512)value); }
inline void round_normal(const Vector& first, const Vector& second, Vector& pairs) {
  typedef uint16_t Places __attribute__((vector_size(64)));
  const Places alternately = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                              8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  pairs = (Vector)_mm512_permutexvar_epi16((__m512i)alternately,
                                           (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first));
}
inline void round_normal(const Vector& left, const Vector& right, Half (&halves)[2]) {
  const __m512bh rounded = _mm512_cvtne2ps_pbh((__m512)right, (__m512)left);
  __builtin_memcpy(halves, &rounded, sizeof rounded);
}
inline void round(const Vector& value, Half& half) {
  constexpr int quiet_nan = 1, signalling_nan = 128, denormal = 32;
  if (__builtin_expect(_mm512_fpclass_ps_mask((__m512)value, quiet_nan | signalling_nan | denormal) != 0, 0))
    round_any(value, half);
  else
    round_normal(value, half);
}
// sum += a's two elements · b's, in each lane.
inline void multiply_add(Vector& sum, Pair a, const Vector& b) {
  sum = (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(static_cast<int>(a.bits)), (__m512bh)b);
}
#else
inline void round(const Vector& value, Half& half) { round_any(value, half); }
inline void round_normal(const Vector& value, Half& half) { round_any(value, half); }
inline void round_normal(const Vector& left, const Vector& right, Half (&halves)[2]) {
  round_any(left, halves[0]);
  round_any(right, halves[1]);
}
inline void round_normal(const Vector& first, const Vector& second, Vector& pairs) {
  Bits low, high;
  __builtin_memcpy(&low, &first, sizeof low);
  __builtin_memcpy(&high, &second, sizeof high);
  round_bits(low);
  round_bits(high);
  low |= high << 16;
  __builtin_memcpy(&pairs, &low, sizeof pairs);
}
inline void multiply_add(Vector& sum, Pair a, const Vector& b) {
  float low, high;
  widen(low, static_cast<uint16_t>(a.bits));
  widen(high, static_cast<uint16_t>(a.bits >> 16));
  Bits bits;
  __builtin_memcpy(&bits, &b, sizeof bits);
  const Bits even = bits << 16, odd = bits & 0xffff0000u;
  Vector b_low, b_high;
  __builtin_memcpy(&b_low, &even, sizeof even);
  __builtin_memcpy(&b_high, &odd, sizeof odd);
  sum += low * b_low;
  sum += high * b_high;
}
#endif

}  // namespace kernels::cpu::SIMD_LEVEL
