#include "kernels/add/add.h"
#include "kernels/common/simd_levels.h"
#include "kernels/common/target.h"

namespace kernels {

namespace KERNEL_TARGET {
extern const Add add_naive, add_vectorised;
}

template <>
std::span<const Add> rows<Add, KERNEL_TARGET::target>() {
  using namespace KERNEL_TARGET;
  static const Add table[] = {
      add_naive,
      add_vectorised,
#ifdef MOBILENET_SIMD
      simd_row<Add>(),
#endif
  };
  return table;
}

}  // namespace kernels
