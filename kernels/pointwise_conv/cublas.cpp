// cuBLAS: on this layout a pointwise convolution is a matrix product.
#include "kernels/common/cublas.h"
#include "kernels/pointwise_conv/pointwise_conv.h"

namespace kernels::KERNEL_TARGET {

extern const PointwiseConv pointwise_conv_cublas = {
    .name = "cublas",
    .idea = "cuBLAS's fp32 product",
    .provider = Provider::vendor,
    .supports = [](const PointwiseConvShape&) { return true; },
    .workspace = [](const PointwiseConvShape&) -> size_t { return 0; },
    .forward =
        [](Context& context, const PointwiseConvShape& s, const float* x, const float* w, float* y) {
          cublas::forward(cublas::library(context), s.rows, s.in_channels, s.out_channels, x, w, 0, y);
        },
    .backward_data =
        [](Context& context, const PointwiseConvShape& s, const float* dy, const float* w, float* dx) {
          cublas::backward_data(cublas::library(context), s.rows, s.in_channels, s.out_channels, dy, w, dx);
        },
    .backward_weight =
        [](Context& context, const PointwiseConvShape& s, const float* x, const float* dy, float* dw) {
          cublas::backward_weight(cublas::library(context), s.rows, s.in_channels, s.out_channels, x, dy, dw);
        },
};

}  // namespace kernels::KERNEL_TARGET
