#pragma once

// <cuda_bf16.h> for a host compiler: bfloat16, the upper half of a float. Conversions and arithmetic round to the
// nearest, ties to even; every operation rounds once.

#include <bit>
#include <cmath>
#include <cstdint>

#include "cuda_runtime.h"

namespace simt {

struct __nv_bfloat16;
__nv_bfloat16 __float2bfloat16_rn(float x);
__nv_bfloat16 __double2bfloat16(double x);

struct __nv_bfloat16 {
  std::uint16_t __x;

  __nv_bfloat16() = default;
  __nv_bfloat16(float x) { *this = __float2bfloat16_rn(x); }
  __nv_bfloat16(double x) { *this = __double2bfloat16(x); }
  __nv_bfloat16(int x) { *this = __double2bfloat16(x); }
  __nv_bfloat16(unsigned x) { *this = __double2bfloat16(x); }
  operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(__x) << 16); }
};

struct __attribute__((may_alias, aligned(4))) __nv_bfloat162 {
  __nv_bfloat16 x, y;

  __nv_bfloat162() = default;
  __nv_bfloat162(__nv_bfloat16 low, __nv_bfloat16 high) : x(low), y(high) {}
};

using nv_bfloat16 = __nv_bfloat16;
using nv_bfloat162 = __nv_bfloat162;

// ---- bits ----

inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) { return x.__x; }
inline short __bfloat16_as_short(__nv_bfloat16 x) { return static_cast<short>(x.__x); }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
  __nv_bfloat16 x;
  x.__x = bits;
  return x;
}
inline __nv_bfloat16 __short_as_bfloat16(short bits) { return __ushort_as_bfloat16(static_cast<unsigned short>(bits)); }

// ---- conversions ----

inline float __bfloat162float(__nv_bfloat16 x) { return x; }

inline __nv_bfloat16 __float2bfloat16_rn(float x) {
  auto bits = std::bit_cast<std::uint32_t>(x);
  // Adding just under half of the dropped part, or half where the kept part is odd, carries where it must.
  auto rounded = static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
  return __ushort_as_bfloat16(x == x ? rounded : 0x7fff);
}
inline __nv_bfloat16 __float2bfloat16(float x) { return __float2bfloat16_rn(x); }
inline __nv_bfloat16 __float2bfloat16_rz(float x) {
  return __ushort_as_bfloat16(x == x ? static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(x) >> 16) : 0x7fff);
}

namespace detail {
// A float from which rounding to bfloat16 gives what rounding x + rest would: x cut off, its last bit set if that
// dropped anything (rounding to odd).
inline float round_to_odd(double x, double rest) {
  auto f = static_cast<float>(x);
  double dropped = (x - static_cast<double>(f)) + rest;
  if (!(std::fabs(f) <= std::numeric_limits<float>::max()) || dropped == 0) return f;
  auto bits = std::bit_cast<std::uint32_t>(f);
  bool away = (dropped < 0) == (f < 0);  // the exact value lies further from 0 than f
  if (f == 0) return dropped < 0 ? -std::numeric_limits<float>::denorm_min() : std::numeric_limits<float>::denorm_min();
  if (!away) --bits;
  return std::bit_cast<float>(bits | 1u);
}
}  // namespace detail

inline __nv_bfloat16 __double2bfloat16(double x) { return __float2bfloat16_rn(detail::round_to_odd(x, 0)); }
inline __nv_bfloat16 __int2bfloat16_rn(int x) { return __double2bfloat16(x); }
inline __nv_bfloat16 __uint2bfloat16_rn(unsigned x) { return __double2bfloat16(x); }
inline int __bfloat162int_rn(__nv_bfloat16 x) { return __float2int_rn(x); }
inline int __bfloat162int_rz(__nv_bfloat16 x) { return __float2int_rz(x); }

inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 low, __nv_bfloat16 high) { return {low, high}; }
inline __nv_bfloat162 make_bfloat162(__nv_bfloat16 low, __nv_bfloat16 high) { return {low, high}; }
inline __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 x) { return {x, x}; }
inline __nv_bfloat162 __float2bfloat162_rn(float x) { return __bfloat162bfloat162(__float2bfloat16_rn(x)); }
inline __nv_bfloat162 __floats2bfloat162_rn(float low, float high) {
  return {__float2bfloat16_rn(low), __float2bfloat16_rn(high)};
}
inline __nv_bfloat162 __float22bfloat162_rn(float2 v) { return __floats2bfloat162_rn(v.x, v.y); }
inline float2 __bfloat1622float2(__nv_bfloat162 v) { return {v.x, v.y}; }
inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 v) { return v.x; }
inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 v) { return v.y; }
inline float __low2float(__nv_bfloat162 v) { return v.x; }
inline float __high2float(__nv_bfloat162 v) { return v.y; }
inline __nv_bfloat162 __lowhigh2highlow(__nv_bfloat162 v) { return {v.y, v.x}; }

// ---- arithmetic. A float holds the exact product of two bfloat16, and has bits enough for the sum, the difference and
// the quotient that rounding twice is rounding once. ----

inline __nv_bfloat16 __hadd(__nv_bfloat16 a, __nv_bfloat16 b) { return float(a) + float(b); }
inline __nv_bfloat16 __hsub(__nv_bfloat16 a, __nv_bfloat16 b) { return float(a) - float(b); }
inline __nv_bfloat16 __hmul(__nv_bfloat16 a, __nv_bfloat16 b) { return float(a) * float(b); }
inline __nv_bfloat16 __hdiv(__nv_bfloat16 a, __nv_bfloat16 b) { return float(a) / float(b); }
inline __nv_bfloat16 __hfma(__nv_bfloat16 a, __nv_bfloat16 b, __nv_bfloat16 c) {
  double product = double(float(a)) * double(float(b)), addend = float(c);
  double sum = product + addend;
  double part = sum - product;
  double rest = (product - (sum - part)) + (addend - part);  // what the sum lost (Knuth's two-sum)
  return __float2bfloat16_rn(detail::round_to_odd(sum, rest == rest ? rest : 0));
}
inline __nv_bfloat16 __hneg(__nv_bfloat16 a) { return __ushort_as_bfloat16(a.__x ^ 0x8000u); }
inline __nv_bfloat16 __habs(__nv_bfloat16 a) { return __ushort_as_bfloat16(a.__x & 0x7fffu); }
inline __nv_bfloat16 __hmin(__nv_bfloat16 a, __nv_bfloat16 b) { return min(float(a), float(b)); }
inline __nv_bfloat16 __hmax(__nv_bfloat16 a, __nv_bfloat16 b) { return max(float(a), float(b)); }

inline bool __heq(__nv_bfloat16 a, __nv_bfloat16 b) { return float(a) == float(b); }
inline bool __hne(__nv_bfloat16 a, __nv_bfloat16 b) { return float(a) < float(b) || float(a) > float(b); }
inline bool __hlt(__nv_bfloat16 a, __nv_bfloat16 b) { return float(a) < float(b); }
inline bool __hle(__nv_bfloat16 a, __nv_bfloat16 b) { return float(a) <= float(b); }
inline bool __hgt(__nv_bfloat16 a, __nv_bfloat16 b) { return float(a) > float(b); }
inline bool __hge(__nv_bfloat16 a, __nv_bfloat16 b) { return float(a) >= float(b); }
inline bool __hisnan(__nv_bfloat16 a) { return float(a) != float(a); }

inline __nv_bfloat162 __hadd2(__nv_bfloat162 a, __nv_bfloat162 b) { return {__hadd(a.x, b.x), __hadd(a.y, b.y)}; }
inline __nv_bfloat162 __hsub2(__nv_bfloat162 a, __nv_bfloat162 b) { return {__hsub(a.x, b.x), __hsub(a.y, b.y)}; }
inline __nv_bfloat162 __hmul2(__nv_bfloat162 a, __nv_bfloat162 b) { return {__hmul(a.x, b.x), __hmul(a.y, b.y)}; }
inline __nv_bfloat162 __h2div(__nv_bfloat162 a, __nv_bfloat162 b) { return {__hdiv(a.x, b.x), __hdiv(a.y, b.y)}; }
inline __nv_bfloat162 __hfma2(__nv_bfloat162 a, __nv_bfloat162 b, __nv_bfloat162 c) {
  return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)};
}
inline __nv_bfloat162 __hneg2(__nv_bfloat162 a) { return {__hneg(a.x), __hneg(a.y)}; }
inline __nv_bfloat162 __habs2(__nv_bfloat162 a) { return {__habs(a.x), __habs(a.y)}; }
inline __nv_bfloat162 __hmin2(__nv_bfloat162 a, __nv_bfloat162 b) { return {__hmin(a.x, b.x), __hmin(a.y, b.y)}; }
inline __nv_bfloat162 __hmax2(__nv_bfloat162 a, __nv_bfloat162 b) { return {__hmax(a.x, b.x), __hmax(a.y, b.y)}; }

inline __nv_bfloat16 operator+(__nv_bfloat16 a, __nv_bfloat16 b) { return __hadd(a, b); }
inline __nv_bfloat16 operator-(__nv_bfloat16 a, __nv_bfloat16 b) { return __hsub(a, b); }
inline __nv_bfloat16 operator*(__nv_bfloat16 a, __nv_bfloat16 b) { return __hmul(a, b); }
inline __nv_bfloat16 operator/(__nv_bfloat16 a, __nv_bfloat16 b) { return __hdiv(a, b); }
inline __nv_bfloat16 operator-(__nv_bfloat16 a) { return __hneg(a); }
inline __nv_bfloat16& operator+=(__nv_bfloat16& a, __nv_bfloat16 b) { return a = __hadd(a, b); }
inline __nv_bfloat16& operator-=(__nv_bfloat16& a, __nv_bfloat16 b) { return a = __hsub(a, b); }
inline __nv_bfloat16& operator*=(__nv_bfloat16& a, __nv_bfloat16 b) { return a = __hmul(a, b); }
inline __nv_bfloat16& operator/=(__nv_bfloat16& a, __nv_bfloat16 b) { return a = __hdiv(a, b); }
inline bool operator==(__nv_bfloat16 a, __nv_bfloat16 b) { return __heq(a, b); }
inline bool operator<(__nv_bfloat16 a, __nv_bfloat16 b) { return __hlt(a, b); }
inline bool operator<=(__nv_bfloat16 a, __nv_bfloat16 b) { return __hle(a, b); }
inline bool operator>(__nv_bfloat16 a, __nv_bfloat16 b) { return __hgt(a, b); }
inline bool operator>=(__nv_bfloat16 a, __nv_bfloat16 b) { return __hge(a, b); }

inline __nv_bfloat162 operator+(__nv_bfloat162 a, __nv_bfloat162 b) { return __hadd2(a, b); }
inline __nv_bfloat162 operator-(__nv_bfloat162 a, __nv_bfloat162 b) { return __hsub2(a, b); }
inline __nv_bfloat162 operator*(__nv_bfloat162 a, __nv_bfloat162 b) { return __hmul2(a, b); }
inline __nv_bfloat162 operator/(__nv_bfloat162 a, __nv_bfloat162 b) { return __h2div(a, b); }
inline __nv_bfloat162 operator-(__nv_bfloat162 a) { return __hneg2(a); }

// ---- shuffles and atomics ----

namespace detail {
template <class T>
concept BFloat16s = OneOf<T, __nv_bfloat16, __nv_bfloat162>;
template <BFloat16s T>
unsigned bfloat16_bits(T x) {
  if constexpr (sizeof(T) == 4) return static_cast<unsigned>(x.y.__x) << 16 | x.x.__x;
  if constexpr (sizeof(T) == 2) return x.__x;
}
template <BFloat16s T>
T bfloat16_from(unsigned bits) {
  __nv_bfloat16 low = __ushort_as_bfloat16(static_cast<std::uint16_t>(bits));
  if constexpr (sizeof(T) == 4) return {low, __ushort_as_bfloat16(static_cast<std::uint16_t>(bits >> 16))};
  if constexpr (sizeof(T) == 2) return low;
}
}  // namespace detail

template <detail::BFloat16s T>
T __shfl_sync(unsigned mask, T value, int source_lane, int width = warpSize) {
  return detail::bfloat16_from<T>(__shfl_sync(mask, detail::bfloat16_bits(value), source_lane, width));
}
template <detail::BFloat16s T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize) {
  return detail::bfloat16_from<T>(__shfl_up_sync(mask, detail::bfloat16_bits(value), delta, width));
}
template <detail::BFloat16s T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize) {
  return detail::bfloat16_from<T>(__shfl_down_sync(mask, detail::bfloat16_bits(value), delta, width));
}
template <detail::BFloat16s T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = warpSize) {
  return detail::bfloat16_from<T>(__shfl_xor_sync(mask, detail::bfloat16_bits(value), lane_mask, width));
}

inline __nv_bfloat16 atomicAdd(__nv_bfloat16* address, __nv_bfloat16 value) {
  return __ushort_as_bfloat16(detail::atomic_update(
      &address->__x, [value](std::uint16_t old) { return __hadd(__ushort_as_bfloat16(old), value).__x; }));
}
// Each half is atomic, not the pair.
inline __nv_bfloat162 atomicAdd(__nv_bfloat162* address, __nv_bfloat162 value) {
  return {atomicAdd(&address->x, value.x), atomicAdd(&address->y, value.y)};
}

}  // namespace simt

using namespace simt;
