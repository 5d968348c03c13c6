// The prologues and epilogues of fused_norm.h as passes of their own, for a row on the CPU whose product is a
// library's. They are plain vector loops (simd.h), at the level that this processor has: simd_row<FusedPasses>().
#pragma once

#include "kernels/common/bf16.h"
#include "kernels/common/context.h"
#include "kernels/common/fused_norm.h"

namespace kernels {

// All arrays (M, C).
struct FusedPasses {
  size_t (*partial_bytes)(int64_t rows, int64_t channels);  // of `partials`
  // a = the activation behind z.
  void (*activate)(Context&, int64_t rows, int64_t channels, const Bf16* z, const FusedNorm&, Bf16* a);
  // What the norm has of z. Throws Error where there is one row.
  void (*statistics)(Context&, int64_t rows, int64_t channels, const Bf16* z, const FusedNorm&, double* partials);
  // dz from z and du.
  void (*gradient)(Context&, int64_t rows, int64_t channels, const Bf16* z, const Bf16* du, const FusedNorm&, Bf16* dz);
  // du, the gradient at a, becomes that at u, and the norm has its gradients.
  void (*mask)(Context&, int64_t rows, int64_t channels, const Bf16* z, Bf16* du, const FusedNorm&, double* partials);
};

}  // namespace kernels
