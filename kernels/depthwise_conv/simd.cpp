// Lines of the image in the cache, a vector of channels at a time: simd_lines.h. The fused passes rebuild a and dz as
// they fill a line, and sum over a line that they have just written.
#include "kernels/depthwise_conv/simd_lines.h"

#include "kernels/common/simd_norm.h"

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

void forward_folded(Context& context, const DepthwiseConvShape& s, const float* x, const float* w, const float* bias,
                    float* y) {
  const LinePlan p(s);
  parallel_for(context, p.tasks, [=](int64_t task) {
    const int64_t line = static_cast<int64_t>(s.width) * s.channels, Q = s.out_width();
    depthwise_forward_task(
        p, task, w,
        [=](int64_t n, int64_t i, const LineBlock& block, float* to) {
          copy_to_line(x + (n * s.height + i) * line, s.channels, s.width, block, block.pixel, to);
        },
        [=](int64_t row, const LineBlock& block, const float* from) {
          float* const to = y + row * Q * s.channels;
          copy_from_line(from, s.channels, Q, block, to);
          fold_rows(bias, Q, block.first, block.first + block.count, s.channels, to);
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

// In the workspace: two sums a task and channel, then the tasks' parts of dw.
size_t partial_floats(const LinePlan& p) { return 4 * static_cast<size_t>(p.tasks) * p.s.channels; }
size_t workspace(const DepthwiseConvShape& s) {
  const LinePlan p(s);
  return sizeof(float) * (partial_floats(p) + 9 * static_cast<size_t>(p.tasks) * s.channels);
}

void forward_fused(Context& context, const DepthwiseConvShape& s, const float* x, const FusedNorm& norm_x,
                   const float* w, float* z, const FusedNorm& norm_z) {
  const LinePlan p(s);
  const int64_t C = s.channels, W = s.width, H = s.height, Q = s.out_width();
  if (p.rows * Q < 2) fail(one_value);
  auto* const partials = static_cast<double*>(context.workspace);
  parallel_for(context, p.tasks, [=](int64_t task) {
    double* const sums = partials + task * 2 * C;
    const float* first = z + task * p.rows_per_task * Q * C;
    set_zero(sums, 2 * C);
    depthwise_forward_task(
        p, task, w,
        [&](int64_t n, int64_t i, const LineBlock& b, float* to) {
          activate_rows(norm_x, W, b.first, b.first + b.count, C, x + (n * H + i) * W * C, b.pixel, to);
        },
        [&](int64_t row, const LineBlock& b, const float* line) {
          copy_from_line(line, C, Q, b, z + row * Q * C);
          add_statistics(Q, b.first, b.first + b.count, C, z + row * Q * C, first, sums);
        });
  });
  finish_statistics(context, {p.rows * Q, p.rows_per_task * Q}, C, z, partials, norm_z);
}

// Both gradients at once: they need the same lines of dz, and the lines of a lie beside the u that masks.
void backward_fused(Context& context, const DepthwiseConvShape& s, const float* x, const FusedNorm& norm_x,
                    const float* w, const float* z, const FusedNorm& norm_z, const float* du_z, float* du_x,
                    float* dw) {
  const LinePlan p(s);
  const int64_t C = s.channels, W = s.width, H = s.height, P = s.out_height(), Q = s.out_width();
  auto* const partials = static_cast<double*>(context.workspace);
  float* const parts = static_cast<float*>(context.workspace) + partial_floats(p);
  parallel_for(context, p.tasks, [=](int64_t task) {
    double* const sums = partials + task * 2 * C;
    set_zero(sums, 2 * C);
    depthwise_backward_task<true, true>(
        p, task, w, parts + task * 9 * C,
        [&](int64_t n, int64_t row, const LineBlock& b, float* to) {
          const int64_t at = (n * P + row) * Q * C;
          gradient_rows(norm_z, Q, b.first, b.first + b.count, C, z + at, du_z + at, p.s.stride * b.pixel, to);
        },
        [&](int64_t n, int64_t i, const LineBlock& b, float* to) {
          activate_rows(norm_x, W, b.first, b.first + b.count, C, x + (n * H + i) * W * C, b.pixel, to);
        },
        [&](int64_t n, int64_t i, const LineBlock& b, const float* line) {
          const int64_t at = (n * H + i) * W * C;
          mask_rows(norm_x, W, b.first, b.first + b.count, C, x + at, b.pixel, line, du_x + at, sums);
        });
  });
  finish_gradients(context, static_cast<int64_t>(s.batch) * H * W, p.tasks, C, partials, norm_x);
  add_weight_parts(context, p, parts, dw);
}

}  // namespace

template <>
const DepthwiseConv& simd_row<DepthwiseConv>() {
  static constexpr DepthwiseConv row = {
      .name = "simd",
      .idea = "lines of the image in the cache, a vector of channels at a time",
      .provider = Provider::vendor,
      .supports = [](const DepthwiseConvShape& s) { return LinePlan(s).fits(); },
      .workspace = workspace,
      .forward = forward,
      .backward_data = [](Context& context, const DepthwiseConvShape& s, const float* dy, const float* w,
                          float* dx) { backward<true, false>(context, s, nullptr, dy, w, dx, nullptr); },
      .backward_weight =
          [](Context& context, const DepthwiseConvShape& s, const float* x, const float* dy, float* dw) {
            auto* parts = static_cast<float*>(context.workspace);
            backward<false, true>(context, s, x, dy, nullptr, nullptr, parts);
            add_weight_parts(context, LinePlan(s), parts, dw);
          },
      .forward_fused = forward_fused,
      .backward_fused = backward_fused,
      .forward_folded = forward_folded,
  };
  return row;
}

}  // namespace kernels::cpu::SIMD_LEVEL
