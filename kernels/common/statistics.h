// Sums over all rows of an (M, C) array, a channel at a time, that are split over the threads of many blocks: the
// statistics and the gradients of a batch norm. A thread sums what it sees of V channels, a block joins its threads'
// sums in shared memory and writes them, partials (slices, 2, C), and a last kernel (fused_finish.cu) joins the slices.
// All in a fixed order and without atomics, so with the same bits in every run.
#pragma once

#include "kernels/common/floats.h"
#include "kernels/common/fused_norm.h"
#include "kernels/common/launch.h"

namespace kernels::KERNEL_TARGET {

// The statistics of V channels of the values that a thread stores: of the differences from the first one, since
// E[z²] - E[z]² would cancel where the mean is large.
template <int V>
struct Statistics {
  Floats<V> first = Floats<V>::zero(), sum = Floats<V>::zero(), square = Floats<V>::zero();
  int count = 0;
  // may_be_first: false where the compiler may know that something was added before.
  __device__ __forceinline__ void add(const Floats<V>& z, bool may_be_first = true) {
    if (may_be_first && count == 0) first = z;
    auto d = z;
    d.subtract(first);
    sum.add(d);
    square.multiply_add(d, d);
    ++count;
  }
};

// ---- joining a block's threads

// Where a thread stands in its block: its group of V channels, and its lane among the threads that hold the same ones.
struct Lane {
  int group, groups, lane, lanes;
};

__device__ __forceinline__ Lane lane_of_block() {
  return {static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x), static_cast<int>(threadIdx.y),
          static_cast<int>(blockDim.y)};
}

// Room that a join takes in shared memory, which nobody else may use meanwhile: floats, for 16-byte accesses.
template <int V, int threads>
constexpr int join_floats = (2 * V + 1) * threads;

// Of V channels from c on, those that exist, into partial (2, C).
template <int V>
__device__ __forceinline__ void store_sums(const Floats<V>& first, const Floats<V>& second, int c, int channels,
                                           float* partial) {
#pragma unroll
  for (int k = 0; k < V; ++k)
    if (c + k < channels) partial[c + k] = first[k], partial[channels + c + k] = second[k];
}

// The statistics of all lanes: partial (2, C) = mean, Σ(z-mean)² of the values of each channel, and how many they were.
// All threads of the block call it; those with c ≥ channels have no part in it. The variances of parts join as Chan,
// Golub & LeVeque 1983 say:  Σ(z-μ)² = Σᵢ (Sᵢ + nᵢ·(μᵢ-μ)²),  lane after lane, so in the same order in every run.
template <int V>
__device__ __forceinline__ void join_statistics(const Statistics<V>& own, const Lane& at, int c, int channels,
                                                float* shared, float* partial, int* count) {
  const int threads = at.groups * at.lanes, thread = at.lane * at.groups + at.group;
  float *means = shared + thread * V, *squares = means + threads * V;
  float* counts = shared + 2 * threads * V + thread;
  // Σd² - Σd · Σd/n: as the first d is 0, at least 1/n of Σd² is left.
  const float part = own.count > 0 ? 1.0f / static_cast<float>(own.count) : 0.0f;
  auto mean = own.first, square = own.square, mean_of_d = Floats<V>::zero(), minus_sum = Floats<V>::zero();
  mean_of_d.multiply_add(part, own.sum);
  minus_sum.subtract(own.sum);
  square.multiply_add(minus_sum, mean_of_d);
  mean.add(mean_of_d);
  mean.store(means);
  square.store(squares);
  *counts = static_cast<float>(own.count);
  __syncthreads();
  if (at.lane > 0 || c >= channels) return;
  float n = 0;
  for (int lane = 0; lane < at.lanes; ++lane) n += counts[lane * at.groups];
  // The first lane's mean is the point to differ from: it has a value where any has.
  auto offset = Floats<V>::zero();
  for (int lane = 1; lane < at.lanes; ++lane) {
    auto d = Floats<V>::load(means + lane * at.groups * V);
    d.subtract(mean);
    offset.multiply_add(counts[lane * at.groups] / n, d);
  }
  mean.add(offset);
  for (int lane = 0; lane < at.lanes; ++lane) {
    auto d = Floats<V>::load(means + lane * at.groups * V), weighted = Floats<V>::zero();
    d.subtract(mean);
    weighted.multiply_add(counts[lane * at.groups], d);
    if (lane > 0) square.add(Floats<V>::load(squares + lane * at.groups * V));
    square.multiply_add(weighted, d);
  }
  store_sums(mean, square, c, channels, partial);
  if (c == 0) *count = static_cast<int>(n);
}

// The sums of all lanes: partial (2, C) = Σ sum, Σ product.
template <int V>
__device__ __forceinline__ void join_sums(Floats<V> sum, Floats<V> product, const Lane& at, int c, int channels,
                                          float* shared, float* partial) {
  const int threads = at.groups * at.lanes;
  float *sums = shared + (at.lane * at.groups + at.group) * V, *products = sums + threads * V;
  sum.store(sums);
  product.store(products);
  __syncthreads();
  if (at.lane > 0 || c >= channels) return;
#pragma unroll 1  // a few steps; unrolled, they would take registers
  for (int lane = 1; lane < at.lanes; ++lane) {
    sum.add(Floats<V>::load(sums + lane * at.groups * V));
    product.add(Floats<V>::load(products + lane * at.groups * V));
  }
  store_sums(sum, product, c, channels, partial);
}

// ---- partials

// What the slices found: sums (slices, 2, C), and of statistics the number of values behind each, counts (slices).
struct Partials {
  float* sums;
  int* counts;
};
constexpr size_t partials_bytes(int64_t slices, int channels) { return sizeof(float) * slices * (2 * channels + 1); }
inline Partials partials_at(void* workspace, int64_t slices, int channels) {
  auto* sums = static_cast<float*>(workspace);
  return {sums, reinterpret_cast<int*>(sums + slices * 2 * channels)};
}

// A weight gradient that was split over blocks: dw[k] = Σ_slice partial[slice · count + k], slices in a fixed order.
struct WeightPartials {
  int64_t count = 0;
  int slices = 0;
  const float* partial = nullptr;
  float* dw = nullptr;
};

// One launch each. rows: M, the values of a channel. Statistics: mean, invstd, scale and the running ones of `norm`;
// the partials' means are differences from `origin` (C) if there is one. Throws as batchnorm.h says where rows < 2.
// Gradients: dweight, dbias, slope and constant of `norm`, and dw. scale and slope may be null: not written then.
void fused_finish_statistics(Context&, int64_t rows, int channels, int slices, const Partials&, const FusedNorm& norm,
                             const float* origin = nullptr);
void fused_finish_gradients(Context&, int64_t rows, int channels, int slices, const Partials&, const FusedNorm& norm,
                            const WeightPartials& = {});

// ---- how a block's threads lie over the channels

// (groups, lanes) threads, neighbours in a row hold neighbouring groups of V channels; blocks side by side. By the
// shape and V alone.
struct ChannelThreads {
  int groups, lanes, blocks;
};
inline ChannelThreads channel_threads(int all_groups, int threads) {
  const auto blocks = static_cast<int>(ceil_div(all_groups, 32)),
             groups = static_cast<int>(ceil_div(all_groups, blocks));
  return {groups, threads / groups, blocks};
}

}  // namespace kernels::KERNEL_TARGET
