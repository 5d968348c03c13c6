// The device side of fused_norm.h: what a kernel does where it loads its operand (a prologue) and where it stores its
// result (an epilogue). The kernels are templates over both, so a plain pass and a fused one are the same text:
//
//   prologue    p(i), V neighbouring elements of the operand at index i
//     Plain       x[i], as it lies in memory
//     Activated   the activation behind z[i]
//     Gradient    dz, from z[i] and du[i]
//   epilogue    e(i, value), stores V elements at index i; e.finish(…), when the block has stored everything
//     Bare        nothing but the store
//     Counted     also the statistics of what it stored: partials[slice] = (mean, Σ(z-mean)²)
//     Masked      value is da: stores du = da where x[i]'s activation has a slope; partials[slice] = (Σ du, Σ du·(z-μ))
//
// A slice is what one block (and all its channels) stores; fused_finish.cu joins the slices. T is the type of the
// arrays in memory; norms, partials and all arithmetic are float.
#pragma once

#include <algorithm>

#include "kernels/common/floats.h"
#include "kernels/common/fused_norm.h"
#include "kernels/common/launch.h"

namespace kernels::KERNEL_TARGET {

// Whether V = 4 may be used with these norms.
inline bool norms_aligned(std::initializer_list<FusedNorm> norms) {
  for (const FusedNorm& n : norms)
    if (!all_aligned({n.bias, n.mean, n.scale, n.slope, n.constant})) return false;
  return true;
}

// ---- a batch norm's factors for V channels from c on, in registers

// z → a
template <int V>
struct Activation {
  Floats<V> mean, scale, bias;
  __device__ __forceinline__ Activation(const FusedNorm& norm, int c)
      : mean(Floats<V>::load(norm.mean + c)),
        scale(Floats<V>::load(norm.scale + c)),
        bias(Floats<V>::load(norm.bias + c)) {}
  __device__ __forceinline__ Floats<V> operator()(const Floats<V>& z) const {
    auto d = z, u = bias;
    d.subtract(mean);
    u.multiply_add(scale, d);
    return Floats<V>::each([&](int k) { return u[k] < 0 ? 0.0f : u[k] > 6 ? 6.0f : u[k]; });  // NaN stays
  }
};

// z, du → dz
template <int V>
struct NormGradient {
  Floats<V> scale, slope, constant;  // the constant less slope·μ, so that z need not lose its mean first
  __device__ __forceinline__ NormGradient(const FusedNorm& norm, int c)
      : scale(Floats<V>::load(norm.scale + c)),
        slope(Floats<V>::load(norm.slope + c)),
        constant(Floats<V>::load(norm.constant + c)) {
    auto shift = Floats<V>::zero();
    shift.multiply_add(slope, Floats<V>::load(norm.mean + c));
    constant.subtract(shift);
  }
  __device__ __forceinline__ Floats<V> operator()(const Floats<V>& z, const Floats<V>& du) const {
    auto dz = constant;
    dz.multiply_add(slope, z);
    dz.multiply_add(scale, du);
    return dz;
  }
};

// z, da → du, and its sums
template <int V>
struct NormMask {
  Floats<V> mean, scale, bias;
  Floats<V> sum = Floats<V>::zero(), product = Floats<V>::zero();  // Σ du, Σ du · (z-μ)
  __device__ __forceinline__ NormMask(const FusedNorm& norm, int c)
      : mean(Floats<V>::load(norm.mean + c)),
        scale(Floats<V>::load(norm.scale + c)),
        bias(Floats<V>::load(norm.bias + c)) {}
  __device__ __forceinline__ Floats<V> operator()(const Floats<V>& z, const Floats<V>& da) {
    auto d = z, u = bias;
    d.subtract(mean);
    u.multiply_add(scale, d);
    // Two selections in a row: from `u > 0 && u < 6` clang makes shuffles.
    const auto du = Floats<V>::each([&](int k) { return (u[k] < 6 ? u[k] : 0.0f) > 0 ? da[k] : 0.0f; });
    sum.add(du);
    product.multiply_add(du, d);
    return du;
  }
};

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

// ---- partials, and the kernels that join them (fused_finish.cu)

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

// One launch each. rows: M, the values of a channel. Statistics: mean, invstd, scale and the running ones of `norm`.
// Throws as batchnorm.h says where rows < 2. Gradients: dweight, dbias, slope and constant of `norm`, and dw.
void fused_finish_statistics(Context&, int64_t rows, int channels, int slices, const Partials&, const FusedNorm& norm);
void fused_finish_gradients(Context&, int64_t rows, int channels, int slices, const Partials&, const FusedNorm& norm,
                            const WeightPartials& = {});

// ---- prologues: (array, du or null, both from `offset` on, norm, first channel)

template <int V, class T>
struct Plain {
  using Element = T;
  static constexpr int width = V;
  static constexpr bool fused = false;
  const T* x;
  __device__ __forceinline__ Plain(const T* x, const T*, int64_t offset, const FusedNorm&, int) : x(x + offset) {}
  __device__ __forceinline__ Floats<V> operator()(int64_t i) const { return Floats<V>::load(x + i); }
};

template <int V, class T>
struct Activated {
  using Element = T;
  static constexpr int width = V;
  static constexpr bool fused = true;
  const T* z;
  Activation<V> activation;
  __device__ __forceinline__ Activated(const T* z, const T*, int64_t offset, const FusedNorm& norm, int c)
      : z(z + offset), activation(norm, c) {}
  __device__ __forceinline__ Floats<V> operator()(int64_t i) const { return activation(Floats<V>::load(z + i)); }
};

template <int V, class T>
struct Gradient {
  using Element = T;
  static constexpr int width = V;
  static constexpr bool fused = true;
  const T *z, *du;
  NormGradient<V> gradient;
  __device__ __forceinline__ Gradient(const T* z, const T* du, int64_t offset, const FusedNorm& norm, int c)
      : z(z + offset), du(du + offset), gradient(norm, c) {}
  __device__ __forceinline__ Floats<V> operator()(int64_t i) const {
    return gradient(Floats<V>::load(z + i), Floats<V>::load(du + i));
  }
};

// The N pixels of a row from column `first` on, through a prologue; zero outside columns 0 … width - 1, since it is the
// activation that a convolution pads. row: column 0's index.
template <class Load, int V, int N>
__device__ __forceinline__ void load_row(Floats<V> (&pixels)[N], const Load& load, int64_t row, int first, int width,
                                         int channels) {
#pragma unroll
  for (int k = 0; k < N; ++k) {
    const int j = first + k;
    pixels[k] = j >= 0 && j < width ? load(row + j * channels) : Floats<V>::zero();
  }
}

// What an array of T makes of values: statistics and sums are of these.
template <class T, int V>
__device__ __forceinline__ Floats<V> as_stored(const Floats<V>& value) {
  if constexpr (sizeof(T) == sizeof(float)) return value;
  return Floats<V>::each([&](int k) { return to_float(from_float<T>(value[k])); });
}

// ---- epilogues: (array, x or null, both from `offset` on, norm, first channel)
//
// finish(c, channels, slice, partials), for all threads of a block of (groups, lanes) threads, at most `threads`. Lanes
// with something to store come before those without.

template <int V, class T>
struct Bare {
  using Element = T;
  static constexpr int width = V;
  static constexpr bool fused = false;
  T* y;
  __device__ __forceinline__ Bare(T* y, const T*, int64_t offset, const FusedNorm&, int) : y(y + offset) {}
  __device__ __forceinline__ void operator()(int64_t i, const Floats<V>& value, bool = true) { value.store(y + i); }
  template <int threads>
  __device__ __forceinline__ void finish(int, int, int64_t, const Partials&) const {}
};

__device__ __forceinline__ Lane lane_of_block() {
  return {static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x), static_cast<int>(threadIdx.y),
          static_cast<int>(blockDim.y)};
}

template <int V, class T>
struct Counted {
  using Element = T;
  static constexpr int width = V;
  static constexpr bool fused = true;
  T* z;
  Statistics<V> statistics;
  __device__ __forceinline__ Counted(T* z, const T*, int64_t offset, const FusedNorm&, int) : z(z + offset) {}
  __device__ __forceinline__ void operator()(int64_t i, const Floats<V>& value, bool may_be_first = true) {
    value.store(z + i);
    statistics.add(as_stored<T>(value), may_be_first);
  }
  template <int threads>
  __device__ __forceinline__ void finish(int c, int channels, int64_t slice, const Partials& partials) const {
    __shared__ __align__(16) float shared[join_floats<V, threads>];
    join_statistics(statistics, lane_of_block(), c, channels, shared, partials.sums + slice * 2 * channels,
                    partials.counts + slice);
  }
};

template <int V, class T>
struct Masked {
  using Element = T;
  static constexpr int width = V;
  static constexpr bool fused = true;
  T* du;
  const T* x;
  NormMask<V> mask;
  __device__ __forceinline__ Masked(T* du, const T* x, int64_t offset, const FusedNorm& norm, int c)
      : du(du + offset), x(x + offset), mask(norm, c) {}
  __device__ __forceinline__ void operator()(int64_t i, const Floats<V>& da, bool = true) {
    mask(Floats<V>::load(x + i), as_stored<T>(da)).store(du + i);
  }
  template <int threads>
  __device__ __forceinline__ void finish(int c, int channels, int64_t slice, const Partials& partials) const {
    __shared__ __align__(16) float shared[join_floats<V, threads>];
    join_sums(mask.sum, mask.product, lane_of_block(), c, channels, shared, partials.sums + slice * 2 * channels);
  }
};

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
