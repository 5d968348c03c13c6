#include "kernels/batchnorm/batchnorm.h"
#include "kernels/common/simd_levels.h"
#include "kernels/common/target.h"

namespace kernels {

namespace KERNEL_TARGET {
extern const BatchNorm batchnorm_naive, batchnorm_split, batchnorm_vectorised;
extern const BatchNorm batchnorm_cudnn;
extern const BatchNormOf<Bf16> batchnorm_naive_bf16, batchnorm_split_bf16, batchnorm_vectorised_bf16;
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

template <>
std::span<const BatchNormOf<Bf16>> rows<BatchNormOf<Bf16>, KERNEL_TARGET::target>() {
  using namespace KERNEL_TARGET;
  static const BatchNormOf<Bf16> table[] = {
      batchnorm_naive_bf16,
      batchnorm_split_bf16,
      batchnorm_vectorised_bf16,
#ifdef MOBILENET_SIMD
      simd_row<BatchNormOf<Bf16>>(),
#endif
  };
  return table;
}

}  // namespace kernels
