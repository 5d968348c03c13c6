#include "kernels/common/simd_levels.h"
#include "kernels/common/target.h"
#include "kernels/relu6/relu6.h"

namespace kernels {

namespace KERNEL_TARGET {
extern const Relu6 relu6_naive, relu6_vectorised;
extern const Relu6 relu6_cudnn;
extern const Relu6Of<Bf16> relu6_naive_bf16, relu6_vectorised_bf16;
}  // namespace KERNEL_TARGET

template <>
std::span<const Relu6> rows<Relu6, KERNEL_TARGET::target>() {
  using namespace KERNEL_TARGET;
  static const Relu6 table[] = {
      relu6_naive,
      relu6_vectorised,
#ifdef MOBILENET_SIMD
      simd_row<Relu6>(),
#endif
#ifdef MOBILENET_CUDNN
      relu6_cudnn,
#endif
  };
  return table;
}

template <>
std::span<const Relu6Of<Bf16>> rows<Relu6Of<Bf16>, KERNEL_TARGET::target>() {
  using namespace KERNEL_TARGET;
  static const Relu6Of<Bf16> table[] = {
      relu6_naive_bf16,
      relu6_vectorised_bf16,
#ifdef MOBILENET_SIMD
      simd_row<Relu6Of<Bf16>>(),
#endif
  };
  return table;
}

}  // namespace kernels
