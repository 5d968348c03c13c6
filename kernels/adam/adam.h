// Optimiser steps over all parameters of a model in one launch: Adam, AdamW, SGD, with clipping of the gradient, a
// moving average of the parameters, and a guard against steps from a loss that is no number.
//
// The parameters are cut into chunks of at most optimizer_chunk elements; the table of chunks lies in device memory,
// and one block works on one chunk. θ is the parameter, g its gradient, λ the weight decay, η = lr, and t counts steps
// from 1.
//
//   Adam    g ← g + λθ;  m ← β₁m + (1-β₁)g;  v ← β₂v + (1-β₂)g²;  θ ← θ - η · m/(1-β₁ᵗ) / (√(v/(1-β₂ᵗ)) + ε)
//           (Kingma & Ba 2015, algorithm 1)
//   AdamW   θ ← θ - ηλθ, then as Adam, without λθ in g                   (Loshchilov & Hutter 2019)
//   SGD     g ← g + λθ;  b ← μb + g (b = g at t = 1);  d = nesterov ? g + μb : b;  θ ← θ - ηd      (as PyTorch's)
//
// Clipping: before all that, g ← g · min(1, max_norm / (‖g‖ + 1e-6)), ‖g‖ the Euclidean norm of all gradients together
// (PyTorch's clip_grad_norm_).
// Average: after all that, e ← e + a(θ - e) with the new θ, that is (1-a)·e + a·θ.
// Guard: where the loss, or with clipping ‖g‖, is NaN or infinite, the step changes nothing.
//
// Nothing of this is read back to the host, and what differs from step to step lies in device memory (OptimizerStep):
// a step that was captured as a graph can be replayed.
#pragma once

#include <cmath>

#include "kernels/common/table.h"

namespace kernels {

inline constexpr int optimizer_chunk = 4096;

// Up to optimizer_chunk elements of one parameter; all pointers are device pointers to the chunk's first element.
struct OptimizerChunk {
  float* value;
  const float* gradient;  // nullptr: no parameter, but a buffer (running statistics), which is averaged only
  float* first_moment;    // Adam's m, SGD's momentum buffer b
  float* second_moment;   // Adam's v; unused by SGD
  float* average;         // e, or nullptr: none
  int count;              // 1 … optimizer_chunk
  float weight_decay;     // λ of this parameter (0 for those that do not decay)
};

struct OptimizerShape {
  int chunks;
};

struct AdamOptions {
  float beta1 = 0.9f, beta2 = 0.999f, eps = 1e-8f;
  bool decoupled_weight_decay = false;  // AdamW
};

struct SgdOptions {
  float momentum = 0.9f;
  bool nesterov = false;
};

// What differs from step to step.
struct OptimizerStep {
  float lr;              // η
  float step_size;       // Adam: η / (1-β₁ᵗ)
  float root_scale;      // Adam: 1 / √(1-β₂ᵗ), so that √v · root_scale = √(v/(1-β₂ᵗ))
  float average_weight;  // a
  int32_t first;         // 1 at t = 1, else 0
};

// Worked out in double: 1 - βᵗ for a β near 1 has few digits in fp32.
inline OptimizerStep optimizer_step(const AdamOptions& o, float lr, int64_t t, float average_weight = 0) {
  const double beta1 = o.beta1, beta2 = o.beta2, steps = static_cast<double>(t);
  return {.lr = lr,
          .step_size = static_cast<float>(lr / (1 - std::pow(beta1, steps))),
          .root_scale = static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, steps))),
          .average_weight = average_weight,
          .first = t == 1};
}
inline OptimizerStep optimizer_step(const SgdOptions&, float lr, int64_t t, float average_weight = 0) {
  return {.lr = lr, .step_size = 0, .root_scale = 0, .average_weight = average_weight, .first = t == 1};
}

struct GradientNorm {
  float norm;   // ‖g‖
  float scale;  // min(1, max_norm / (‖g‖ + 1e-6)); 1 where ‖g‖ is NaN
};

// What a step reads beside the chunks; device pointers.
struct OptimizerInputs {
  const OptimizerStep* step;
  const float* loss = nullptr;         // (1), guards the step; nullptr: no guard
  const GradientNorm* norm = nullptr;  // as the pass gradient_norm left it; nullptr: no clipping
};

struct Adam {
  static constexpr const char* operation = "adam";
  const char* name;
  const char* idea;
  Provider provider;
  bool (*supports)(const OptimizerShape&);
  size_t (*workspace)(const OptimizerShape&);
  // max_norm above 0; infinity measures without clipping. Sums in fp32, in a fixed order.
  void (*gradient_norm)(Context&, const OptimizerShape&, const OptimizerChunk* chunks /* (chunks), device */,
                        float max_norm, GradientNorm* norm /* device */);
  void (*adam)(Context&, const OptimizerShape&, const OptimizerChunk* chunks /* (chunks), device */, const AdamOptions&,
               const OptimizerInputs&);
  void (*sgd)(Context&, const OptimizerShape&, const OptimizerChunk* chunks /* (chunks), device */, const SgdOptions&,
              const OptimizerInputs&);
};

namespace reference {
// One parameter of n elements.
void adam(int64_t n, double* value, const double* gradient, double* first_moment, double* second_moment,
          double weight_decay, const AdamOptions&, double lr, int64_t t);
void sgd(int64_t n, double* value, const double* gradient, double* momentum_buffer, double weight_decay,
         const SgdOptions&, double lr, int64_t t);
void average(int64_t n, double* average, const double* value, double average_weight);
}  // namespace reference

}  // namespace kernels
