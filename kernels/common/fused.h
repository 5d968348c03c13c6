// The device side of fused_norm.h: what a kernel does where it loads its operand (a prologue) and where it stores its
// result (an epilogue). The kernels are templates over both, so a plain pass and a fused one are the same text:
//
//   prologue    p(i), V neighbouring elements of the operand at index i: p.value(p.fetch(i)). fetch() only loads, so
//               who fetches several before the first value() waits for memory once.
//     Plain       x[i], as it lies in memory
//     Activated   the activation behind z[i]
//     Gradient    dz, from z[i] and du[i]
//   epilogue    e(i, value, e.fetch(i)), stores V elements at index i; fetch() loads what it takes besides the value.
//               e.finish(…), when the block has stored everything
//     Bare        nothing but the store
//     Folded      stores ReLU6(value + the norm's bias): inference, where the rest of the norm is in the weights
//     Counted     also the statistics of what it stored: partials[slice] = (mean, Σ(z-mean)²)
//     Masked      value is da: stores du = da where x[i]'s activation has a slope; partials[slice] = (Σ du, Σ du·(z-μ))
//
// A slice is what one block (and all its channels) stores; fused_finish.cu joins the slices. T is the type of the
// arrays in memory; norms, partials and all arithmetic are float.
#pragma once

#include "kernels/common/fused_norm.h"
#include "kernels/common/statistics.h"

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
    return u.relu6();
  }
};

// z, du → dz
template <int V>
struct NormGradient {
  Floats<V> scale, slope, constant, mean;
  __device__ __forceinline__ NormGradient(const FusedNorm& norm, int c)
      : scale(Floats<V>::load(norm.scale + c)),
        slope(Floats<V>::load(norm.slope + c)),
        constant(Floats<V>::load(norm.constant + c)),
        mean(Floats<V>::load(norm.mean + c)) {}
  __device__ __forceinline__ Floats<V> operator()(const Floats<V>& z, const Floats<V>& du) const {
    // The constant less slope·μ, so that z need not lose its mean first; computed once for all elements.
    auto dz = constant, shift = Floats<V>::zero();
    shift.multiply_add(slope, mean);
    dz.subtract(shift);
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
    const auto du = u.relu6_gradient(da);
    sum.add(du);
    product.multiply_add(du, d);
    return du;
  }
};

// ---- prologues: (array, du or null, both from `offset` on, norm, first channel)

template <int V, class T>
struct Plain {
  using Element = T;
  static constexpr int width = V;
  static constexpr int arrays = 1;
  static constexpr bool fused = false;
  const T* x;
  __device__ __forceinline__ Plain(const T* x, const T*, int64_t offset, const FusedNorm&, int) : x(x + offset) {}
  using Fetched = Packed<V, T>;
  __device__ __forceinline__ Fetched fetch(int64_t i) const { return Fetched::load(x + i); }
  __device__ __forceinline__ Floats<V> value(const Fetched& fetched) const { return fetched.unpack(); }
  __device__ __forceinline__ Floats<V> operator()(int64_t i) const { return value(fetch(i)); }
};

template <int V, class T>
struct Activated {
  using Element = T;
  static constexpr int width = V;
  static constexpr int arrays = 1;
  static constexpr bool fused = true;
  const T* z;
  Activation<V> activation;
  __device__ __forceinline__ Activated(const T* z, const T*, int64_t offset, const FusedNorm& norm, int c)
      : z(z + offset), activation(norm, c) {}
  using Fetched = Packed<V, T>;
  __device__ __forceinline__ Fetched fetch(int64_t i) const { return Fetched::load(z + i); }
  __device__ __forceinline__ Floats<V> value(const Fetched& fetched) const { return activation(fetched.unpack()); }
  __device__ __forceinline__ Floats<V> operator()(int64_t i) const { return value(fetch(i)); }
};

template <int V, class T>
struct Gradient {
  using Element = T;
  static constexpr int width = V;
  static constexpr int arrays = 2;
  static constexpr bool fused = true;
  const T *z, *du;
  NormGradient<V> gradient;
  __device__ __forceinline__ Gradient(const T* z, const T* du, int64_t offset, const FusedNorm& norm, int c)
      : z(z + offset), du(du + offset), gradient(norm, c) {}
  struct Fetched {
    Packed<V, T> z, du;
  };
  __device__ __forceinline__ Fetched fetch(int64_t i) const {
    return {Packed<V, T>::load(z + i), Packed<V, T>::load(du + i)};
  }
  __device__ __forceinline__ Floats<V> value(const Fetched& fetched) const {
    return gradient(fetched.z.unpack(), fetched.du.unpack());
  }
  __device__ __forceinline__ Floats<V> operator()(int64_t i) const { return value(fetch(i)); }
};

// The N pixels of a row from column `first` on, through a prologue; zero outside columns 0 … width - 1, since it is the
// activation that a convolution pads. row: column 0's index.
template <class Load, int V, int N>
__device__ __forceinline__ void load_row(Floats<V> (&pixels)[N], const Load& load, int64_t row, int first, int width,
                                         int channels) {
  const auto inside = [&](int k) { return first + k >= 0 && first + k < width; };
  typename Load::Fetched fetched[N];
#pragma unroll
  for (int k = 0; k < N; ++k)
    fetched[k] = inside(k) ? load.fetch(row + (first + k) * channels) : typename Load::Fetched{};
#pragma unroll
  for (int k = 0; k < N; ++k) pixels[k] = load.value(fetched[k]).where(inside(k));
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

struct Nothing {};

template <int V, class T>
struct Bare {
  using Element = T;
  static constexpr int width = V;
  static constexpr bool fused = false;
  T* y;
  __device__ __forceinline__ Bare(T* y, const T*, int64_t offset, const FusedNorm&, int) : y(y + offset) {}
  __device__ __forceinline__ Nothing fetch(int64_t) const { return {}; }
  __device__ __forceinline__ void operator()(int64_t i, const Floats<V>& value, Nothing, bool = true) {
    value.store(y + i);
  }
  template <int threads>
  __device__ __forceinline__ void finish(int, int, int64_t, const Partials&) const {}
};

template <int V, class T>
struct Folded {
  using Element = T;
  static constexpr int width = V;
  static constexpr bool fused = true;
  T* y;
  Floats<V> bias;
  __device__ __forceinline__ Folded(T* y, const T*, int64_t offset, const FusedNorm& norm, int c)
      : y(y + offset), bias(Floats<V>::load(norm.bias + c)) {}
  __device__ __forceinline__ Nothing fetch(int64_t) const { return {}; }
  __device__ __forceinline__ void operator()(int64_t i, Floats<V> value, Nothing, bool = true) {
    value.add(bias);
    value.relu6().store(y + i);
  }
  template <int threads>
  __device__ __forceinline__ void finish(int, int, int64_t, const Partials&) const {}
};

template <int V, class T>
struct Counted {
  using Element = T;
  static constexpr int width = V;
  static constexpr bool fused = true;
  T* z;
  Statistics<V> statistics;
  __device__ __forceinline__ Counted(T* z, const T*, int64_t offset, const FusedNorm&, int) : z(z + offset) {}
  __device__ __forceinline__ Nothing fetch(int64_t) const { return {}; }
  __device__ __forceinline__ void operator()(int64_t i, const Floats<V>& value, Nothing, bool may_be_first = true) {
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
  __device__ __forceinline__ Packed<V, T> fetch(int64_t i) const { return Packed<V, T>::load(x + i); }
  __device__ __forceinline__ void operator()(int64_t i, const Floats<V>& da, const Packed<V, T>& x, bool = true) {
    mask(x.unpack(), as_stored<T>(da)).store(du + i);
  }
  template <int threads>
  __device__ __forceinline__ void finish(int c, int channels, int64_t slice, const Partials& partials) const {
    __shared__ __align__(16) float shared[join_floats<V, threads>];
    join_sums(mask.sum, mask.product, lane_of_block(), c, channels, shared, partials.sums + slice * 2 * channels);
  }
};

}  // namespace kernels::KERNEL_TARGET
