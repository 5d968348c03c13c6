// oneDNN's inner product: on this layout a pointwise convolution is one.
#include "kernels/common/onednn.h"
#include "kernels/pointwise_conv/pointwise_conv.h"

namespace kernels::KERNEL_TARGET {
namespace {

void run(Context& context, onednn::Direction direction, const PointwiseConvShape& s,
         std::initializer_list<const void*> arrays) {
  const auto make = [&](const onednn::Library& library) {
    return onednn::product(library, direction, s.rows, s.in_channels, s.out_channels, false);
  };
  onednn::run(context, PointwiseConv::operation, {direction, s.rows, s.in_channels, s.out_channels}, make, arrays);
}

}  // namespace

extern const PointwiseConv pointwise_conv_onednn = {
    .name = "onednn",
    .idea = "oneDNN's inner product",
    .provider = Provider::vendor,
    .supports = [](const PointwiseConvShape&) { return true; },
    .workspace = [](const PointwiseConvShape&) -> size_t { return 0; },
    .forward =
        [](Context& context, const PointwiseConvShape& s, const float* x, const float* w, float* y) {
          run(context, onednn::forward, s, {x, w, y});
        },
    .backward_data =
        [](Context& context, const PointwiseConvShape& s, const float* dy, const float* w, float* dx) {
          run(context, onednn::backward_data, s, {dy, w, dx});
        },
    .backward_weight =
        [](Context& context, const PointwiseConvShape& s, const float* x, const float* dy, float* dw) {
          run(context, onednn::backward_weight, s, {x, dy, dw});
        },
    .forward_folded =
        [](Context& context, const PointwiseConvShape& s, const float* x, const float* w, const float* bias, float* y) {
          run(context, onednn::folded, s, {x, w, bias, y});
        },
};

}  // namespace kernels::KERNEL_TARGET
