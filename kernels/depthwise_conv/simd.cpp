// Lines of the image in the cache, a vector of channels at a time: simd_lines.h.
#include "kernels/depthwise_conv/simd_lines.h"

namespace kernels::cpu::SIMD_LEVEL {
namespace {

void forward(Context& context, const DepthwiseConvShape& s, const float* x, const float* w, float* y) {
  const LinePlan p(s);
  parallel_for(context, p.tasks, [=](int64_t task) {
    const int64_t line = static_cast<int64_t>(s.width) * s.channels, Q = s.out_width();
    depthwise_forward_task(
        p, task, w,
        [=](int64_t n, int64_t i, const LineBlock& block, float* to) {
          copy_to_line(x + (n * s.height + i) * line, s.channels, s.width, block, block.pixel, to);
        },
        [=](int64_t row, const LineBlock& block, const float* from) {
          copy_from_line(from, s.channels, Q, block, y + row * Q * s.channels);
        });
  });
}

template <bool data, bool weight>
void backward(Context& context, const DepthwiseConvShape& s, const float* x, const float* dy, const float* w, float* dx,
              float* parts) {
  const LinePlan p(s);
  parallel_for(context, p.tasks, [=](int64_t task) {
    const int64_t line = static_cast<int64_t>(s.width) * s.channels;
    const int64_t P = s.out_height(), Q = s.out_width();
    depthwise_backward_task<data, weight>(
        p, task, w, parts + task * 9 * s.channels,
        [=](int64_t n, int64_t row, const LineBlock& block, float* to) {
          copy_to_line(dy + (n * P + row) * Q * s.channels, s.channels, Q, block, s.stride * block.pixel, to);
        },
        [=](int64_t n, int64_t i, const LineBlock& block, float* to) {
          copy_to_line(x + (n * s.height + i) * line, s.channels, s.width, block, block.pixel, to);
        },
        [=](int64_t n, int64_t i, const LineBlock& block, const float* from) {
          copy_from_line(from, s.channels, s.width, block, dx + (n * s.height + i) * line);
        });
  });
}

}  // namespace

template <>
const DepthwiseConv& simd_row<DepthwiseConv>() {
  static constexpr DepthwiseConv row = {
      .name = "simd",
      .idea = "lines of the image in the cache, a vector of channels at a time",
      .provider = Provider::vendor,
      .supports = [](const DepthwiseConvShape& s) { return LinePlan(s).fits(); },
      .workspace = [](const DepthwiseConvShape& s) -> size_t {
        return sizeof(float) * 9 * LinePlan(s).tasks * s.channels;
      },
      .forward = forward,
      .backward_data = [](Context& context, const DepthwiseConvShape& s, const float* dy, const float* w,
                          float* dx) { backward<true, false>(context, s, nullptr, dy, w, dx, nullptr); },
      .backward_weight =
          [](Context& context, const DepthwiseConvShape& s, const float* x, const float* dy, float* dw) {
            auto* parts = static_cast<float*>(context.workspace);
            backward<false, true>(context, s, x, dy, nullptr, nullptr, parts);
            add_weight_parts(context, LinePlan(s), parts, dw);
          },
  };
  return row;
}

}  // namespace kernels::cpu::SIMD_LEVEL
