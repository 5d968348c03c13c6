#include "kernels/common/versions.h"

#include "kernels/common/target.h"
#include "kernels_sources.h"
#ifdef __SIMT__
#include "kernels/common/simd_levels.h"
#endif
#ifdef MOBILENET_ONEDNN
#include <oneapi/dnnl/dnnl.hpp>
#endif
#ifdef MOBILENET_CUBLAS
#include "kernels/common/cublas.h"
#endif
#ifdef MOBILENET_CUDNN
#include <cudnn.h>
#endif

namespace kernels::KERNEL_TARGET {

std::string versions() {
  std::string text = std::string("kernels ") + sources_hash + ", compiler " + __VERSION__;
  const auto add = [&](const char* name, const std::string& version) {
    text += std::string(", ") + name + " " + version;
  };
#ifdef __SIMT__
  add("simd", cpu::to_string(cpu::simd_level()));
#else
  int runtime = 0, driver = 0;  // 0 where there is none
  cudaRuntimeGetVersion(&runtime);
  cudaDriverGetVersion(&driver);
  add("CUDA", std::to_string(CUDART_VERSION));
  add("runtime", std::to_string(runtime));
  add("driver", std::to_string(driver));
#endif
#ifdef MOBILENET_ONEDNN
  const dnnl_version_t* onednn = dnnl_version();
  add("oneDNN",
      std::to_string(onednn->major) + '.' + std::to_string(onednn->minor) + '.' + std::to_string(onednn->patch));
#endif
#ifdef MOBILENET_CUBLAS
  try {
    add("cuBLASLt", std::to_string(cublas::lt().version()));
  } catch (const Error&) {  // it cannot be loaded; whoever takes one of its rows hears why
    add("cuBLASLt", "missing");
  }
#endif
#ifdef MOBILENET_CUDNN
  add("cuDNN", std::to_string(cudnnGetVersion()));
#endif
  return text;
}

}  // namespace kernels::KERNEL_TARGET
