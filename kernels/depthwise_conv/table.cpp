#include "kernels/common/simd_levels.h"
#include "kernels/common/target.h"
#include "kernels/depthwise_conv/depthwise_conv.h"

namespace kernels {

namespace KERNEL_TARGET {
extern const DepthwiseConv depthwise_conv_naive, depthwise_conv_vectorised, depthwise_conv_tiled, depthwise_conv_strip,
    depthwise_conv_split, depthwise_conv_async, depthwise_conv_march, depthwise_conv_images;
extern const DepthwiseConvOf<Bf16> depthwise_conv_march_bf16, depthwise_conv_images_bf16;
extern const DepthwiseConv depthwise_conv_onednn, depthwise_conv_cudnn;
}  // namespace KERNEL_TARGET

template <>
std::span<const DepthwiseConv> rows<DepthwiseConv, KERNEL_TARGET::target>() {
  using namespace KERNEL_TARGET;
  static const DepthwiseConv table[] = {
      depthwise_conv_naive,      depthwise_conv_vectorised, depthwise_conv_tiled, depthwise_conv_strip,
      depthwise_conv_split,      depthwise_conv_async,      depthwise_conv_march, depthwise_conv_images,
#ifdef MOBILENET_ONEDNN
      depthwise_conv_onednn,
#endif
#ifdef MOBILENET_SIMD
      simd_row<DepthwiseConv>(),
#endif
#ifdef MOBILENET_CUDNN
      depthwise_conv_cudnn,
#endif
  };
  return table;
}

template <>
std::span<const DepthwiseConvOf<Bf16>> rows<DepthwiseConvOf<Bf16>, KERNEL_TARGET::target>() {
  using namespace KERNEL_TARGET;
  static const DepthwiseConvOf<Bf16> table[] = {
      depthwise_conv_march_bf16,
      depthwise_conv_images_bf16,
#ifdef MOBILENET_SIMD
      simd_row<DepthwiseConvOf<Bf16>>(),
#endif
  };
  return table;
}

}  // namespace kernels
