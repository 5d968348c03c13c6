// Batch normalisation of x (M, C) with the rows split over blocks: the kernels of the rungs `split` (V = 1) and
// `vectorised` (V = 4 channels a thread).
//
//   sums     a thread walks R rows of its V channels, a block joins its threads' results: partials (chunks, 2, C)
//   finish   joins the chunks of a channel, in a fixed order: statistics, or gradients of γ and β (statistics.h)
//   apply    a thread holds its channels' factors in registers and walks R rows again
//
// A block of sums and apply is `columns` × `lanes` threads: neighbours in a row of threads hold neighbouring channels,
// and each lane takes R rows; a chunk is lanes · R rows. Variances are joined from those of the parts (Chan, Golub &
// LeVeque 1983), n = n₁ + n₂ + … values:
//
//   μ = Σᵢ nᵢ μᵢ / n,    Σ (x-μ)² = Σᵢ (Sᵢ + nᵢ (μᵢ-μ)²),   Sᵢ = Σ (x-μᵢ)² over part i
//
// and within a thread differences from its first value are summed. Means travel as differences from the channel's first
// value x[0,c], which are small where the mean is large: nothing cancels, no mean is rounded coarsely on its way.
#pragma once

#include <algorithm>
#include <type_traits>

#include "kernels/batchnorm/batchnorm.h"
#include "kernels/common/statistics.h"

namespace kernels::KERNEL_TARGET {

constexpr int batchnorm_threads = 128;  // a block of sums or apply, at most

// How the matrix is cut up.
struct BatchNormTiles {
  int64_t rows;
  int channels;
  int columns, lanes;   // threads of a block
  int column_tiles;     // blocks side by side
  int rows_per_thread;  // R
  int chunks;           // blocks one below the other

  dim3 block() const { return dim3(columns, lanes); }
  int64_t blocks() const { return static_cast<int64_t>(column_tiles) * chunks; }

  // How many of the rows [first, first + size) there are.
  __device__ __forceinline__ int count(int64_t first, int64_t size) const {
    return static_cast<int>(rows <= first ? 0 : rows - first < size ? rows - first : size);
  }
};

inline BatchNormTiles batchnorm_tiles(const BatchNormShape& s, int V) {
  const int64_t groups = ceil_div(s.channels, V), column_tiles = ceil_div(groups, batchnorm_threads);
  const int64_t columns = ceil_div(groups, column_tiles), lanes = batchnorm_threads / columns;
  // 128 chunks keep a device busy and leave finish little to read. Fewer than 8 rows would not pay for a thread, and of
  // more than 32 it is better to make more chunks, up to a number that finish can still take.
  int64_t rows = ceil_div(s.rows, 128 * lanes);
  if (rows < 8) rows = 8;
  if (rows > 32) rows = std::max<int64_t>(32, ceil_div(s.rows, 512 * lanes));
  return {.rows = s.rows,
          .channels = s.channels,
          .columns = static_cast<int>(columns),
          .lanes = static_cast<int>(lanes),
          .column_tiles = static_cast<int>(column_tiles),
          .rows_per_thread = static_cast<int>(rows),
          .chunks = static_cast<int>(ceil_div(s.rows, lanes * rows))};
}

// Where a thread of sums or apply works.
template <int V>
struct BatchNormPlace {
  int channel;  // the first of V
  int64_t chunk, row;
  int rows;  // 0 beyond the edge

  __device__ __forceinline__ explicit BatchNormPlace(const BatchNormTiles& t)
      : channel((blockIdx.x % t.column_tiles * t.columns + threadIdx.x) * V),
        chunk(blockIdx.x / t.column_tiles),
        row((chunk * t.lanes + threadIdx.y) * t.rows_per_thread),
        rows(channel < t.channels ? t.count(row, t.rows_per_thread) : 0) {}

  // Of an (M, C) array, the thread's part of its first row; the next one lies t.channels further on.
  template <class T>
  __device__ __forceinline__ T* begin(T* array, const BatchNormTiles& t) const {
    return array + row * t.channels + channel;
  }
};

// Partials: of each chunk and channel the mean (of floats: minus x[0,c]), and the sum of squared differences from the
// mean.
template <int V, class T>
__global__ void __launch_bounds__(batchnorm_threads)
    batchnorm_split_sums(BatchNormTiles t, const T* __restrict__ x, Partials partials) {
  __shared__ __align__(16) float shared[join_floats<V, batchnorm_threads>];
  const BatchNormPlace<V> place(t);
  Statistics<V> statistics;
  if (place.rows > 0) {
    const T* p = place.begin(x, t);
    statistics.first = Floats<V>::load(p);
#pragma unroll 4
    for (int m = 0; m < place.rows; ++m, p += t.channels) statistics.add(Floats<V>::load(p), false);
    if (std::is_same_v<T, float>) statistics.first.subtract(Floats<V>::load(x + place.channel));
  }
  join_statistics(statistics, lane_of_block(), place.channel, t.channels, shared,
                  partials.sums + place.chunk * 2 * t.channels, partials.counts + place.chunk);
}

// Partials: of each chunk and channel Σ dy and Σ dy · (x-μ).
template <int V, class T>
__global__ void __launch_bounds__(batchnorm_threads)
    batchnorm_split_gradient_sums(BatchNormTiles t, const T* __restrict__ x, const T* __restrict__ dy,
                                  const float* __restrict__ saved_mean, Partials partials) {
  __shared__ __align__(16) float shared[join_floats<V, batchnorm_threads>];
  const BatchNormPlace<V> place(t);
  auto sum = Floats<V>::zero(), product = Floats<V>::zero();
  if (place.rows > 0) {
    const auto mean = Floats<V>::load(saved_mean + place.channel);
    const T *p = place.begin(x, t), *gradient = place.begin(dy, t);
#pragma unroll 4
    for (int m = 0; m < place.rows; ++m, p += t.channels, gradient += t.channels) {
      auto d = Floats<V>::load(p);
      const auto g = Floats<V>::load(gradient);
      d.subtract(mean);
      sum.add(g);
      product.multiply_add(g, d);
    }
  }
  join_sums(sum, product, lane_of_block(), place.channel, t.channels, shared,
            partials.sums + place.chunk * 2 * t.channels);
}

// y = γ/σ · (x-μ) + β; `spread` is 1/σ, or (inference) σ² with eps ≥ 0.
template <int V, bool inference, class T>
__global__ void __launch_bounds__(batchnorm_threads)
    batchnorm_split_apply(BatchNormTiles t, const T* __restrict__ x, const float* __restrict__ weight,
                          const float* __restrict__ bias, const float* __restrict__ means,
                          const float* __restrict__ spread, float eps, T* __restrict__ y) {
  const BatchNormPlace<V> place(t);
  if (place.rows == 0) return;
  const auto mean = Floats<V>::load(means + place.channel), shift = Floats<V>::load(bias + place.channel);
  const auto scale = Floats<V>::each([&](int i) {
    const float s = spread[place.channel + i];
    return weight[place.channel + i] * (inference ? 1 / sqrtf(s + eps) : s);
  });
  const T* from = place.begin(x, t);
  T* to = place.begin(y, t);
#pragma unroll 4
  for (int m = 0; m < place.rows; ++m, from += t.channels, to += t.channels) {
    auto d = Floats<V>::load(from), result = shift;
    d.subtract(mean);
    result.multiply_add(scale, d);
    result.store(to);
  }
}

// dx = γ/σ · (dy - dβ/M - (x-μ) · dγ/(σM))
template <int V, class T>
__global__ void __launch_bounds__(batchnorm_threads)
    batchnorm_split_gradient_apply(BatchNormTiles t, const T* __restrict__ x, const T* __restrict__ dy,
                                   const float* __restrict__ weight, const float* __restrict__ saved_mean,
                                   const float* __restrict__ saved_invstd, const float* __restrict__ dweight,
                                   const float* __restrict__ dbias, T* __restrict__ dx) {
  const BatchNormPlace<V> place(t);
  if (place.rows == 0) return;
  const int c = place.channel;
  const float minus_one_over_rows = -1.0f / t.rows;
  const auto mean = Floats<V>::load(saved_mean + c);
  const auto scale = Floats<V>::each([&](int i) { return weight[c + i] * saved_invstd[c + i]; });
  const auto slope = Floats<V>::each([&](int i) {
    return minus_one_over_rows * weight[c + i] * saved_invstd[c + i] * saved_invstd[c + i] * dweight[c + i];
  });
  const auto constant =
      Floats<V>::each([&](int i) { return minus_one_over_rows * weight[c + i] * saved_invstd[c + i] * dbias[c + i]; });
  const T *from = place.begin(x, t), *gradient = place.begin(dy, t);
  T* to = place.begin(dx, t);
#pragma unroll 4
  for (int m = 0; m < place.rows; ++m, from += t.channels, gradient += t.channels, to += t.channels) {
    auto d = Floats<V>::load(from), result = constant;
    d.subtract(mean);
    result.multiply_add(scale, Floats<V>::load(gradient));
    result.multiply_add(slope, d);
    result.store(to);
  }
}

// The rungs' passes. V channels a thread, or one where a pointer does not allow 16-byte accesses.
inline size_t batchnorm_workspace(const BatchNormShape& s) {
  return partials_bytes(std::max(batchnorm_tiles(s, 1).chunks, batchnorm_tiles(s, 4).chunks), s.channels);
}

template <int V, class T>
void batchnorm_forward_training(Context& context, const BatchNormShape& s, const T* x, const float* weight,
                                const float* bias, float eps, float momentum, float* running_mean, float* running_var,
                                float* saved_mean, float* saved_invstd, T* y) {
  check_training(s);
  if (V > 1 && !all_aligned({x, weight, bias, saved_mean, saved_invstd, y}))
    return batchnorm_forward_training<1, T>(context, s, x, weight, bias, eps, momentum, running_mean, running_var,
                                            saved_mean, saved_invstd, y);
  const BatchNormTiles t = batchnorm_tiles(s, V);
  const Partials partials = partials_at(context.workspace, t.chunks, s.channels);
  launch(context, batchnorm_split_sums<V, T>, t.blocks(), t.block(), 0, t, x, partials);
  FusedNorm norm = {};
  norm.eps = eps, norm.momentum = momentum, norm.running_mean = running_mean, norm.running_var = running_var;
  norm.mean = saved_mean, norm.invstd = saved_invstd;
  const float* origin = nullptr;  // of the partials' means
  if constexpr (std::is_same_v<T, float>) origin = x;
  fused_finish_statistics(context, s.rows, s.channels, t.chunks, partials, norm, origin);
  launch(context, batchnorm_split_apply<V, false, T>, t.blocks(), t.block(), 0, t, x, weight, bias, saved_mean,
         saved_invstd, eps, y);
}

template <int V, class T>
void batchnorm_forward_inference(Context& context, const BatchNormShape& s, const T* x, const float* weight,
                                 const float* bias, const float* running_mean, const float* running_var, float eps,
                                 T* y) {
  if (V > 1 && !all_aligned({x, bias, running_mean, y}))
    return batchnorm_forward_inference<1, T>(context, s, x, weight, bias, running_mean, running_var, eps, y);
  const BatchNormTiles t = batchnorm_tiles(s, V);
  launch(context, batchnorm_split_apply<V, true, T>, t.blocks(), t.block(), 0, t, x, weight, bias, running_mean,
         running_var, eps, y);
}

template <int V, class T>
void batchnorm_backward(Context& context, const BatchNormShape& s, const T* x, const T* dy, const float* weight,
                        const float* saved_mean, const float* saved_invstd, T* dx, float* dweight, float* dbias) {
  if (V > 1 && !all_aligned({x, dy, saved_mean, dx}))
    return batchnorm_backward<1, T>(context, s, x, dy, weight, saved_mean, saved_invstd, dx, dweight, dbias);
  const BatchNormTiles t = batchnorm_tiles(s, V);
  const Partials partials = partials_at(context.workspace, t.chunks, s.channels);
  launch(context, batchnorm_split_gradient_sums<V, T>, t.blocks(), t.block(), 0, t, x, dy, saved_mean, partials);
  FusedNorm norm = {};
  norm.invstd = const_cast<float*>(saved_invstd);  // only read
  norm.dweight = dweight, norm.dbias = dbias;
  fused_finish_gradients(context, s.rows, s.channels, t.chunks, partials, norm);
  launch(context, batchnorm_split_gradient_apply<V, T>, t.blocks(), t.block(), 0, t, x, dy, weight, saved_mean,
         saved_invstd, dweight, dbias, dx);
}

// A rung of V channels a thread.
template <int V, class T>
constexpr BatchNormOf<T> batchnorm_row(const char* name, const char* idea) {
  return {
      .name = name,
      .idea = idea,
      .provider = Provider::native,
      .supports = [](const BatchNormShape& s) { return s.channels % V == 0; },
      .workspace = batchnorm_workspace,
      .forward_training = batchnorm_forward_training<V, T>,
      .forward_inference = batchnorm_forward_inference<V, T>,
      .backward = batchnorm_backward<V, T>,
  };
}

}  // namespace kernels::KERNEL_TARGET
