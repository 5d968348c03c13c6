// A task a chunk, which fits the level 1 and 2 caches; loops that the compiler makes vectors of.
#include "kernels/common/simd.h"
#include "kernels/adam/adam.h"

namespace kernels::cpu::SIMD_LEVEL {
namespace {

bool is_finite(float x) { return __builtin_fabsf(x) < __builtin_inff(); }

// Whether the step is taken, and by what gradients are multiplied (adam.h).
struct Go {
  bool go;
  float scale;
  explicit Go(const OptimizerInputs& in)
      : go((in.loss == nullptr || is_finite(*in.loss)) && (in.norm == nullptr || is_finite(in.norm->norm))),
        scale(in.norm == nullptr ? 1 : in.norm->scale) {}
};

void average(const OptimizerChunk& chunk, float weight) {
  if (chunk.average == nullptr) return;
  const float* __restrict value = chunk.value;
  float* __restrict e = chunk.average;
  for (int i = 0; i < chunk.count; ++i) e[i] += weight * (value[i] - e[i]);
}

void adam_chunk(const OptimizerChunk& chunk, const AdamOptions& o, const OptimizerStep& step, float scale) {
  const float decay = chunk.weight_decay, l2 = o.decoupled_weight_decay ? 0 : decay;
  const float shrink = o.decoupled_weight_decay ? step.lr * decay : 0;
  const float beta1 = o.beta1, beta2 = o.beta2, eps = o.eps;
  const float rest1 = static_cast<float>(1.0 - o.beta1), rest2 = static_cast<float>(1.0 - o.beta2);
  const float size = step.step_size, root = step.root_scale;
  const float* __restrict gradient = chunk.gradient;
  float* __restrict value = chunk.value;
  float* __restrict m = chunk.first_moment;
  float* __restrict v = chunk.second_moment;
  for (int i = 0; i < chunk.count; ++i) {
    const float g = gradient[i] * scale + l2 * value[i];
    m[i] = beta1 * m[i] + rest1 * g;
    v[i] = beta2 * v[i] + rest2 * g * g;
    value[i] = value[i] - shrink * value[i] - size * m[i] / (__builtin_sqrtf(v[i]) * root + eps);
  }
}

void sgd_chunk(const OptimizerChunk& chunk, const SgdOptions& o, const OptimizerStep& step, float scale) {
  const float decay = chunk.weight_decay, momentum = o.momentum, lr = step.lr;
  // At the first step the buffer's contents do not count.
  const bool first = step.first != 0;
  const float ahead = o.nesterov ? momentum : 1, now = o.nesterov ? 1 : 0;
  const float* __restrict gradient = chunk.gradient;
  float* __restrict value = chunk.value;
  float* __restrict b = chunk.first_moment;
  for (int i = 0; i < chunk.count; ++i) {
    const float g = gradient[i] * scale + decay * value[i];
    b[i] = first ? g : momentum * b[i] + g;
    value[i] -= lr * (now * g + ahead * b[i]);
  }
}

// update(chunk, step, scale) for every chunk that has a gradient, then the averages.
template <class Update>
void step_chunks(Context& context, const OptimizerShape& s, const OptimizerChunk* chunks, const OptimizerInputs& in,
                 Update update) {
  parallel_for(context, s.chunks, [=](int64_t i) {
    const Go go(in);
    if (!go.go) return;
    if (chunks[i].gradient != nullptr) update(chunks[i], *in.step, go.scale);
    average(chunks[i], in.step->average_weight);
  });
}

// A chunk's squares in eight sums, then the chunks' in order.
void gradient_norm(Context& context, const OptimizerShape& s, const OptimizerChunk* chunks, float max_norm,
                   GradientNorm* norm) {
  auto* const squares = static_cast<float*>(context.workspace);
  parallel_for(context, s.chunks, [=](int64_t c) {
    const float* g = chunks[c].gradient;
    const int64_t count = g == nullptr ? 0 : chunks[c].count;
    Vector sums[4] = {};
    int64_t i = 0;
    for (; i + 4 * lanes <= count; i += 4 * lanes)
      for (int k = 0; k < 4; ++k) {
        Vector x;
        Wide::load(x, g + i + k * lanes);
        sums[k] += x * x;
      }
    sums[0] += sums[1] + (sums[2] + sums[3]);
    float sum = 0;
    for (int k = 0; k < lanes; ++k) sum += sums[0][k];
    for (; i < count; ++i) sum += g[i] * g[i];
    squares[c] = sum;
  });
  parallel_for(context, 1, [=](int64_t) {
    double sum = 0;
    for (int64_t c = 0; c < s.chunks; ++c) sum += squares[c];
    const float root = static_cast<float>(__builtin_sqrt(sum)), ratio = max_norm / (root + 1e-6f);
    *norm = {root, ratio < 1 ? ratio : 1};
  });
}

}  // namespace

template <>
const Adam& simd_row<Adam>() {
  static constexpr Adam row = {
      .name = "simd",
      .idea = "a task a chunk, on vectors",
      .provider = Provider::vendor,
      .supports = [](const OptimizerShape&) { return true; },
      .workspace = [](const OptimizerShape& s) -> size_t { return s.chunks * sizeof(float); },
      .gradient_norm = gradient_norm,
      .adam =
          [](Context& context, const OptimizerShape& s, const OptimizerChunk* chunks, const AdamOptions& o,
             const OptimizerInputs& in) {
            step_chunks(context, s, chunks, in,
                        [=](const OptimizerChunk& chunk, const OptimizerStep& step, float scale) {
                          adam_chunk(chunk, o, step, scale);
                        });
          },
      .sgd =
          [](Context& context, const OptimizerShape& s, const OptimizerChunk* chunks, const SgdOptions& o,
             const OptimizerInputs& in) {
            step_chunks(context, s, chunks, in,
                        [=](const OptimizerChunk& chunk, const OptimizerStep& step, float scale) {
                          sgd_chunk(chunk, o, step, scale);
                        });
          },
  };
  return row;
}

}  // namespace kernels::cpu::SIMD_LEVEL
