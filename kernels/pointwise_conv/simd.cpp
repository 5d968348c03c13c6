// The matrix product on vectors (common/simd_product.h): a tile of y in registers, the weights packed.
#include "kernels/common/simd_product.h"
#include "kernels/pointwise_conv/pointwise_conv.h"

namespace kernels::cpu::SIMD_LEVEL {
namespace {

size_t workspace(const PointwiseConvShape& s) {
  const int64_t forward = packed_size(s.in_channels, s.out_channels), data = packed_size(s.out_channels, s.in_channels);
  const size_t packed = static_cast<size_t>(larger(forward, data)) * sizeof(float);
  const size_t partials = SplitProduct(s.out_channels, s.in_channels, s.rows).workspace();
  return packed > partials ? packed : partials;
}

void forward(Context& context, const PointwiseConvShape& s, const float* x, const float* w, float* y) {
  auto* packed = static_cast<float*>(context.workspace);
  pack(context, Order::transposed, s.in_channels, s.out_channels, w, s.in_channels, packed);
  multiply(context, s.rows, s.in_channels, s.out_channels, x, packed, y);
}

void backward_data(Context& context, const PointwiseConvShape& s, const float* dy, const float* w, float* dx) {
  auto* packed = static_cast<float*>(context.workspace);
  pack(context, Order::rows, s.out_channels, s.in_channels, w, s.in_channels, packed);
  multiply(context, s.rows, s.out_channels, s.in_channels, dy, packed, dx);
}

void backward_weight(Context& context, const PointwiseConvShape& s, const float* x, const float* dy, float* dw) {
  multiply_transposed(context, SplitProduct(s.out_channels, s.in_channels, s.rows), dy, x, dw);
}

}  // namespace

template <>
const PointwiseConv& simd_row<PointwiseConv>() {
  static constexpr PointwiseConv row = {
      .name = "simd",
      .idea = "a tile of the product in vector registers, the weights packed",
      .provider = Provider::vendor,
      .supports = [](const PointwiseConvShape&) { return true; },
      .workspace = workspace,
      .forward = forward,
      .backward_data = backward_data,
      .backward_weight = backward_weight,
  };
  return row;
}

}  // namespace kernels::cpu::SIMD_LEVEL
