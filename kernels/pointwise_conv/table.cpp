#include "kernels/common/target.h"
#include "kernels/pointwise_conv/pointwise_conv.h"

namespace kernels {

namespace KERNEL_TARGET {
extern const PointwiseConv pointwise_conv_naive, pointwise_conv_shared_tile, pointwise_conv_register_tile;
}

template <>
std::span<const PointwiseConv> rows<PointwiseConv, KERNEL_TARGET::target>() {
  using namespace KERNEL_TARGET;
  static const PointwiseConv table[] = {pointwise_conv_naive, pointwise_conv_shared_tile, pointwise_conv_register_tile};
  return table;
}

}  // namespace kernels
