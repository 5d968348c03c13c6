#include "kernels/common/simd_levels.h"
#include "kernels/common/target.h"
#include "kernels/global_avg_pool/global_avg_pool.h"

namespace kernels {

namespace KERNEL_TARGET {
extern const GlobalAvgPool global_avg_pool_naive, global_avg_pool_vectorised;
extern const GlobalAvgPool global_avg_pool_cudnn;
extern const GlobalAvgPoolOf<Bf16> global_avg_pool_naive_bf16, global_avg_pool_vectorised_bf16;
}  // namespace KERNEL_TARGET

template <>
std::span<const GlobalAvgPool> rows<GlobalAvgPool, KERNEL_TARGET::target>() {
  using namespace KERNEL_TARGET;
  static const GlobalAvgPool table[] = {
      global_avg_pool_naive,
      global_avg_pool_vectorised,
#ifdef MOBILENET_SIMD
      simd_row<GlobalAvgPool>(),
#endif
#ifdef MOBILENET_CUDNN
      global_avg_pool_cudnn,
#endif
  };
  return table;
}

template <>
std::span<const GlobalAvgPoolOf<Bf16>> rows<GlobalAvgPoolOf<Bf16>, KERNEL_TARGET::target>() {
  using namespace KERNEL_TARGET;
  static const GlobalAvgPoolOf<Bf16> table[] = {
      global_avg_pool_naive_bf16,
      global_avg_pool_vectorised_bf16,
#ifdef MOBILENET_SIMD
      simd_row<GlobalAvgPoolOf<Bf16>>(),
#endif
  };
  return table;
}

}  // namespace kernels
