// Eight floats in a thread's registers: one row of a register tile.
#pragma once

#include "kernels/common/target.h"

namespace kernels::KERNEL_TARGET {

// nvcc keeps a small array in registers wherever its indices are known after unrolling. g++ and clang do so only for
// their vector types; from an array of arrays they make gathers and shuffles.
struct Float8 {
#ifdef __SIMT__
  float v __attribute__((vector_size(32)));
#else
  float v[8];
#endif
};

__device__ __forceinline__ void set_zero(Float8& x) {
#pragma unroll
  for (int i = 0; i < 8; ++i) x.v[i] = 0;
}

// x = f(0) … f(7)
template <class F>
__device__ __forceinline__ void set(Float8& x, F f) {
#ifdef __SIMT__
  typedef float Vector __attribute__((vector_size(32)));
  x.v = Vector{f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7)};
#else
#pragma unroll
  for (int i = 0; i < 8; ++i) x.v[i] = f(i);
#endif
}

// x = low[0…3], high[0…3], both 16-byte aligned. (By reference: how a vector is passed by value depends on -march.)
__device__ __forceinline__ void load(Float8& x, const float* low, const float* high) {
#ifdef __SIMT__
  typedef float Four __attribute__((vector_size(16), may_alias));
  x.v = __builtin_shufflevector(*reinterpret_cast<const Four*>(low), *reinterpret_cast<const Four*>(high), 0, 1, 2, 3,
                                4, 5, 6, 7);
#else
  const float4 a = *reinterpret_cast<const float4*>(low), b = *reinterpret_cast<const float4*>(high);
  x.v[0] = a.x, x.v[1] = a.y, x.v[2] = a.z, x.v[3] = a.w, x.v[4] = b.x, x.v[5] = b.y, x.v[6] = b.z, x.v[7] = b.w;
#endif
}

// sum += a · x
__device__ __forceinline__ void multiply_add(Float8& sum, float a, const Float8& x) {
#ifdef __SIMT__
  sum.v += a * x.v;
#else
#pragma unroll
  for (int i = 0; i < 8; ++i) sum.v[i] += a * x.v[i];
#endif
}

}  // namespace kernels::KERNEL_TARGET
