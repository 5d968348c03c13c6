#include "kernels/common/target.h"
#include "kernels/linear/linear.h"

namespace kernels {

namespace KERNEL_TARGET {
extern const Linear linear_naive, linear_warp, linear_register_tile;
}

template <>
std::span<const Linear> rows<Linear, KERNEL_TARGET::target>() {
  using namespace KERNEL_TARGET;
  static const Linear table[] = {linear_naive, linear_warp, linear_register_tile};
  return table;
}

}  // namespace kernels
