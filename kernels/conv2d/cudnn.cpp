// cuDNN's convolution.
#include "kernels/common/cudnn.h"
#include "kernels/conv2d/conv2d.h"

namespace kernels::KERNEL_TARGET {
namespace {

cudnn::Shape shape(const Conv2dShape& s) {
  return {s.batch, s.height, s.width, s.in_channels, s.out_channels, 1, s.stride};
}

}  // namespace

extern const Conv2d conv2d_cudnn = {
    .name = "cudnn",
    .idea = "cuDNN's convolution",
    .provider = Provider::vendor,
    .supports = [](const Conv2dShape&) { return true; },
    .workspace = [](const Conv2dShape&) { return cudnn::scratch_bytes; },
    .forward = [](Context& context, const Conv2dShape& s, const float* x, const float* w,
                  float* y) { cudnn::forward(cudnn::library(context), shape(s), x, w, y, context.workspace); },
    .backward_data =
        [](Context& context, const Conv2dShape& s, const float* dy, const float* w, float* dx) {
          cudnn::backward_data(cudnn::library(context), shape(s), dy, w, dx, context.workspace);
        },
    .backward_weight =
        [](Context& context, const Conv2dShape& s, const float* x, const float* dy, float* dw) {
          cudnn::backward_weight(cudnn::library(context), shape(s), x, dy, dw, context.workspace);
        },
    .forward_folded =
        [](Context& context, const Conv2dShape& s, const float* x, const float* w, const float* bias, float* y) {
          cudnn::forward_folded(cudnn::library(context), shape(s), x, w, bias, y, context.workspace);
        },
};

}  // namespace kernels::KERNEL_TARGET
