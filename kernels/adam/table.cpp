#include "kernels/adam/adam.h"
#include "kernels/common/simd_levels.h"
#include "kernels/common/target.h"

namespace kernels {

namespace KERNEL_TARGET {
extern const Adam adam_naive, adam_vectorised;
}

template <>
std::span<const Adam> rows<Adam, KERNEL_TARGET::target>() {
  using namespace KERNEL_TARGET;
  static const Adam table[] = {
      adam_naive,
      adam_vectorised,
#ifdef MOBILENET_SIMD
      simd_row<Adam>(),
#endif
  };
  return table;
}

}  // namespace kernels
