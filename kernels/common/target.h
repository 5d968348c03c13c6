// One source, two machines: every .cu file is compiled once for the CPU (against engine/simt's <cuda_runtime.h>) and
// once for the GPU (by nvcc). KERNEL_TARGET names the namespace of the copy at hand, so that both live in one binary:
//   namespace kernels::KERNEL_TARGET { __global__ void naive_forward(…) … }
#pragma once

#include <cuda_runtime.h>

#include "kernels/common/context.h"

#ifdef __SIMT__
#define KERNEL_TARGET cpu
#else
#define KERNEL_TARGET cuda
#endif

namespace kernels::KERNEL_TARGET {
inline constexpr DeviceType target = DeviceType::KERNEL_TARGET;
}
