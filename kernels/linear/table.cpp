#include "kernels/common/simd_levels.h"
#include "kernels/common/target.h"
#include "kernels/linear/linear.h"

namespace kernels {

namespace KERNEL_TARGET {
extern const Linear linear_naive, linear_warp, linear_register_tile, linear_tf32;
extern const Linear linear_onednn, linear_cublas, linear_cublas_tf32;
}  // namespace KERNEL_TARGET

template <>
std::span<const Linear> rows<Linear, KERNEL_TARGET::target>() {
  using namespace KERNEL_TARGET;
  static const Linear table[] = {
      linear_naive,       linear_warp,        linear_register_tile, linear_tf32,
#ifdef MOBILENET_ONEDNN
      linear_onednn,
#endif
#ifdef MOBILENET_SIMD
      simd_row<Linear>(),
#endif
#ifdef MOBILENET_CUBLAS
      linear_cublas,      linear_cublas_tf32,
#endif
  };
  return table;
}

}  // namespace kernels
