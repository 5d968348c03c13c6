#include "engine/device/runtime.h"

namespace engine {

namespace cpu {
const Runtime& runtime();
}
namespace cuda {
const Runtime& runtime();
}

const Runtime& runtime(DeviceType type) {
  if (type == DeviceType::cpu) return cpu::runtime();
#ifdef MOBILENET_CUDA
  return cuda::runtime();
#else
  throw kernels::Error("this build has no device cuda: it was made without the CUDA toolkit");
#endif
}

}  // namespace engine
