// oneDNN: a convolution with as many groups as channels.
#include "kernels/common/onednn.h"
#include "kernels/depthwise_conv/depthwise_conv.h"

namespace kernels::KERNEL_TARGET {
namespace {

void run(Context& context, onednn::Direction direction, const DepthwiseConvShape& s,
         std::initializer_list<const void*> arrays) {
  const auto make = [&](const onednn::Library& library) {
    return onednn::convolution(library, direction, s.batch, s.height, s.width, s.channels, s.channels, s.channels,
                               s.stride, onednn::Layout::hwigo);
  };
  onednn::run(context, DepthwiseConv::operation, {direction, s.batch, s.height, s.width, s.channels, s.stride}, make,
              arrays);
}

}  // namespace

extern const DepthwiseConv depthwise_conv_onednn = {
    .name = "onednn",
    .idea = "oneDNN's convolution with a group a channel",
    .provider = Provider::vendor,
    // oneDNN 2.6 takes 1.3 ms for the weight gradient of 128 × 2×2×1024, seven times what `simd` takes.
    .supports = [](const DepthwiseConvShape& s) { return s.height * s.width > 4; },
    .workspace = [](const DepthwiseConvShape&) -> size_t { return 0; },
    .forward =
        [](Context& context, const DepthwiseConvShape& s, const float* x, const float* w, float* y) {
          run(context, onednn::forward, s, {x, w, y});
        },
    .backward_data =
        [](Context& context, const DepthwiseConvShape& s, const float* dy, const float* w, float* dx) {
          run(context, onednn::backward_data, s, {dy, w, dx});
        },
    .backward_weight =
        [](Context& context, const DepthwiseConvShape& s, const float* x, const float* dy, float* dw) {
          run(context, onednn::backward_weight, s, {x, dy, dw});
        },
    .forward_folded =
        [](Context& context, const DepthwiseConvShape& s, const float* x, const float* w, const float* bias, float* y) {
          run(context, onednn::folded, s, {x, w, bias, y});
        },
};

}  // namespace kernels::KERNEL_TARGET
