// What the rungs share: how many channels a thread takes, and a piece of a row in its registers.
#pragma once

#include <initializer_list>

#include "kernels/common/floats.h"
#include "kernels/depthwise_conv/depthwise_conv.h"

namespace kernels::KERNEL_TARGET {

// 4 where 16-byte accesses are possible: 4 divides the channels and all arrays are 16-byte aligned; else 1.
inline int vector_width(const DepthwiseConvShape& shape, std::initializer_list<const void*> arrays) {
  return shape.channels % 4 == 0 && all_aligned(arrays) ? 4 : 1;
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

}  // namespace kernels::KERNEL_TARGET
