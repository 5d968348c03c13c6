// Kernels of one warp that show what the wrappers of common/mma.h compute, for test_mma.cpp. Compiled for both devices.
#pragma once

#include "kernels/common/context.h"

namespace kernels {

struct MmaKernels {
  // c (32, 16) += a (32, 8) · b (8, 16) in tf32; with depth 16 for bfloat16, factors rounded to it on the way.
  void (*tf32)(Context&, const float* a, const float* b, float* c);
  void (*bf16)(Context&, const float* a, const float* b, float* c);
  // values (2, 32, 4): what each lane gets of a 16 × 16 matrix of 0 … 255 by ldmatrix, and by ldmatrix_transposed
  void (*ldmatrix)(Context&, int* values);
};
template <DeviceType device>
MmaKernels mma_kernels();

}  // namespace kernels
