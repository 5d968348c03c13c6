// oneDNN's inner product: on this layout a pointwise convolution is one.
#include <algorithm>

#include "kernels/common/fused_passes.h"
#include "kernels/common/onednn.h"
#include "kernels/common/simd_levels.h"
#include "kernels/pointwise_conv/pointwise_conv.h"

namespace kernels::KERNEL_TARGET {
namespace {

void run(Context& context, onednn::Direction direction, const PointwiseConvShape& s,
         std::initializer_list<const void*> arrays, onednn::memory::data_type type = onednn::f32) {
  const auto make = [&](const onednn::Library& library) {
    return onednn::product(library, direction, s.rows, s.in_channels, s.out_channels, false, type);
  };
  onednn::run(context, PointwiseConv::operation,
              {direction, s.rows, s.in_channels, s.out_channels, static_cast<int64_t>(type)}, make, arrays);
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

// In bfloat16, for processors with AMX, whose matrix units are made for it. A product of a library knows
// nothing of batch norm, so the fused passes make a and dz before it, and the sums after it.
namespace {

const FusedPasses& around() { return simd_row<FusedPasses>(); }

// The workspace: partial sums, a (M, Cin), dz (M, Cout).
struct Plan {
  size_t a, dz, bytes;  // where they begin
  explicit Plan(const PointwiseConvShape& s) {
    const auto end = [](size_t bytes) { return (bytes + 63) / 64 * 64; };
    a = end(around().partial_bytes(s.rows, std::max(s.in_channels, s.out_channels)));
    dz = a + end(sizeof(Bf16) * s.rows * s.in_channels);
    bytes = dz + sizeof(Bf16) * s.rows * s.out_channels;
  }
  Bf16* array(const Context& context, size_t begin) const {
    return reinterpret_cast<Bf16*>(static_cast<char*>(context.workspace) + begin);
  }
};

}  // namespace

extern const PointwiseConvOf<Bf16> pointwise_conv_onednn_bf16 = {
    .name = "onednn",
    .idea = "oneDNN's inner product of bfloat16",
    .provider = Provider::vendor,
    .supports = [](const PointwiseConvShape&) { return onednn::has_bf16(); },
    .workspace = [](const PointwiseConvShape& s) { return Plan(s).bytes; },
    .forward =
        [](Context& context, const PointwiseConvShape& s, const Bf16* x, const float* w, Bf16* y) {
          run(context, onednn::forward, s, {x, w, y}, onednn::bf16);
        },
    .backward_data =
        [](Context& context, const PointwiseConvShape& s, const Bf16* dy, const float* w, Bf16* dx) {
          run(context, onednn::backward_data, s, {dy, w, dx}, onednn::bf16);
        },
    .backward_weight =
        [](Context& context, const PointwiseConvShape& s, const Bf16* x, const Bf16* dy, float* dw) {
          run(context, onednn::backward_weight, s, {x, dy, dw}, onednn::bf16);
        },
    .forward_fused =
        [](Context& context, const PointwiseConvShape& s, const Bf16* x, const FusedNorm& norm_x, const float* w,
           Bf16* z, const FusedNorm& norm_z) {
          const Plan plan(s);
          Bf16* const a = plan.array(context, plan.a);
          around().activate(context, s.rows, s.in_channels, x, norm_x, a);
          run(context, onednn::forward, s, {a, w, z}, onednn::bf16);
          around().statistics(context, s.rows, s.out_channels, z, norm_z, static_cast<double*>(context.workspace));
        },
    .backward_fused =
        [](Context& context, const PointwiseConvShape& s, const Bf16* x, const FusedNorm& norm_x, const float* w,
           const Bf16* z, const FusedNorm& norm_z, const Bf16* du_z, Bf16* du_x, float* dw) {
          const Plan plan(s);
          Bf16 *const a = plan.array(context, plan.a), *const dz = plan.array(context, plan.dz);
          around().activate(context, s.rows, s.in_channels, x, norm_x, a);
          around().gradient(context, s.rows, s.out_channels, z, du_z, norm_z, dz);
          run(context, onednn::backward_weight, s, {a, dz, dw}, onednn::bf16);
          run(context, onednn::backward_data, s, {dz, w, du_x}, onednn::bf16);
          around().mask(context, s.rows, s.in_channels, x, du_x, norm_x, static_cast<double*>(context.workspace));
        },
    .forward_folded =
        [](Context& context, const PointwiseConvShape& s, const Bf16* x, const float* w, const float* bias, Bf16* y) {
          run(context, onednn::folded, s, {x, w, bias, y}, onednn::bf16);
        },
    .precision = Precision::bf16,
};

}  // namespace kernels::KERNEL_TARGET
