// What the rungs share: how many channels a thread takes, a piece of a row and a filter in its registers, and the sums
// over one row of the filter.
#pragma once

#include <initializer_list>

#include "kernels/common/fused.h"
#include "kernels/depthwise_conv/depthwise_conv.h"

namespace kernels::KERNEL_TARGET {

// 4 where 16-byte accesses are possible: 4 divides the channels and all arrays are 16-byte aligned; else 1. (4 Bf16 are
// 8 bytes; their arrays begin at multiples of 16 as well.)
inline int vector_width(const DepthwiseConvShape& shape, std::initializer_list<const void*> arrays,
                        std::initializer_list<FusedNorm> norms = {}) {
  return shape.channels % 4 == 0 && all_aligned(arrays) && norms_aligned(norms) ? 4 : 1;
}

// The larger of f(V) over the V that may come up with a shape.
template <class F>
auto largest(const DepthwiseConvShape& shape, F f) {
  return shape.channels % 4 == 0 ? std::max(f(1), f(4)) : f(1);
}

// A kernel's instance for a shape: kernel(V, S), both constants.
template <class F>
auto by_stride(const DepthwiseConvShape& shape, int V, F kernel) {
  constexpr std::integral_constant<int, 1> one;
  constexpr std::integral_constant<int, 2> two;
  constexpr std::integral_constant<int, 4> four;
  if (shape.stride == 1) return V == 4 ? kernel(four, one) : kernel(one, one);
  return V == 4 ? kernel(four, two) : kernel(one, two);
}

template <int V, int N>
__device__ __forceinline__ void set_zero(Floats<V> (&values)[N]) {
#pragma unroll
  for (int k = 0; k < N; ++k) values[k] = Floats<V>::zero();
}

// The N pixels of a row from column `first` on, V channels each; zero outside columns 0 … width - 1. row: column 0's
// first of the V channels.
template <int V, int N>
__device__ __forceinline__ void load_row(Floats<V> (&pixels)[N], const float* row, int first, int width, int channels) {
#pragma unroll
  for (int k = 0; k < N; ++k) {
    const int j = first + k;
    pixels[k] = j >= 0 && j < width ? Floats<V>::load(row + j * channels) : Floats<V>::zero();
  }
}

// The N taps from w on, V channels each; flip: in reverse order. 9 are a filter, turned by 180° if flipped.
template <int V, int N>
__device__ __forceinline__ void load_taps(Floats<V> (&taps)[N], const float* w, int channels, bool flip) {
#pragma unroll
  for (int k = 0; k < N; ++k) taps[k] = Floats<V>::load(w + (flip ? N - 1 - k : k) * channels);
}

// sums[t] += Σ_s pixels[t·S + s] · taps[s], for T outputs of a row and one row of the filter
template <int S, int V, int T, int N>
__device__ __forceinline__ void multiply_row(Floats<V> (&sums)[T], const Floats<V> (&pixels)[N],
                                             const Floats<V>* taps) {
  static_assert(N == (T - 1) * S + 3);
#pragma unroll
  for (int s = 0; s < 3; ++s)
#pragma unroll
    for (int t = 0; t < T; ++t) sums[t].multiply_add(pixels[t * S + s], taps[s]);
}

// The reverse at stride 2: sums[2k] += pixels[k] · taps[1]; sums[2k+1] += pixels[k] · taps[2] + pixels[k+1] · taps[0]
template <int V, int T, int N>
__device__ __forceinline__ void spread_row(Floats<V> (&sums)[T], const Floats<V> (&pixels)[N], const Floats<V>* taps) {
  static_assert(T % 2 == 0 && N == T / 2 + 1);
#pragma unroll
  for (int k = 0; k < T / 2; ++k) {
    sums[2 * k].multiply_add(pixels[k], taps[1]);
    sums[2 * k + 1].multiply_add(pixels[k], taps[2]);
    sums[2 * k + 1].multiply_add(pixels[k + 1], taps[0]);
  }
}

// The weight gradient of one row of the filter: sums[s] += Σ_t pixels[t·S + s] · dy[t]
template <int S, int V, int T, int N>
__device__ __forceinline__ void add_products(Floats<V>* sums, const Floats<V> (&pixels)[N], const Floats<V> (&dy)[T]) {
  static_assert(N == (T - 1) * S + 3);
#pragma unroll
  for (int s = 0; s < 3; ++s)
#pragma unroll
    for (int t = 0; t < T; ++t) sums[s].multiply_add(pixels[t * S + s], dy[t]);
}

}  // namespace kernels::KERNEL_TARGET
