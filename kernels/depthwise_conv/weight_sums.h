// How the rungs of the weight gradient cut a sum over the whole batch, and add the pieces again in a fixed order.
#pragma once

#include <algorithm>

#include "kernels/common/slices.h"
#include "kernels/depthwise_conv/row.h"

namespace kernels::KERNEL_TARGET {

constexpr int weight_threads = 128;  // a block's at most
constexpr int most_groups = 32;      // of V channels, a block's
constexpr int most_slices = 512;

// How the work is cut. By the shape and V alone, so that the result has the same bits in every run.
struct Split {
  int groups, lanes;     // a block's threads: (groups, lanes); a group is V channels, a lane some of the slice's units
  int channel_blocks;    // blocks side by side
  int64_t units_a_lane;  // what a unit is, each rung says: a row, a piece of columns, an image
  int slices;
};

// enough: the units that a thread has at least, or the block's own sum would cost more than it saves.
inline Split split(int groups, int64_t units, int64_t enough) {
  Split result;
  result.groups = std::min(groups, most_groups);
  result.lanes = weight_threads / result.groups;
  result.channel_blocks = ceil_div(groups, result.groups);
  result.units_a_lane = std::max(enough, ceil_div(units, int64_t{most_slices} * result.lanes));
  result.slices = ceil_div(units, result.units_a_lane * result.lanes);
  return result;
}

// Adds the sums of a block's lanes: partial[tap · C + c] = Σ_lane sums[tap], lanes in order. All threads of the block
// call it; those with c ≥ channels have no sums of use. shared: room for add_lanes_floats<V>, which nobody else uses
// any more.
template <int V>
constexpr int add_lanes_floats = weight_threads * 9 * V;
template <int V>
__device__ __forceinline__ void add_lanes(const Floats<V> (&sums)[9], int c, int channels, float* partial,
                                          float* shared /* (9, threads, V) */) {
  const int groups = blockDim.x, lanes = blockDim.y;
  float* mine = shared + (threadIdx.y * groups + threadIdx.x) * V;
#pragma unroll
  for (int tap = 0; tap < 9; ++tap) sums[tap].store(mine + tap * weight_threads * V);
  __syncthreads();
  if (c >= channels) return;
  for (int tap = threadIdx.y; tap < 9; tap += lanes) {
    const float* from = shared + (tap * weight_threads + threadIdx.x) * V;
    auto sum = Floats<V>::load(from);
    for (int lane = 1; lane < lanes; ++lane) sum.add(Floats<V>::load(from + lane * groups * V));
    sum.store(partial + static_cast<int64_t>(tap) * channels + c);
  }
}

// The bytes of `slices` partial sums.
inline size_t partial_bytes(const DepthwiseConvShape& s, int64_t slices) {
  return sizeof(float) * 9 * s.channels * slices;
}

// dw[k] = Σ_slice partial[slice · 9C + k]: the second pass. In split.cu.
void add_partial_weights(const Context& context, int channels, int slices, const float* partial, float* dw);

}  // namespace kernels::KERNEL_TARGET
