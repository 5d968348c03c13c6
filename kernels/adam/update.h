// What every rung does to one element. It differs only in who does it to which.
#pragma once

#include <cmath>

#include "kernels/adam/adam.h"
#include "kernels/common/launch.h"

namespace kernels::KERNEL_TARGET {

// The options as the kernel wants them, worked out once a step in double: 1 - βᵗ for a β near 1 has few digits in fp32.
struct AdamFactors {
  float beta1, one_minus_beta1, beta2, one_minus_beta2;
  float step_size;   // η / (1-β₁ᵗ)
  float root_scale;  // 1 / √(1-β₂ᵗ), so that √v · root_scale = √(v/(1-β₂ᵗ))
  float eps;
  float l2;      // what the chunk's λ is multiplied with where it is added to the gradient: 1, or 0 in AdamW
  float shrink;  // what it is multiplied with where it shrinks the parameter: 0, or η in AdamW
};

inline AdamFactors factors(const AdamOptions& o) {
  const double beta1 = o.beta1, beta2 = o.beta2, t = static_cast<double>(o.step);
  return {.beta1 = o.beta1,
          .one_minus_beta1 = static_cast<float>(1 - beta1),
          .beta2 = o.beta2,
          .one_minus_beta2 = static_cast<float>(1 - beta2),
          .step_size = static_cast<float>(o.lr / (1 - std::pow(beta1, t))),
          .root_scale = static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, t))),
          .eps = o.eps,
          .l2 = o.decoupled_weight_decay ? 0.0f : 1.0f,
          .shrink = o.decoupled_weight_decay ? o.lr : 0.0f};
}

// fmaf is written out, so that no compiler chooses where to round: an element comes out the same, to the bit, in any
// rung, chunk and position, and on any device.
__device__ __forceinline__ void adam_update(const AdamFactors& f, float weight_decay, float g, float& value, float& m,
                                            float& v) {
  g = fmaf(f.l2 * weight_decay, value, g);
  value = fmaf(-(f.shrink * weight_decay), value, value);
  m = fmaf(f.beta1, m, f.one_minus_beta1 * g);
  v = fmaf(f.beta2, v, f.one_minus_beta2 * g * g);
  value -= f.step_size * m / fmaf(sqrtf(v), f.root_scale, f.eps);
}

__device__ __forceinline__ void sgd_update(const SgdOptions& o, float weight_decay, float g, float& value, float& b) {
  g = fmaf(weight_decay, value, g);
  b = o.step == 1 ? g : fmaf(o.momentum, b, g);  // the buffer's contents before the first step do not count
  value = fmaf(-o.lr, o.nesterov ? fmaf(o.momentum, b, g) : b, value);
}

}  // namespace kernels::KERNEL_TARGET
