// Plain vector loops: sums over chunks of rows (common/simd_columns.h), then a pass that applies what they gave.
#include "kernels/batchnorm/batchnorm.h"
#include "kernels/common/simd_columns.h"

namespace kernels::cpu::SIMD_LEVEL {
namespace {

size_t workspace(const BatchNormShape& s) { return chunks_of(s.rows).partial_bytes(s.channels); }

// rows of an (M, C) array that a task takes
int64_t row_piece(const BatchNormShape& s) { return larger(1, piece / s.channels); }

// y = γ/σ · (x-μ) + β; `spread` is 1/σ, or (inference) σ² with eps ≥ 0.
template <bool inference, class T>
void apply(Context& context, const BatchNormShape& s, const T* x, const float* weight, const float* bias,
           const float* means, const float* spread, float eps, T* y) {
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

template <class T>
void forward_training(Context& context, const BatchNormShape& s, const T* x, const float* weight, const float* bias,
                      float eps, float momentum, float* running_mean, float* running_var, float* saved_mean,
                      float* saved_invstd, T* y) {
  if (s.rows < 2) fail(batchnorm_one_value);
  auto* partials = static_cast<double*>(context.workspace);
  const Chunks chunks = chunks_of(s.rows);
  const int64_t C = s.channels;
  parallel_for(context, chunks.count(), [=](int64_t i) {
    const T* first = x + chunks.begin(i) * C;
    set_zero(partials + i * 2 * C, 2 * C);
    add_statistics(chunks.end(i) - chunks.begin(i), 0, C, C, first, first, partials + i * 2 * C);
  });
  const NormStatistics norm = {s.rows, eps, momentum, saved_mean, saved_invstd, running_mean, running_var};
  join_statistics(context, chunks, C, x, partials,
                  [=](int64_t c, double mean, double variance) { norm.set(c, mean, variance); });
  apply<false>(context, s, x, weight, bias, saved_mean, saved_invstd, eps, y);
}

template <class T>
void forward_inference(Context& context, const BatchNormShape& s, const T* x, const float* weight, const float* bias,
                       const float* running_mean, const float* running_var, float eps, T* y) {
  apply<true>(context, s, x, weight, bias, running_mean, running_var, eps, y);
}

// dx = γ/σ · (dy - dβ/M - (x-μ) · dγ/(σM))
template <class T>
void backward(Context& context, const BatchNormShape& s, const T* x, const T* dy, const float* weight,
              const float* saved_mean, const float* saved_invstd, T* dx, float* dweight, float* dbias) {
  auto* partials = static_cast<double*>(context.workspace);
  const Chunks chunks = chunks_of(s.rows);
  const int64_t C = s.channels;
  parallel_for(context, chunks.count(), [=](int64_t i) {
    set_zero(partials + i * 2 * C, 2 * C);
    add_gradients(chunks.end(i) - chunks.begin(i), 0, C, C, x + chunks.begin(i) * C, dy + chunks.begin(i) * C,
                  saved_mean, partials + i * 2 * C);
  });
  join_gradients(context, chunks.count(), C, partials, [=](int64_t c, double sum, double product) {
    dbias[c] = static_cast<float>(sum);
    dweight[c] = static_cast<float>(product * saved_invstd[c]);
  });
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

template <class T>
constexpr BatchNormOf<T> row = {
    .name = "simd",
    .idea = "plain vector loops, a task a chunk of rows; sums beyond 32 rows in double",
    .provider = Provider::vendor,
    .supports = [](const BatchNormShape&) { return true; },
    .workspace = workspace,
    .forward_training = forward_training<T>,
    .forward_inference = forward_inference<T>,
    .backward = backward<T>,
};

}  // namespace

template <>
const BatchNorm& simd_row<BatchNorm>() {
  return row<float>;
}
template <>
const BatchNormOf<Bf16>& simd_row<BatchNormOf<Bf16>>() {
  return row<Bf16>;
}

}  // namespace kernels::cpu::SIMD_LEVEL
