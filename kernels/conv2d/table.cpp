#include "kernels/common/simd_levels.h"
#include "kernels/common/target.h"
#include "kernels/conv2d/conv2d.h"

namespace kernels {

namespace KERNEL_TARGET {
extern const Conv2d conv2d_naive, conv2d_stem;
extern const Conv2dOf<Bf16> conv2d_naive_bf16, conv2d_stem_bf16;
extern const Conv2d conv2d_onednn, conv2d_cudnn;
}  // namespace KERNEL_TARGET

template <>
std::span<const Conv2d> rows<Conv2d, KERNEL_TARGET::target>() {
  using namespace KERNEL_TARGET;
  static const Conv2d table[] = {
      conv2d_naive,       conv2d_stem,
#ifdef MOBILENET_ONEDNN
      conv2d_onednn,
#endif
#ifdef MOBILENET_SIMD
      simd_row<Conv2d>(),
#endif
#ifdef MOBILENET_CUDNN
      conv2d_cudnn,
#endif
  };
  return table;
}

template <>
std::span<const Conv2dOf<Bf16>> rows<Conv2dOf<Bf16>, KERNEL_TARGET::target>() {
  using namespace KERNEL_TARGET;
  static const Conv2dOf<Bf16> table[] = {
      conv2d_naive_bf16,
      conv2d_stem_bf16,
#ifdef MOBILENET_SIMD
      simd_row<Conv2dOf<Bf16>>(),
#endif
  };
  return table;
}

}  // namespace kernels
