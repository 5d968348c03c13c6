// What a time measured with these kernels depends on, beside the device: a key for a file of such times.
#pragma once

#include <string>

#include "kernels/common/context.h"

namespace kernels {

namespace cpu {
std::string versions();
}
namespace cuda {
std::string versions();
}

// "kernels 3fa94c12, clang 14.0.6, simd avx512, oneDNN 2.6.0": a hash of the kernels' sources, the compiler, the
// libraries that this program runs with. Throws Error where this build has no such device.
inline std::string versions(DeviceType device) {
  if (device == DeviceType::cpu) return cpu::versions();
#ifdef MOBILENET_CUDA
  return cuda::versions();
#else
  throw Error("this build has no device cuda: it was made without the CUDA toolkit");
#endif
}

}  // namespace kernels
