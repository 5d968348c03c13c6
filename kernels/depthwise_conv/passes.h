// The passes of a rung whose kernels are templates over prologues and epilogues (common/fused.h): plain and fused.
#pragma once

#include "kernels/depthwise_conv/weight_sums.h"

namespace kernels::KERNEL_TARGET {

// Rung has, for V channels a thread:
//   forward_slices, data_slices (shape, V)      the blocks that share a channel, each with its partial sums
//   weight_split (shape, V)                     how the weight gradient is cut
//   forward<T, Load, Store> (context, shape, V, x, norm_x, w, y, partials)
//   backward_data<T, Load, Store> (context, shape, V, dy or z, du_z, norm_z, w, x, norm_x, dx or du_x, partials)
//   backward_weight<T, LoadX, LoadDy> (context, shape, V, x, norm_x, dy or z, du_z, norm_z, partial)
// T: the type of the activations and of their gradients.
template <class Rung, class T>
constexpr DepthwiseConvOf<T> passes_of(const char* name, const char* idea,
                                       bool (*supports)(const DepthwiseConvShape&)) {
  return {
      .name = name,
      .idea = idea,
      .provider = Provider::native,
      .supports = supports,
      .workspace = [](const DepthwiseConvShape& s) -> size_t {
        return largest(s, [&](int V) {
          return std::max(
              partials_bytes(Rung::forward_slices(s, V), s.channels),
              partial_bytes(s, Rung::weight_split(s, V).slices) + partials_bytes(Rung::data_slices(s, V), s.channels));
        });
      },
      .forward =
          [](Context& context, const DepthwiseConvShape& s, const T* x, const float* w, T* y) {
            Rung::template forward<T, Plain, Bare>(context, s, vector_width(s, {x, w, y}), x, {}, w, y, {});
          },
      .backward_data =
          [](Context& context, const DepthwiseConvShape& s, const T* dy, const float* w, T* dx) {
            Rung::template backward_data<T, Plain, Bare>(context, s, vector_width(s, {dy, w, dx}), dy, nullptr, {}, w,
                                                         nullptr, {}, dx, {});
          },
      .backward_weight =
          [](Context& context, const DepthwiseConvShape& s, const T* x, const T* dy, float* dw) {
            const int V = vector_width(s, {x, dy});
            float* partial = static_cast<float*>(context.workspace);
            Rung::template backward_weight<T, Plain, Plain>(context, s, V, x, {}, dy, nullptr, {}, partial);
            add_partial_weights(context, s.channels, Rung::weight_split(s, V).slices, partial, dw);
          },
      .forward_fused =
          [](Context& context, const DepthwiseConvShape& s, const T* x, const FusedNorm& norm_x, const float* w, T* z,
             const FusedNorm& norm_z) {
            const int V = vector_width(s, {x, w, z}, {norm_x}), slices = Rung::forward_slices(s, V);
            const Partials partials = partials_at(context.workspace, slices, s.channels);
            Rung::template forward<T, Activated, Counted>(context, s, V, x, norm_x, w, z, partials);
            const int64_t rows = int64_t{s.batch} * s.out_height() * s.out_width();
            fused_finish_statistics(context, rows, s.channels, slices, partials, norm_z);
          },
      .backward_fused =
          [](Context& context, const DepthwiseConvShape& s, const T* x, const FusedNorm& norm_x, const float* w,
             const T* z, const FusedNorm& norm_z, const T* du_z, T* du_x, float* dw) {
            const int V = vector_width(s, {x, w, z, du_z, du_x}, {norm_x, norm_z});
            const int slices = Rung::data_slices(s, V), weight_slices = Rung::weight_split(s, V).slices;
            const int64_t weights = 9 * int64_t{s.channels};
            float* partial = static_cast<float*>(context.workspace);  // of dw; the norm's come behind them
            const Partials partials = partials_at(partial + weights * weight_slices, slices, s.channels);
            Rung::template backward_data<T, Gradient, Masked>(context, s, V, z, du_z, norm_z, w, x, norm_x, du_x,
                                                              partials);
            Rung::template backward_weight<T, Activated, Gradient>(context, s, V, x, norm_x, z, du_z, norm_z, partial);
            fused_finish_gradients(context, int64_t{s.batch} * s.height * s.width, s.channels, slices, partials, norm_x,
                                   {weights, weight_slices, partial, dw});
          },
      .forward_folded =
          [](Context& context, const DepthwiseConvShape& s, const T* x, const float* w, const float* bias, T* y) {
            Rung::template forward<T, Plain, Folded>(context, s, vector_width(s, {x, w, bias, y}), x, {.bias = bias}, w,
                                                     y, {});
          },
  };
}

}  // namespace kernels::KERNEL_TARGET
