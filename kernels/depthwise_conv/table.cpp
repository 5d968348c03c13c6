#include "kernels/common/target.h"
#include "kernels/depthwise_conv/depthwise_conv.h"

namespace kernels {

namespace KERNEL_TARGET {
extern const DepthwiseConv depthwise_conv_naive, depthwise_conv_vectorized, depthwise_conv_strip, depthwise_conv_split;
}

template <>
std::span<const DepthwiseConv> rows<DepthwiseConv, KERNEL_TARGET::target>() {
  using namespace KERNEL_TARGET;
  static const DepthwiseConv table[] = {depthwise_conv_naive, depthwise_conv_vectorized, depthwise_conv_strip,
                                        depthwise_conv_split};
  return table;
}

}  // namespace kernels
