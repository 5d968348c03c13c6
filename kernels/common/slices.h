// The second pass of a sum that was split over blocks: their partial sums, added in a fixed order.
#pragma once

#include "kernels/common/launch.h"

namespace kernels::KERNEL_TARGET {

constexpr int slices_outputs = 32;  // a block's

// Its block, for a grid of ceil_div(count, slices_outputs): one thread an output where the slices are few, else eight.
inline dim3 slices_block(int slices) { return dim3(slices_outputs, slices > 64 ? 8 : 1); }

// result[k] = Σ_slice partial[slice · count + k], k = 0 … count - 1. Lane l adds slices l, l + lanes, …, then the first
// lane the lanes' sums. Operations wrap it in a kernel of their own.
__device__ __forceinline__ void add_slices_block(int64_t count, int slices, const float* __restrict__ partial,
                                                 float* __restrict__ result) {
  __shared__ float sums[8][slices_outputs];
  const int lanes = blockDim.y;
  const int64_t k = static_cast<int64_t>(blockIdx.x) * slices_outputs + threadIdx.x;
  float sum = 0;
  if (k < count)
    for (int slice = threadIdx.y; slice < slices; slice += lanes) sum += partial[slice * count + k];
  if (lanes > 1) {
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0) return;
    for (int lane = 1; lane < lanes; ++lane) sum += sums[lane][threadIdx.x];
  }
  if (k < count) result[k] = sum;
}

}  // namespace kernels::KERNEL_TARGET
