#include "kernels/augment/augment.h"
#include "kernels/common/target.h"

namespace kernels {

namespace KERNEL_TARGET {
extern const Augment augment_naive, augment_vectorised, augment_staged, augment_loop;
}

template <>
std::span<const Augment> rows<Augment, KERNEL_TARGET::target>() {
  using namespace KERNEL_TARGET;
  static const Augment table[] = {
      augment_naive,
      augment_vectorised,
      augment_staged,
#ifdef __SIMT__
      augment_loop,
#endif
  };
  return table;
}

}  // namespace kernels
