// Sums over the rows of an (M, C) array, a channel at a time, for the rows `simd`: the statistics of batch norm and the
// sums of its gradient. The rows are cut into chunks, a task each. Within 32 rows sums run in fp32 over differences
// that are small (from the chunk's first row, or from the mean); beyond, in double, in order. Chunks depend on shapes
// alone, so the bits do too.
#pragma once

#include "kernels/common/simd.h"

namespace kernels::cpu::SIMD_LEVEL {

// `rows` rows in pieces of `size`.
struct Chunks {
  int64_t rows, size;
  int64_t count() const { return ceil_div(rows, size); }
  int64_t begin(int64_t i) const { return i * size; }
  int64_t end(int64_t i) const { return smaller(rows, (i + 1) * size); }
  // Of partials (count, 2, C): two sums a chunk and channel.
  size_t partial_bytes(int64_t channels) const { return static_cast<size_t>(count() * 2 * channels) * sizeof(double); }
};

constexpr int64_t column_block = 32;  // rows summed in fp32

// sums (2, channels), `count` vectors of them, += Σ (x - to) and Σ (x - to)² over `rows` rows, where sum and square are
// those of x - from.
template <class V, int count>
void add_shifted(int64_t rows, const typename V::Value (&from)[count], const typename V::Value (&to)[count],
                 const typename V::Value (&sum)[count], const typename V::Value (&square)[count], int64_t channels,
                 double* sums) {
  float f[count * V::width], t[count * V::width], s[count * V::width], q[count * V::width];
  for (int k = 0; k < count; ++k) {
    V::store(f + k * V::width, from[k]);
    V::store(t + k * V::width, to[k]);
    V::store(s + k * V::width, sum[k]);
    V::store(q + k * V::width, square[k]);
  }
  const double n = static_cast<double>(rows);
  for (int c = 0; c < count * V::width; ++c) {
    const double shift = static_cast<double>(f[c]) - t[c];
    sums[c] += s[c] + n * shift;
    sums[channels + c] += q[c] + shift * (2.0 * s[c] + n * shift);
  }
}

// sums (2, channels), `count` vectors of them, += two sums.
template <class V, int count>
void add_both(const typename V::Value (&first)[count], const typename V::Value (&second)[count], int64_t channels,
              double* sums) {
  float a[count * V::width], b[count * V::width];
  for (int k = 0; k < count; ++k) {
    V::store(a + k * V::width, first[k]);
    V::store(b + k * V::width, second[k]);
  }
  for (int c = 0; c < count * V::width; ++c) {
    sums[c] += a[c];
    sums[channels + c] += b[c];
  }
}

// Up to 64 tasks, whole blocks each.
inline Chunks chunks_of(int64_t rows) { return {rows, column_block * larger(1, ceil_div(rows, 64 * column_block))}; }

template <class V, int count, class T>
void add_statistics_block(int64_t rows, int64_t channels, const T* x, const T* first, double* sums) {
  typename V::Value start[count], base[count], sum[count] = {}, square[count] = {}, d;
  for (int k = 0; k < count; ++k) {
    V::load(start[k], x + k * V::width);
    V::load(base[k], first + k * V::width);
  }
  for (int64_t m = 1; m < rows; ++m)
    for (int k = 0; k < count; ++k) {
      V::load(d, x + m * channels + k * V::width);
      d -= start[k];
      sum[k] += d;
      square[k] += d * d;
    }
  add_shifted<V>(rows, start, base, sum, square, channels, sums);
}

template <class V, int count, class T>
void add_gradients_block(int64_t rows, int64_t channels, const T* x, const T* dy, const float* mean, double* sums) {
  typename V::Value mu[count], sum[count] = {}, product[count] = {}, d, g;
  for (int k = 0; k < count; ++k) V::load(mu[k], mean + k * V::width);
  for (int64_t m = 0; m < rows; ++m)
    for (int k = 0; k < count; ++k) {
      V::load(d, x + m * channels + k * V::width);
      V::load(g, dy + m * channels + k * V::width);
      d -= mu[k];
      sum[k] += g;
      product[k] += g * d;
    }
  add_both<V>(sum, product, channels, sums);
}

// sums (2, C) += Σ d and Σ d², d = x - first, over `rows` rows x and the channels [begin, end). first (C).
template <class T>
void add_statistics(int64_t rows, int64_t begin, int64_t end, int64_t channels, const T* x, const T* first,
                    double* sums) {
  for (int64_t m = 0; m < rows; m += column_block) {
    const int64_t count = smaller(column_block, rows - m);
    const T* p = x + m * channels;
    int64_t c = begin;
    for (; c + 4 * lanes <= end; c += 4 * lanes)
      add_statistics_block<Wide, 4>(count, channels, p + c, first + c, sums + c);
    for (; c + lanes <= end; c += lanes) add_statistics_block<Wide, 1>(count, channels, p + c, first + c, sums + c);
    for (; c < end; ++c) add_statistics_block<Narrow, 1>(count, channels, p + c, first + c, sums + c);
  }
}

// sums (2, C) += Σ dy and Σ dy · (x-μ) over `rows` rows x, dy and the channels [begin, end).
template <class T>
void add_gradients(int64_t rows, int64_t begin, int64_t end, int64_t channels, const T* x, const T* dy,
                   const float* mean, double* sums) {
  for (int64_t m = 0; m < rows; m += column_block) {
    const int64_t count = smaller(column_block, rows - m);
    const T *p = x + m * channels, *g = dy + m * channels;
    int64_t c = begin;
    for (; c + 4 * lanes <= end; c += 4 * lanes)
      add_gradients_block<Wide, 4>(count, channels, p + c, g + c, mean + c, sums + c);
    for (; c + lanes <= end; c += lanes)
      add_gradients_block<Wide, 1>(count, channels, p + c, g + c, mean + c, sums + c);
    for (; c < end; ++c) add_gradients_block<Narrow, 1>(count, channels, p + c, g + c, mean + c, sums + c);
  }
}

inline void set_zero(double* sums, int64_t count) {
  for (int64_t i = 0; i < count; ++i) sums[i] = 0;
}

constexpr int64_t channel_piece = 64;  // channels whose chunks a task joins

// finish(c, Σ of the first sums, Σ of the second) for every channel. partials (count, 2, C).
template <class Finish>
void join_gradients(const Context& context, int64_t count, int64_t channels, const double* partials,
                    const Finish& finish) {
  parallel_pieces(context, channels, channel_piece, [=](int64_t begin, int64_t end) {
    double first[channel_piece] = {}, second[channel_piece] = {};
    for (int64_t chunk = 0; chunk < count; ++chunk) {
      const double* p = partials + chunk * 2 * channels;
      for (int64_t c = begin; c < end; ++c) first[c - begin] += p[c];
      for (int64_t c = begin; c < end; ++c) second[c - begin] += p[channels + c];
    }
    for (int64_t c = begin; c < end; ++c) finish(c, first[c - begin], second[c - begin]);
  });
}

// finish(c, mean, variance) for every channel, from partials (chunks, 2, C) with the sums of add_statistics, `first`
// being a chunk's first row of x (M, C). Joined as Chan, Golub & LeVeque (1983) do:
// n = n₁ + n₂, μ = μ₁ + (μ₂-μ₁)·n₂/n, S = S₁ + S₂ + (μ₂-μ₁)²·n₁n₂/n.
template <class T, class Finish>
void join_statistics(const Context& context, const Chunks& chunks, int64_t channels, const T* x, const double* partials,
                     const Finish& finish) {
  parallel_pieces(context, channels, channel_piece, [=](int64_t begin, int64_t end) {
    double mean[channel_piece] = {}, squares[channel_piece] = {};
    for (int64_t chunk = 0; chunk < chunks.count(); ++chunk) {
      const double *sum = partials + chunk * 2 * channels, *square = sum + channels;
      float first[channel_piece];
      for (int64_t c = begin; c < end; ++c) Narrow::load(first[c - begin], x + chunks.begin(chunk) * channels + c);
      const double before = static_cast<double>(chunks.begin(chunk)), n = static_cast<double>(chunks.end(chunk));
      const double count = n - before, share = count / n, cross = before * share, one_over_count = 1 / count;
      for (int64_t c = begin; c < end; ++c) {
        const double offset = sum[c] * one_over_count, d = first[c - begin] + offset - mean[c - begin];
        mean[c - begin] += d * share;
        squares[c - begin] += square[c] - sum[c] * offset + d * d * cross;
      }
    }
    for (int64_t c = begin; c < end; ++c) {
      const double variance = squares[c - begin] / static_cast<double>(chunks.rows);
      finish(c, mean[c - begin], variance < 0 ? 0 : variance);
    }
  });
}

// What batch norm keeps and moves. rows ≥ 2.
struct NormStatistics {
  int64_t rows;
  float eps, momentum;
  float *mean, *invstd, *running_mean, *running_var;  // (C)
  void set(int64_t c, double mu, double variance) const {
    const double M = static_cast<double>(rows);
    mean[c] = static_cast<float>(mu);
    invstd[c] = static_cast<float>(1 / __builtin_sqrt(variance + eps));
    running_mean[c] = (1 - momentum) * running_mean[c] + momentum * mean[c];
    running_var[c] = (1 - momentum) * running_var[c] + momentum * static_cast<float>(variance * (M / (M - 1)));
  }
};

}  // namespace kernels::cpu::SIMD_LEVEL
