// What every rung does to one element, and whether a step is taken at all. Rungs differ only in who does it to which.
#pragma once

#include <cmath>

#include "kernels/adam/adam.h"
#include "kernels/common/launch.h"

namespace kernels::KERNEL_TARGET {

__device__ __forceinline__ bool is_finite(float x) { return fabsf(x) < INFINITY; }

// Whether the step is to be taken, and by what the gradient is to be multiplied.
struct OptimizerGo {
  bool go;
  float scale;
};
__device__ __forceinline__ OptimizerGo optimizer_go(const OptimizerInputs& in) {
  const GradientNorm norm = in.norm == nullptr ? GradientNorm{0, 1} : *in.norm;
  return {(in.loss == nullptr || is_finite(*in.loss)) && is_finite(norm.norm), norm.scale};
}

// The options and the step as the kernel wants them.
struct AdamFactors {
  float beta1, one_minus_beta1, beta2, one_minus_beta2, eps;
  bool decoupled_weight_decay;
};
inline AdamFactors factors(const AdamOptions& o) {
  return {.beta1 = o.beta1,
          .one_minus_beta1 = static_cast<float>(1.0 - o.beta1),
          .beta2 = o.beta2,
          .one_minus_beta2 = static_cast<float>(1.0 - o.beta2),
          .eps = o.eps,
          .decoupled_weight_decay = o.decoupled_weight_decay};
}

// fmaf is written out, so that no compiler chooses where to round: an element comes out the same, to the bit, in any
// rung, chunk and position, and on any device.
struct AdamUpdate {
  AdamFactors f;
  OptimizerStep step;
  float scale;       // of the gradient
  float l2, shrink;  // λ where it is added to the gradient, and ηλ where it shrinks the parameter (AdamW); 0 else
  static constexpr bool second_moment = true;

  __device__ __forceinline__ AdamUpdate(const AdamFactors& f, const OptimizerInputs& in, float scale,
                                        float weight_decay)
      : f(f),
        step(*in.step),
        scale(scale),
        l2(f.decoupled_weight_decay ? 0 : weight_decay),
        shrink(f.decoupled_weight_decay ? step.lr * weight_decay : 0) {}

  __device__ __forceinline__ void operator()(float g, float& value, float& m, float& v) const {
    g = fmaf(l2, value, g * scale);
    value = fmaf(-shrink, value, value);
    m = fmaf(f.beta1, m, f.one_minus_beta1 * g);
    v = fmaf(f.beta2, v, f.one_minus_beta2 * g * g);
    value -= step.step_size * m / fmaf(sqrtf(v), step.root_scale, f.eps);
  }
};

struct SgdUpdate {
  SgdOptions o;
  OptimizerStep step;
  float scale, weight_decay;
  static constexpr bool second_moment = false;

  __device__ __forceinline__ SgdUpdate(const SgdOptions& o, const OptimizerInputs& in, float scale, float weight_decay)
      : o(o), step(*in.step), scale(scale), weight_decay(weight_decay) {}

  __device__ __forceinline__ void operator()(float g, float& value, float& b, float&) const {
    g = fmaf(weight_decay, value, g * scale);
    b = step.first ? g : fmaf(o.momentum, b, g);  // the buffer's contents before the first step do not count
    value = fmaf(-step.lr, o.nesterov ? fmaf(o.momentum, b, g) : b, value);
  }
};

__device__ __forceinline__ void average_update(float weight, float value, float& average) {
  average = fmaf(weight, value - average, average);
}

// The clipping of a norm whose square is known; one thread.
__device__ __forceinline__ void finish_norm(float square, float max_norm, GradientNorm* norm) {
  const float root = sqrtf(square);
  *norm = {root, fminf(1, max_norm / (root + 1e-6f))};
}

}  // namespace kernels::KERNEL_TARGET
