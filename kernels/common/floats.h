// V neighbouring floats in registers, moved by one load or store: V = 4 is CUDA's 16 bytes, and V = 1 the path for
// channels that 4 does not divide. A kernel that is a template over V is both.
#pragma once

#include <initializer_list>

#include "kernels/common/bf16.h"
#include "kernels/common/target.h"

namespace kernels::KERNEL_TARGET {

// Whether 16-byte accesses may be used: all pointers are multiples of 16.
inline bool all_aligned(std::initializer_list<const void*> pointers) {
  for (const void* p : pointers)
    if (reinterpret_cast<uintptr_t>(p) % 16 != 0) return false;
  return true;
}

// Selections one after the other: of `u < 0 ? 0 : u > 6 ? 6 : u` nvcc makes branches.
__device__ __forceinline__ float clamp6(float u) {
  const float above = u < 0 ? 0.0f : u;
  return above > 6 ? 6.0f : above;
}

// load, store      V floats at p; for V = 4, p is 16-byte aligned. Or V bfloat16; for V = 4, p is 8-byte aligned
// each(f)          f(0), f(1) … as the elements
// [k], sum()       one of them; their sum
// where(wanted)    themselves, else zeros, with no branch
// add, subtract, multiply_add  += a; -= a; += a · b, element by element, or by one factor for all
// relu6(), relu6_gradient(da)  of the elements as u (kernels/relu6/relu6.h); NaN stays NaN, and passes no gradient
template <int V>
struct Floats;

template <>
struct Floats<1> {
  float v;
  __device__ static __forceinline__ Floats zero() { return {0}; }
  template <class F>
  __device__ static __forceinline__ Floats each(F f) {
    return {f(0)};
  }
  __device__ static __forceinline__ Floats load(const float* p) { return {*p}; }
  __device__ static __forceinline__ Floats load(const Bf16* p) { return {to_float(*p)}; }
  __device__ __forceinline__ void store(float* p) const { *p = v; }
  __device__ __forceinline__ void store(Bf16* p) const { *p = to_bf16(v); }
  __device__ __forceinline__ float operator[](int) const { return v; }
  __device__ __forceinline__ Floats where(bool wanted) const { return {wanted ? v : 0.0f}; }
  __device__ __forceinline__ float sum() const { return v; }
  __device__ __forceinline__ void add(const Floats& a) { v += a.v; }
  __device__ __forceinline__ void subtract(const Floats& a) { v -= a.v; }
  __device__ __forceinline__ void multiply_add(const Floats& a, const Floats& b) { v += a.v * b.v; }
  __device__ __forceinline__ void multiply_add(float a, const Floats& b) { v += a * b.v; }
  __device__ __forceinline__ Floats relu6() const { return {clamp6(v)}; }
  __device__ __forceinline__ Floats relu6_gradient(const Floats& da) const {
    return {(v < 6 ? v : 0.0f) > 0 ? da.v : 0.0f};
  }
};

template <>
struct Floats<4> {
#ifdef __SIMT__
  // g++ and clang keep their own vector type in one register, where they may take a struct of four floats apart.
  typedef float Vector __attribute__((vector_size(16)));
  typedef Vector Memory __attribute__((may_alias));
  Vector v;
  static __forceinline__ Floats zero() {
    return {Vector {}};
  }
  template <class F>
  static __forceinline__ Floats each(F f) {
    return {Vector { f(0), f(1), f(2), f(3) }};
  }
  static __forceinline__ Floats load(const float* p) { return {*reinterpret_cast<const Memory*>(p)}; }
  static __forceinline__ Floats load(const Bf16* p) {
    return {Vector { to_float(p[0]), to_float(p[1]), to_float(p[2]), to_float(p[3]) }};
  }
  __forceinline__ void store(float* p) const { *reinterpret_cast<Memory*>(p) = v; }
  __forceinline__ void store(Bf16* p) const {
    for (int k = 0; k < 4; ++k) p[k] = to_bf16(v[k]);
  }
  __forceinline__ float operator[](int k) const { return v[k]; }
  __forceinline__ Floats where(bool wanted) const { return wanted ? *this : zero(); }
  __forceinline__ float sum() const { return (v[0] + v[1]) + (v[2] + v[3]); }
  __forceinline__ void add(const Floats& a) { v += a.v; }
  __forceinline__ void subtract(const Floats& a) { v -= a.v; }
  __forceinline__ void multiply_add(const Floats& a, const Floats& b) { v += a.v * b.v; }
  __forceinline__ void multiply_add(float a, const Floats& b) { v += a * b.v; }
  // Selections one after the other, of whole vectors: from `u > 0 && u < 6` clang makes shuffles.
  __forceinline__ Floats relu6() const {
    const Vector zero = {}, six = zero + 6, above = v < zero ? zero : v;
    return {above > six ? six : above};
  }
  __forceinline__ Floats relu6_gradient(const Floats& da) const {
    const Vector zero = {}, six = zero + 6, below = v < six ? v : zero;
    return {below > zero ? da.v : zero};
  }
#else
  float4 v;
  __device__ static __forceinline__ Floats zero() { return {{0, 0, 0, 0}}; }
  template <class F>
  __device__ static __forceinline__ Floats each(F f) {
    return {{f(0), f(1), f(2), f(3)}};
  }
  __device__ static __forceinline__ Floats load(const float* p) { return {*reinterpret_cast<const float4*>(p)}; }
  __device__ static __forceinline__ Floats load(const Bf16* p) {
    const uint2 bits = *reinterpret_cast<const uint2*>(p);
    return {{__uint_as_float(bits.x << 16), __uint_as_float(bits.x & 0xffff0000u), __uint_as_float(bits.y << 16),
             __uint_as_float(bits.y & 0xffff0000u)}};
  }
  __device__ __forceinline__ void store(float* p) const { *reinterpret_cast<float4*>(p) = v; }
  __device__ __forceinline__ void store(Bf16* p) const {
    *reinterpret_cast<uint2*>(p) = {uint32_t{to_bf16(v.x).bits} | uint32_t{to_bf16(v.y).bits} << 16,
                                    uint32_t{to_bf16(v.z).bits} | uint32_t{to_bf16(v.w).bits} << 16};
  }
  __device__ __forceinline__ float operator[](int k) const { return k == 0 ? v.x : k == 1 ? v.y : k == 2 ? v.z : v.w; }
  __device__ __forceinline__ Floats where(bool wanted) const {
    return each([&](int k) { return wanted ? (*this)[k] : 0.0f; });
  }
  __device__ __forceinline__ float sum() const { return (v.x + v.y) + (v.z + v.w); }
  __device__ __forceinline__ void add(const Floats& a) { v.x += a.v.x, v.y += a.v.y, v.z += a.v.z, v.w += a.v.w; }
  __device__ __forceinline__ void subtract(const Floats& a) { v.x -= a.v.x, v.y -= a.v.y, v.z -= a.v.z, v.w -= a.v.w; }
  __device__ __forceinline__ void multiply_add(const Floats& a, const Floats& b) {
    v.x += a.v.x * b.v.x, v.y += a.v.y * b.v.y, v.z += a.v.z * b.v.z, v.w += a.v.w * b.v.w;
  }
  __device__ __forceinline__ void multiply_add(float a, const Floats& b) {
    v.x += a * b.v.x, v.y += a * b.v.y, v.z += a * b.v.z, v.w += a * b.v.w;
  }
  __device__ __forceinline__ Floats relu6() const {
    return each([&](int k) { return clamp6((*this)[k]); });
  }
  __device__ __forceinline__ Floats relu6_gradient(const Floats& da) const {
    const Floats& u = *this;
    return each([&](int k) { return (u[k] < 6 ? u[k] : 0.0f) > 0 ? da[k] : 0.0f; });
  }
#endif
};

// V neighbours as they come from an array of T, not looked at yet: a kernel that loads several before it unpacks the
// first waits once for them all.
template <int V, class T>
struct Packed;

template <int V>
struct Packed<V, float> {
  Floats<V> values;
  __device__ static __forceinline__ Packed load(const float* p) { return {Floats<V>::load(p)}; }
  __device__ __forceinline__ Floats<V> unpack() const { return values; }
};

template <int V>
struct Packed<V, Bf16> {
  struct alignas(V * sizeof(Bf16)) Bits {
    Bf16 v[V];
  } bits;
  __device__ static __forceinline__ Packed load(const Bf16* p) { return {*reinterpret_cast<const Bits*>(p)}; }
  __device__ __forceinline__ Floats<V> unpack() const {
    return Floats<V>::each([&](int k) { return to_float(bits.v[k]); });
  }
};

}  // namespace kernels::KERNEL_TARGET
