#include "kernels/common/simd_levels.h"
#include "kernels/common/target.h"
#include "kernels/cross_entropy/cross_entropy.h"

namespace kernels {

namespace KERNEL_TARGET {
extern const CrossEntropy cross_entropy_naive, cross_entropy_warp, cross_entropy_cudnn;
}

template <>
std::span<const CrossEntropy> rows<CrossEntropy, KERNEL_TARGET::target>() {
  using namespace KERNEL_TARGET;
  static const CrossEntropy table[] = {
      cross_entropy_naive,
      cross_entropy_warp,
#ifdef MOBILENET_SIMD
      simd_row<CrossEntropy>(),
#endif
#ifdef MOBILENET_CUDNN
      cross_entropy_cudnn,
#endif
  };
  return table;
}

}  // namespace kernels
