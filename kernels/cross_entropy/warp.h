// What a warp finds out about a row of logits that its lanes read side by side.
#pragma once

#include "kernels/common/launch.h"

namespace kernels::KERNEL_TARGET {

constexpr int cross_entropy_rows = 4;  // of a block: its warps

// The same sum in all lanes: each step adds the same two values, in one or the other order.
__device__ __forceinline__ float cross_entropy_warp_sum(float x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(0xffffffffu, x, distance);
  return x;
}

// The largest logit, and where it stands first: the same in all lanes, but where a logit is NaN. In lane 0 it is one of
// the row's then too.
struct LargestLogit {
  float value;
  int where;
};
__device__ __forceinline__ LargestLogit cross_entropy_warp_largest(const float* z, int classes, int lane) {
  float max = lane < classes ? z[lane] : -INFINITY;
  int best = lane;
  for (int k = lane + 32; k < classes; k += 32)
    if (z[k] > max) max = z[k], best = k;
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, max, distance);
    const int where = __shfl_xor_sync(0xffffffffu, best, distance);
    if (other > max || (other == max && where < best)) max = other, best = where;
  }
  return {max, best};
}

// mean_loss = 1/N Σ_n losses[n], in a fixed order (warp.cu).
void cross_entropy_mean(Context& context, int batch, const float* losses, float* mean_loss);

}  // namespace kernels::KERNEL_TARGET
