// Plain vector loops. The rows are cut into chunks, a task each, and a chunk into blocks of 32 rows. Within a block
// sums run in fp32 over differences that are small (from the block's first row, or from the mean); from block to block,
// and then from chunk to chunk, they run in double, in order. Chunks depend on the shape alone, so the bits do too.
#include "kernels/common/simd.h"
#include "kernels/batchnorm/batchnorm.h"

namespace kernels::cpu::SIMD_LEVEL {
namespace {

constexpr int64_t block = 32;  // rows

int64_t chunk_rows(const BatchNormShape& s) { return block * larger(1, ceil_div(s.rows, 64 * block)); }
int64_t chunks(const BatchNormShape& s) { return ceil_div(s.rows, chunk_rows(s)); }

size_t workspace(const BatchNormShape& s) { return static_cast<size_t>(chunks(s)) * 2 * s.channels * sizeof(double); }

// sums (2, C) += Σ d and Σ d² over `rows` ≤ 32 rows of x (rows, C), d = x - first in double, first (C).
template <class V, int count>
void add_block(V, int64_t rows, int64_t channels, const float* x, const float* first, double* sums) {
  typename V::Value start[count], sum[count] = {}, square[count] = {}, d;
  for (int k = 0; k < count; ++k) V::load(start[k], x + k * V::width);
  for (int64_t m = 1; m < rows; ++m)
    for (int k = 0; k < count; ++k) {
      V::load(d, x + m * channels + k * V::width);
      d -= start[k];
      sum[k] += d;
      square[k] += d * d;
    }
  float from[count * V::width], s[count * V::width], q[count * V::width];
  for (int k = 0; k < count; ++k) {
    V::store(from + k * V::width, start[k]);
    V::store(s + k * V::width, sum[k]);
    V::store(q + k * V::width, square[k]);
  }
  const double n = static_cast<double>(rows);
  for (int c = 0; c < count * V::width; ++c) {
    const double shift = static_cast<double>(from[c]) - first[c];
    sums[c] += s[c] + n * shift;
    sums[channels + c] += q[c] + shift * (2.0 * s[c] + n * shift);
  }
}

void statistics(Context& context, const BatchNormShape& s, const float* x, double* partials) {
  const int64_t size = chunk_rows(s), C = s.channels;
  parallel_for(context, chunks(s), [=](int64_t chunk) {
    double* const sums = partials + chunk * 2 * C;
    for (int64_t c = 0; c < 2 * C; ++c) sums[c] = 0;
    const int64_t end = smaller(s.rows, (chunk + 1) * size);
    for (int64_t row = chunk * size; row < end; row += block) {
      const int64_t rows = smaller(block, end - row);
      const float* p = x + row * C;
      int64_t c = 0;
      for (; c + 4 * lanes <= C; c += 4 * lanes) add_block<Wide, 4>(Wide(), rows, C, p + c, x + c, sums + c);
      for (; c + lanes <= C; c += lanes) add_block<Wide, 1>(Wide(), rows, C, p + c, x + c, sums + c);
      for (; c < C; ++c) add_block<Narrow, 1>(Narrow(), rows, C, p + c, x + c, sums + c);
    }
  });
}

// sums (2, C) += Σ dy and Σ dy · (x-μ) over `rows` ≤ 32 rows.
template <class V, int count>
void add_gradient_block(V, int64_t rows, int64_t channels, const float* x, const float* dy, const float* mean,
                        double* sums) {
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
  float s[count * V::width], p[count * V::width];
  for (int k = 0; k < count; ++k) {
    V::store(s + k * V::width, sum[k]);
    V::store(p + k * V::width, product[k]);
  }
  for (int c = 0; c < count * V::width; ++c) {
    sums[c] += s[c];
    sums[channels + c] += p[c];
  }
}

void gradient_sums(Context& context, const BatchNormShape& s, const float* x, const float* dy, const float* mean,
                   double* partials) {
  const int64_t size = chunk_rows(s), C = s.channels;
  parallel_for(context, chunks(s), [=](int64_t chunk) {
    double* const sums = partials + chunk * 2 * C;
    for (int64_t c = 0; c < 2 * C; ++c) sums[c] = 0;
    const int64_t end = smaller(s.rows, (chunk + 1) * size);
    for (int64_t row = chunk * size; row < end; row += block) {
      const int64_t rows = smaller(block, end - row);
      const float *p = x + row * C, *g = dy + row * C;
      int64_t c = 0;
      for (; c + 4 * lanes <= C; c += 4 * lanes)
        add_gradient_block<Wide, 4>(Wide(), rows, C, p + c, g + c, mean + c, sums + c);
      for (; c + lanes <= C; c += lanes) add_gradient_block<Wide, 1>(Wide(), rows, C, p + c, g + c, mean + c, sums + c);
      for (; c < C; ++c) add_gradient_block<Narrow, 1>(Narrow(), rows, C, p + c, g + c, mean + c, sums + c);
    }
  });
}

constexpr int64_t channel_piece = 64;  // channels whose chunks a task joins

// finish(c, Σ over the chunks of the first sum, and of the second) for every channel.
template <class Finish>
void join_chunks(Context& context, const BatchNormShape& s, const double* partials, const Finish& finish) {
  const int64_t count = chunks(s), C = s.channels;
  parallel_pieces(context, C, channel_piece, [=](int64_t begin, int64_t end) {
    double first[channel_piece] = {}, second[channel_piece] = {};
    for (int64_t chunk = 0; chunk < count; ++chunk)
      for (int64_t c = begin; c < end; ++c) {
        first[c - begin] += partials[chunk * 2 * C + c];
        second[c - begin] += partials[chunk * 2 * C + C + c];
      }
    for (int64_t c = begin; c < end; ++c) finish(c, first[c - begin], second[c - begin]);
  });
}

// rows of an (M, C) array that a task takes
int64_t row_piece(const BatchNormShape& s) { return larger(1, piece / s.channels); }

// y = γ/σ · (x-μ) + β; `spread` is 1/σ, or (inference) σ² with eps ≥ 0.
template <bool inference>
void apply(Context& context, const BatchNormShape& s, const float* x, const float* weight, const float* bias,
           const float* means, const float* spread, float eps, float* y) {
  const int64_t C = s.channels;
  parallel_pieces(context, s.rows, row_piece(s), [=](int64_t begin, int64_t end) {
    each(0, C, [=](auto v, int64_t c) {
      typename decltype(v)::Value a, mean, scale, shift;
      float scales[v.width];
      for (int i = 0; i < v.width; ++i)
        scales[i] = weight[c + i] * (inference ? 1 / __builtin_sqrtf(spread[c + i] + eps) : spread[c + i]);
      v.load(mean, means + c);
      v.load(shift, bias + c);
      v.load(scale, scales);
      for (int64_t m = begin; m < end; ++m) {
        v.load(a, x + m * C + c);
        v.store(y + m * C + c, scale * (a - mean) + shift);
      }
    });
  });
}

void forward_training(Context& context, const BatchNormShape& s, const float* x, const float* weight, const float* bias,
                      float eps, float momentum, float* running_mean, float* running_var, float* saved_mean,
                      float* saved_invstd, float* y) {
  if (s.rows < 2) fail(batchnorm_one_value);
  auto* partials = static_cast<double*>(context.workspace);
  statistics(context, s, x, partials);
  join_chunks(context, s, partials, [=](int64_t c, double sum, double squares) {
    const double M = static_cast<double>(s.rows), offset = sum / M;  // of the mean from x[0,c]
    const double variance = squares / M - offset * offset, mean = x[c] + offset;
    const double positive = variance > 0 ? variance : variance == variance ? 0 : variance;  // NaN stays
    saved_mean[c] = static_cast<float>(mean);
    saved_invstd[c] = static_cast<float>(1 / __builtin_sqrt(positive + eps));
    running_mean[c] = (1 - momentum) * running_mean[c] + momentum * static_cast<float>(mean);
    running_var[c] = (1 - momentum) * running_var[c] + momentum * static_cast<float>(positive * (M / (M - 1)));
  });
  apply<false>(context, s, x, weight, bias, saved_mean, saved_invstd, eps, y);
}

void forward_inference(Context& context, const BatchNormShape& s, const float* x, const float* weight,
                       const float* bias, const float* running_mean, const float* running_var, float eps, float* y) {
  apply<true>(context, s, x, weight, bias, running_mean, running_var, eps, y);
}

// dx = γ/σ · (dy - dβ/M - (x-μ) · dγ/(σM))
void backward(Context& context, const BatchNormShape& s, const float* x, const float* dy, const float* weight,
              const float* saved_mean, const float* saved_invstd, float* dx, float* dweight, float* dbias) {
  auto* partials = static_cast<double*>(context.workspace);
  gradient_sums(context, s, x, dy, saved_mean, partials);
  join_chunks(context, s, partials, [=](int64_t c, double sum, double product) {
    dbias[c] = static_cast<float>(sum);
    dweight[c] = static_cast<float>(product * saved_invstd[c]);
  });
  const int64_t C = s.channels;
  parallel_pieces(context, s.rows, row_piece(s), [=](int64_t begin, int64_t end) {
    const float minus_one_over_rows = -1.0f / static_cast<float>(s.rows);
    each(0, C, [=](auto v, int64_t c) {
      typename decltype(v)::Value a, g, mean, invstd, scale, slope, constant;
      v.load(mean, saved_mean + c);
      v.load(invstd, saved_invstd + c);
      v.load(scale, weight + c);
      scale *= invstd;
      v.load(slope, dweight + c);
      slope *= minus_one_over_rows * scale * invstd;
      v.load(constant, dbias + c);
      constant *= minus_one_over_rows * scale;
      for (int64_t m = begin; m < end; ++m) {
        v.load(a, x + m * C + c);
        v.load(g, dy + m * C + c);
        v.store(dx + m * C + c, scale * g + (slope * (a - mean) + constant));
      }
    });
  });
}

}  // namespace

template <>
const BatchNorm& simd_row<BatchNorm>() {
  static constexpr BatchNorm row = {
      .name = "simd",
      .idea = "plain vector loops, a task a chunk of rows; sums of sums in double",
      .provider = Provider::vendor,
      .supports = [](const BatchNormShape&) { return true; },
      .workspace = workspace,
      .forward_training = forward_training,
      .forward_inference = forward_inference,
      .backward = backward,
  };
  return row;
}

}  // namespace kernels::cpu::SIMD_LEVEL
