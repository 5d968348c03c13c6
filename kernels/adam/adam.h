// Optimiser steps over all parameters of a model in one launch: Adam, AdamW, SGD.
//
// The parameters are cut into chunks of at most optimizer_chunk elements; the table of chunks lies in device memory,
// and one block works on one chunk. θ is the parameter, g its gradient, λ the weight decay, η = lr, and t counts steps
// from 1.
//
//   Adam    g ← g + λθ;  m ← β₁m + (1-β₁)g;  v ← β₂v + (1-β₂)g²;  θ ← θ - η · m/(1-β₁ᵗ) / (√(v/(1-β₂ᵗ)) + ε)
//           (Kingma & Ba 2015, algorithm 1)
//   AdamW   θ ← θ - ηλθ, then as Adam, without λθ in g                   (Loshchilov & Hutter 2019)
//   SGD     g ← g + λθ;  b ← μb + g (b = g at t = 1);  d = nesterov ? g + μb : b;  θ ← θ - ηd      (as PyTorch's)
#pragma once

#include "kernels/common/table.h"

namespace kernels {

inline constexpr int optimizer_chunk = 4096;

// Up to optimizer_chunk elements of one parameter; all pointers are device pointers to the chunk's first element.
struct OptimizerChunk {
  float* value;
  const float* gradient;
  float* first_moment;   // Adam's m, SGD's momentum buffer b
  float* second_moment;  // Adam's v; unused by SGD
  int count;             // 1 … optimizer_chunk
  float weight_decay;    // λ of this parameter (0 for those that do not decay)
};

struct OptimizerShape {
  int chunks;
};

struct AdamOptions {
  float lr = 1e-3f, beta1 = 0.9f, beta2 = 0.999f, eps = 1e-8f;
  bool decoupled_weight_decay = false;  // AdamW
  int64_t step = 1;                     // t
};

struct SgdOptions {
  float lr = 0.1f, momentum = 0.9f;
  bool nesterov = false;
  int64_t step = 1;  // t
};

struct Adam {
  static constexpr const char* operation = "adam";
  const char* name;
  const char* idea;
  Provider provider;
  bool (*supports)(const OptimizerShape&);
  size_t (*workspace)(const OptimizerShape&);
  void (*adam)(Context&, const OptimizerShape&, const OptimizerChunk* chunks /* (chunks), device */,
               const AdamOptions&);
  void (*sgd)(Context&, const OptimizerShape&, const OptimizerChunk* chunks /* (chunks), device */, const SgdOptions&);
};

namespace reference {
// One parameter of n elements.
void adam(int64_t n, double* value, const double* gradient, double* first_moment, double* second_moment,
          double weight_decay, const AdamOptions&);
void sgd(int64_t n, double* value, const double* gradient, double* momentum_buffer, double weight_decay,
         const SgdOptions&);
}  // namespace reference

}  // namespace kernels
