// oneDNN's convolution.
#include "kernels/common/onednn.h"
#include "kernels/conv2d/conv2d.h"

namespace kernels::KERNEL_TARGET {
namespace {

void run(Context& context, onednn::Direction direction, const Conv2dShape& s,
         std::initializer_list<const void*> arrays) {
  const auto make = [&](const onednn::Library& library) {
    return onednn::convolution(library, direction, s.batch, s.height, s.width, s.in_channels, s.out_channels, 1,
                               s.stride, onednn::Layout::ohwi);
  };
  onednn::run(context, Conv2d::operation,
              {direction, s.batch, s.height, s.width, s.in_channels, s.out_channels, s.stride}, make, arrays);
}

}  // namespace

extern const Conv2d conv2d_onednn = {
    .name = "onednn",
    .idea = "oneDNN's convolution",
    .provider = Provider::vendor,
    .supports = [](const Conv2dShape&) { return true; },
    .workspace = [](const Conv2dShape&) -> size_t { return 0; },
    .forward =
        [](Context& context, const Conv2dShape& s, const float* x, const float* w, float* y) {
          run(context, onednn::forward, s, {x, w, y});
        },
    .backward_data =
        [](Context& context, const Conv2dShape& s, const float* dy, const float* w, float* dx) {
          run(context, onednn::backward_data, s, {dy, w, dx});
        },
    .backward_weight =
        [](Context& context, const Conv2dShape& s, const float* x, const float* dy, float* dw) {
          run(context, onednn::backward_weight, s, {x, dy, dw});
        },
    .forward_folded =
        [](Context& context, const Conv2dShape& s, const float* x, const float* w, const float* bias, float* y) {
          run(context, onednn::folded, s, {x, w, bias, y});
        },
};

}  // namespace kernels::KERNEL_TARGET
