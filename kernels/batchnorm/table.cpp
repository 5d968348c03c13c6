#include "kernels/batchnorm/batchnorm.h"
#include "kernels/common/simd_levels.h"
#include "kernels/common/target.h"

namespace kernels {

namespace KERNEL_TARGET {
extern const BatchNorm batchnorm_naive, batchnorm_split, batchnorm_vectorised;
extern const BatchNorm batchnorm_cudnn;
}  // namespace KERNEL_TARGET

template <>
std::span<const BatchNorm> rows<BatchNorm, KERNEL_TARGET::target>() {
  using namespace KERNEL_TARGET;
  static const BatchNorm table[] = {
      batchnorm_naive,       batchnorm_split, batchnorm_vectorised,
#ifdef MOBILENET_SIMD
      simd_row<BatchNorm>(),
#endif
#ifdef MOBILENET_CUDNN
      batchnorm_cudnn,
#endif
  };
  return table;
}

}  // namespace kernels
