#pragma once

// CUDA's math functions that C++ lacks, and its intrinsics. The standard ones (expf, fmaf, fminf, sqrtf, ...) come from
// <math.h>. An intrinsic that is approximate on a GPU is exact to the host's library here.

#include <math.h>

#include <algorithm>
#include <bit>
#include <cfenv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace simt {

#define SIMT_INLINE inline __attribute__((always_inline))

// ---- float ----

SIMT_INLINE float rsqrtf(float x) { return 1.0f / sqrtf(x); }
SIMT_INLINE float rcbrtf(float x) { return 1.0f / cbrtf(x); }
SIMT_INLINE float __fdividef(float x, float y) { return x / y; }
SIMT_INLINE float fdividef(float x, float y) { return x / y; }
SIMT_INLINE float __saturatef(float x) { return x >= 0 ? (x < 1 ? x : 1.0f) : 0.0f; }  // NaN gives 0
SIMT_INLINE float __frcp_rn(float x) { return 1.0f / x; }
SIMT_INLINE float __fsqrt_rn(float x) { return sqrtf(x); }
SIMT_INLINE float __frsqrt_rn(float x) { return static_cast<float>(1.0 / sqrt(static_cast<double>(x))); }
SIMT_INLINE float __fdiv_rn(float x, float y) { return x / y; }
SIMT_INLINE float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline void sincospif(float x, float* s, float* c) {
  double angle = 3.14159265358979323846 * fmod(static_cast<double>(x), 2.0);
  *s = static_cast<float>(sin(angle));
  *c = static_cast<float>(cos(angle));
}

// The _rn forms promise that no multiply and add are fused into one operation.
#if defined(__clang__)
SIMT_INLINE float __fadd_rn(float x, float y) {
#pragma clang fp contract(off)
  return x + y;
}
SIMT_INLINE float __fsub_rn(float x, float y) {
#pragma clang fp contract(off)
  return x - y;
}
SIMT_INLINE float __fmul_rn(float x, float y) {
#pragma clang fp contract(off)
  return x * y;
}
#else
namespace detail {
// GCC fuses across statements, unless something stands between them.
SIMT_INLINE float opaque(float x) {
#if defined(__x86_64__)
  asm("" : "+x"(x));
#elif defined(__aarch64__)
  asm("" : "+w"(x));
#else
  asm("" : "+m"(x));
#endif
  return x;
}
}  // namespace detail
SIMT_INLINE float __fadd_rn(float x, float y) { return detail::opaque(x) + detail::opaque(y); }
SIMT_INLINE float __fsub_rn(float x, float y) { return detail::opaque(x) - detail::opaque(y); }
SIMT_INLINE float __fmul_rn(float x, float y) { return detail::opaque(x * y); }
#endif

// ---- double ----

SIMT_INLINE double rsqrt(double x) { return 1.0 / sqrt(x); }
SIMT_INLINE double __fma_rn(double x, double y, double z) { return fma(x, y, z); }
SIMT_INLINE double __drcp_rn(double x) { return 1.0 / x; }
SIMT_INLINE double __dsqrt_rn(double x) { return sqrt(x); }
SIMT_INLINE double __ddiv_rn(double x, double y) { return x / y; }

namespace detail {
// If one of the two is NaN, the other.
template <class T>
SIMT_INLINE T number_min(T a, T b) {
  T smaller = a < b ? a : b;  // b if one is NaN
  return b != b ? a : smaller;
}
template <class T>
SIMT_INLINE T number_max(T a, T b) {
  T larger = a > b ? a : b;
  return b != b ? a : larger;
}
}  // namespace detail

// ---- min and max, for every pair of types for which CUDA has an overload ----

SIMT_INLINE constexpr int min(int a, int b) { return a < b ? a : b; }
SIMT_INLINE constexpr unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
SIMT_INLINE constexpr unsigned min(int a, unsigned b) { return min(static_cast<unsigned>(a), b); }
SIMT_INLINE constexpr unsigned min(unsigned a, int b) { return min(a, static_cast<unsigned>(b)); }
SIMT_INLINE constexpr long min(long a, long b) { return a < b ? a : b; }
SIMT_INLINE constexpr unsigned long min(unsigned long a, unsigned long b) { return a < b ? a : b; }
SIMT_INLINE constexpr long long min(long long a, long long b) { return a < b ? a : b; }
SIMT_INLINE constexpr unsigned long long min(unsigned long long a, unsigned long long b) { return a < b ? a : b; }
SIMT_INLINE float min(float a, float b) { return detail::number_min(a, b); }
SIMT_INLINE double min(double a, double b) { return detail::number_min(a, b); }
SIMT_INLINE double min(float a, double b) { return detail::number_min<double>(a, b); }
SIMT_INLINE double min(double a, float b) { return detail::number_min<double>(a, b); }
SIMT_INLINE constexpr int max(int a, int b) { return a > b ? a : b; }
SIMT_INLINE constexpr unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
SIMT_INLINE constexpr unsigned max(int a, unsigned b) { return max(static_cast<unsigned>(a), b); }
SIMT_INLINE constexpr unsigned max(unsigned a, int b) { return max(a, static_cast<unsigned>(b)); }
SIMT_INLINE constexpr long max(long a, long b) { return a > b ? a : b; }
SIMT_INLINE constexpr unsigned long max(unsigned long a, unsigned long b) { return a > b ? a : b; }
SIMT_INLINE constexpr long long max(long long a, long long b) { return a > b ? a : b; }
SIMT_INLINE constexpr unsigned long long max(unsigned long long a, unsigned long long b) { return a > b ? a : b; }
SIMT_INLINE float max(float a, float b) { return detail::number_max(a, b); }
SIMT_INLINE double max(double a, double b) { return detail::number_max(a, b); }
SIMT_INLINE double max(float a, double b) { return detail::number_max<double>(a, b); }
SIMT_INLINE double max(double a, float b) { return detail::number_max<double>(a, b); }

// ---- integers ----

SIMT_INLINE int __popc(unsigned x) { return std::popcount(x); }
SIMT_INLINE int __popcll(unsigned long long x) { return std::popcount(x); }
SIMT_INLINE int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
SIMT_INLINE int __clzll(long long x) { return std::countl_zero(static_cast<unsigned long long>(x)); }
// The position of the lowest set bit, counted from 1; 0 for 0.
SIMT_INLINE int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
SIMT_INLINE int __ffsll(long long x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned long long>(x)) + 1; }
SIMT_INLINE unsigned __brev(unsigned x) {
  x = ((x >> 1) & 0x55555555u) | ((x & 0x55555555u) << 1);
  x = ((x >> 2) & 0x33333333u) | ((x & 0x33333333u) << 2);
  x = ((x >> 4) & 0x0f0f0f0fu) | ((x & 0x0f0f0f0fu) << 4);
  return __builtin_bswap32(x);
}
SIMT_INLINE unsigned long long __brevll(unsigned long long x) {
  return static_cast<unsigned long long>(__brev(static_cast<unsigned>(x))) << 32 |
         __brev(static_cast<unsigned>(x >> 32));
}
SIMT_INLINE int __mulhi(int a, int b) { return static_cast<int>(static_cast<long long>(a) * b >> 32); }
SIMT_INLINE unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<unsigned long long>(a) * b >> 32);
}
SIMT_INLINE unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<unsigned long long>(static_cast<Wide>(a) * b >> 64);
}
// The product of the low 24 bits, sign extended in __mul24.
SIMT_INLINE unsigned __umul24(unsigned a, unsigned b) { return (a & 0xffffffu) * (b & 0xffffffu); }
SIMT_INLINE int __mul24(int a, int b) {
  auto low = [](int v) { return static_cast<int>(static_cast<unsigned>(v) << 8) >> 8; };
  return static_cast<int>(static_cast<unsigned>(low(a)) * static_cast<unsigned>(low(b)));
}
// Bytes of the pair (x, y), x the low four, picked by the four low nibbles of selector.
SIMT_INLINE unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  unsigned long long bytes = static_cast<unsigned long long>(y) << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    unsigned nibble = selector >> (4 * i) & 0xfu;
    unsigned byte = static_cast<unsigned>(bytes >> (8 * (nibble & 7u))) & 0xffu;
    if (nibble & 8u) byte = byte & 0x80u ? 0xffu : 0u;  // the sign, replicated
    result |= byte << (8 * i);
  }
  return result;
}
SIMT_INLINE unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  unsigned long long both = static_cast<unsigned long long>(high) << 32 | low;
  return static_cast<unsigned>(both << (shift & 31u) >> 32);
}
SIMT_INLINE unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  unsigned long long both = static_cast<unsigned long long>(high) << 32 | low;
  return static_cast<unsigned>(both >> (shift & 31u));
}

// ---- the bits of a value as another type ----

SIMT_INLINE int __float_as_int(float x) { return std::bit_cast<int>(x); }
SIMT_INLINE unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
SIMT_INLINE float __int_as_float(int x) { return std::bit_cast<float>(x); }
SIMT_INLINE float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
SIMT_INLINE long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }
SIMT_INLINE double __longlong_as_double(long long x) { return std::bit_cast<double>(x); }
SIMT_INLINE int __double2loint(double x) { return static_cast<int>(std::bit_cast<unsigned long long>(x)); }
SIMT_INLINE int __double2hiint(double x) { return static_cast<int>(std::bit_cast<unsigned long long>(x) >> 32); }
SIMT_INLINE double __hiloint2double(int high, int low) {
  return std::bit_cast<double>(static_cast<unsigned long long>(static_cast<unsigned>(high)) << 32 |
                               static_cast<unsigned>(low));
}

// ---- conversions: rn to nearest even, rz towards zero, rd down, ru up. They saturate, and NaN gives 0. ----

namespace detail {
template <class To, class From>
SIMT_INLINE To saturate_to(From rounded) {
  if (rounded != rounded) return 0;
  // 2^digits is the first value beyond To's range and, unlike its largest value, exact in From.
  const From end = std::ldexp(From(1), std::numeric_limits<To>::digits);
  if (rounded >= end) return std::numeric_limits<To>::max();
  if (rounded <= From(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
  return static_cast<To>(rounded);
}
}  // namespace detail

SIMT_INLINE int __float2int_rn(float x) { return detail::saturate_to<int>(nearbyintf(x)); }
SIMT_INLINE int __float2int_rz(float x) { return detail::saturate_to<int>(truncf(x)); }
SIMT_INLINE int __float2int_rd(float x) { return detail::saturate_to<int>(floorf(x)); }
SIMT_INLINE int __float2int_ru(float x) { return detail::saturate_to<int>(ceilf(x)); }
SIMT_INLINE unsigned __float2uint_rn(float x) { return detail::saturate_to<unsigned>(nearbyintf(x)); }
SIMT_INLINE unsigned __float2uint_rz(float x) { return detail::saturate_to<unsigned>(truncf(x)); }
SIMT_INLINE unsigned __float2uint_rd(float x) { return detail::saturate_to<unsigned>(floorf(x)); }
SIMT_INLINE unsigned __float2uint_ru(float x) { return detail::saturate_to<unsigned>(ceilf(x)); }
SIMT_INLINE float __int2float_rn(int x) { return static_cast<float>(x); }
SIMT_INLINE float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
SIMT_INLINE float __double2float_rn(double x) { return static_cast<float>(x); }
SIMT_INLINE int __double2int_rn(double x) { return detail::saturate_to<int>(nearbyint(x)); }
SIMT_INLINE int __double2int_rz(double x) { return detail::saturate_to<int>(trunc(x)); }
SIMT_INLINE long long __float2ll_rn(float x) { return detail::saturate_to<long long>(nearbyintf(x)); }
SIMT_INLINE double __int2double_rn(int x) { return x; }

#undef SIMT_INLINE

namespace detail {
// glibc's <math.h> declares __expf and its like at global scope and does not define them, so these names have to be
// macros: a second declaration in this namespace would be ambiguous.
inline float fast_exp10(float x) { return exp2f(x * 3.32192809488736234787f); }
inline void fast_sincos(float x, float* s, float* c) {
  *s = sinf(x);
  *c = cosf(x);
}
}  // namespace detail

}  // namespace simt

#define __expf(x) (::expf(x))
#define __exp10f(x) (::simt::detail::fast_exp10(x))
#define __logf(x) (::logf(x))
#define __log2f(x) (::log2f(x))
#define __log10f(x) (::log10f(x))
#define __powf(x, y) (::powf(x, y))
#define __sinf(x) (::sinf(x))
#define __cosf(x) (::cosf(x))
#define __tanf(x) (::tanf(x))
#define __sincosf(x, s, c) (::simt::detail::fast_sincos(x, s, c))

// g++ calls the library for these two, one float at a time, unless it may ignore NaN. A gnu_inline definition stands in
// for the library's wherever the header is seen, and makes no symbol.
extern "C" {
extern inline __attribute__((gnu_inline, always_inline)) float fminf(float a, float b) noexcept {
  return simt::detail::number_min(a, b);
}
extern inline __attribute__((gnu_inline, always_inline)) float fmaxf(float a, float b) noexcept {
  return simt::detail::number_max(a, b);
}
}
