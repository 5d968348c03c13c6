#include "kernels/common/simd_levels.h"
#include "kernels/common/target.h"
#include "kernels/pointwise_conv/pointwise_conv.h"

namespace kernels {

template <class T>
inline constexpr bool cpu::on_amx<PointwiseConvOf<T>> = true;

namespace KERNEL_TARGET {
extern const PointwiseConv pointwise_conv_naive, pointwise_conv_shared_tile, pointwise_conv_register_tile;
extern const PointwiseConv pointwise_conv_warp_tile, pointwise_conv_async, pointwise_conv_split_k, pointwise_conv_tf32;
extern const PointwiseConvOf<Bf16> pointwise_conv_naive_bf16, pointwise_conv_bf16;
extern const PointwiseConv pointwise_conv_onednn, pointwise_conv_cublas, pointwise_conv_cublas_tf32;
extern const PointwiseConv pointwise_conv_cudnn;
extern const PointwiseConvOf<Bf16> pointwise_conv_onednn_bf16, pointwise_conv_cublas_bf16, pointwise_conv_cudnn_bf16;
}  // namespace KERNEL_TARGET

template <>
std::span<const PointwiseConv> rows<PointwiseConv, KERNEL_TARGET::target>() {
  using namespace KERNEL_TARGET;
  static const PointwiseConv table[] = {
      pointwise_conv_naive,      pointwise_conv_shared_tile, pointwise_conv_register_tile, pointwise_conv_warp_tile,
      pointwise_conv_async,      pointwise_conv_split_k,     pointwise_conv_tf32,
#ifdef MOBILENET_ONEDNN
      pointwise_conv_onednn,
#endif
#ifdef MOBILENET_SIMD
      simd_row<PointwiseConv>(),
#endif
#ifdef MOBILENET_CUDNN
      pointwise_conv_cudnn,
#endif
#ifdef MOBILENET_CUBLAS
      pointwise_conv_cublas,     pointwise_conv_cublas_tf32,
#endif
  };
  return table;
}

template <>
std::span<const PointwiseConvOf<Bf16>> rows<PointwiseConvOf<Bf16>, KERNEL_TARGET::target>() {
  using namespace KERNEL_TARGET;
  static const PointwiseConvOf<Bf16> table[] = {
      pointwise_conv_naive_bf16,         pointwise_conv_bf16,
#ifdef MOBILENET_ONEDNN
      pointwise_conv_onednn_bf16,
#endif
#ifdef MOBILENET_SIMD
      simd_row<PointwiseConvOf<Bf16>>(),
#endif
#ifdef MOBILENET_CUDNN
      pointwise_conv_cudnn_bf16,
#endif
#ifdef MOBILENET_CUBLAS
      pointwise_conv_cublas_bf16,
#endif
  };
  return table;
}

}  // namespace kernels
