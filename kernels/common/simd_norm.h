// What the fused passes of the rows `simd` share (common/fused_norm.h): prologues and epilogues as loops over rows that
// lie in the cache, because a product is about to read them or has just written them; and what a pass leaves of a norm
// when all its tasks are done.
#pragma once

#include "kernels/common/fused_norm.h"
#include "kernels/common/simd_columns.h"

namespace kernels::cpu::SIMD_LEVEL {

constexpr const char* one_value = "fused batch norm needs at least 2 values per channel, and there is 1";

// What an array of T makes of a value: sums are of these.
template <class T, class Value>
void as_stored(Value& value) {
  if constexpr (sizeof(T) < sizeof(float)) {
    typename std::conditional<sizeof(Value) == sizeof(float), uint16_t, Half>::type half;
    round(value, half);
    widen(value, half);
  }
}

// A norm's factors of the channels from c on, one vector or one of each.
template <class V>
struct Factors {
  typename V::Value mean, scale, bias;
  Factors(V v, const FusedNorm& norm, int64_t c) {
    v.load(mean, norm.mean + c);
    v.load(scale, norm.scale + c);
    v.load(bias, norm.bias + c);
  }
  // z becomes ReLU6(u); NaN stays.
  void activate(typename V::Value& z) const {
    const typename V::Value zero = {}, six = zero + 6;
    z = scale * (z - mean) + bias;
    z = z < zero ? zero : z;
    z = z > six ? six : z;
  }
  // dy becomes du.
  void mask(const typename V::Value& z, typename V::Value& dy) const {
    const typename V::Value zero = {}, six = zero + 6, u = scale * (z - mean) + bias;
    dy = u > zero ? dy : zero;
    dy = u < six ? dy : zero;
  }
};

template <class V>
struct GradientFactors {
  typename V::Value mean, scale, slope, constant;
  GradientFactors(V v, const FusedNorm& norm, int64_t c) {
    v.load(mean, norm.mean + c);
    v.load(scale, norm.scale + c);
    v.load(slope, norm.slope + c);
    v.load(constant, norm.constant + c);
  }
  // du becomes dz.
  void pass(const typename V::Value& z, typename V::Value& du) const {
    du = scale * du + (slope * (z - mean) + constant);
  }
};

constexpr int64_t together = 2;  // rows that share a load of their channels' factors

// body(m, v, c) for all rows and the channels [0, count), c = 0, lanes, …; some rows at a time, a vector of each.
template <class Body>
void rows_together(int64_t rows, int64_t count, const Body& body) {
  int64_t m = 0;
  for (; m + together <= rows; m += together)
    columns(count, [=](auto v, int64_t c) { body.template operator()<together>(m, v, c); });
  for (; m < rows; ++m) columns(count, [=](auto v, int64_t c) { body.template operator()<1>(m, v, c); });
}

// to (rows, stride …) = a(z), `rows` rows of z (·, C) and the channels [begin, end); channel `begin` goes to to[0].
// Whole vectors are written: of to's rows, as many floats as round_up(end - begin).
template <class T, class To>
void activate_rows(const FusedNorm& norm, int64_t rows, int64_t begin, int64_t end, int64_t C, const T* z,
                   int64_t stride, To* to) {
  const FusedNorm n = norm;  // a copy: no store to `to` can change its pointers
  rows_together(rows, end - begin, [=]<int count>(int64_t m, auto v, int64_t c) {
    const Factors factors(v, n, begin + c);
    Vector a[count];
    for (int i = 0; i < count; ++i) v.load(a[i], z + (m + i) * C + begin + c);
    for (int i = 0; i < count; ++i) factors.activate(a[i]);
    for (int i = 0; i < count; ++i) Wide::store_normal(to + (m + i) * stride + c, a[i]);
  });
}

// y becomes ReLU6(y + bias), of up to two vectors of channels from bias[0] on; NaN stays.
struct Fold {
  Vector bias[2] = {};
  Fold(const float* from, int64_t channels) {
    columns(smaller(channels, 2 * lanes), [&](auto v, int64_t c) { v.load(bias[c / lanes], from + c); });
  }
  void operator()(Vector& y, int vector) const {
    const Vector zero = {}, six = zero + 6;
    y += bias[vector];
    y = y < zero ? zero : y;
    y = y > six ? six : y;
  }
};

// As activate_rows, with dz from z and du.
template <class T, class To>
void gradient_rows(const FusedNorm& norm, int64_t rows, int64_t begin, int64_t end, int64_t C, const T* z, const T* du,
                   int64_t stride, To* to) {
  const FusedNorm n = norm;
  rows_together(rows, end - begin, [=]<int count>(int64_t m, auto v, int64_t c) {
    const GradientFactors factors(v, n, begin + c);
    Vector a[count], g[count];
    for (int i = 0; i < count; ++i) {
      v.load(a[i], z + (m + i) * C + begin + c);
      v.load(g[i], du + (m + i) * C + begin + c);
    }
    for (int i = 0; i < count; ++i) factors.pass(a[i], g[i]);
    for (int i = 0; i < count; ++i) Wide::store_normal(to + (m + i) * stride + c, g[i]);
  });
}

template <int count, class V, class T>
void mask_block(V v, const FusedNorm& norm, int64_t rows, int64_t C, int64_t c, const T* z, T* du, double* sums) {
  typename V::Value mean[count], scale[count], bias[count], sum[count] = {}, product[count] = {};
  for (int k = 0; k < count; ++k) {
    v.load(mean[k], norm.mean + c + k * lanes);
    v.load(scale[k], norm.scale + c + k * lanes);
    v.load(bias[k], norm.bias + c + k * lanes);
  }
  const typename V::Value zero = {}, six = zero + 6;
  for (int64_t m = 0; m < rows; ++m)
    for (int k = 0; k < count; ++k) {
      typename V::Value a, g;
      v.load(a, z + m * C + c + k * lanes);
      v.load(g, du + m * C + c + k * lanes);
      a -= mean[k];
      const typename V::Value u = scale[k] * a + bias[k];
      g = u > zero ? g : zero;
      g = u < six ? g : zero;
      sum[k] += g;
      product[k] += g * a;
      v.store_normal(du + m * C + c + k * lanes, g);
    }
  float s[count * lanes], p[count * lanes];
  for (int k = 0; k < count; ++k) {
    Wide::store(s + k * lanes, sum[k]);
    Wide::store(p + k * lanes, product[k]);
  }
  const int64_t most = larger(smaller(C - c, count * lanes), 0);
  for (int64_t i = 0; i < most; ++i) {
    sums[c + i] += static_cast<double>(s[i]);
    sums[C + c + i] += static_cast<double>(p[i]);
  }
}

// du (·, C), the gradient at a, becomes the gradient at u in `rows` rows and the channels [begin, end), and sums (2, C)
// += what the norm's gradients need. z, du: rows (·, C). [begin, end) is whole vectors, or ends at C.
template <class T>
void mask_rows(const FusedNorm& norm, int64_t rows, int64_t begin, int64_t end, int64_t C, const T* z, T* du,
               double* sums) {
  for (int64_t m = 0; m < rows; m += column_block) {
    const int64_t count = smaller(column_block, rows - m);
    int64_t c = begin;
    for (; c + 4 * lanes <= end; c += 4 * lanes) mask_block<4>(Wide(), norm, count, C, c, z + m * C, du + m * C, sums);
    columns(end - c, [&](auto v, int64_t i) { mask_block<1>(v, norm, count, C, c + i, z + m * C, du + m * C, sums); });
  }
}

// partials (chunks, 2, C): the chunks' sums of add_statistics over z.
template <class T>
void finish_statistics(const Context& context, const Chunks& chunks, int64_t C, const T* z, const double* partials,
                       const FusedNorm& norm) {
  const NormStatistics statistics = {chunks.rows, norm.eps,          norm.momentum,   norm.mean,
                                     norm.invstd, norm.running_mean, norm.running_var};
  join_statistics(context, chunks, C, z, partials, [=](int64_t c, double mean, double variance) {
    statistics.set(c, mean, variance);
    norm.scale[c] = norm.weight[c] * norm.invstd[c];
  });
}

// partials (count, 2, C): `count` tasks' sums of mask_rows, over all `rows` rows.
inline void finish_gradients(const Context& context, int64_t rows, int64_t count, int64_t C, const double* partials,
                             const FusedNorm& norm) {
  const float minus_one_over_rows = -1.0f / static_cast<float>(rows);
  join_gradients(context, count, C, partials, [=](int64_t c, double sum, double product) {
    norm.dbias[c] = static_cast<float>(sum);
    norm.dweight[c] = static_cast<float>(product * norm.invstd[c]);
    norm.slope[c] = minus_one_over_rows * norm.scale[c] * norm.invstd[c] * norm.dweight[c];
    norm.constant[c] = minus_one_over_rows * norm.scale[c] * norm.dbias[c];
  });
}

}  // namespace kernels::cpu::SIMD_LEVEL
