// Plain vector loops.
#include "kernels/common/simd.h"
#include "kernels/relu6/relu6.h"

namespace kernels::cpu::SIMD_LEVEL {
namespace {

void forward(Context& context, const Relu6Shape& s, const float* x, float* y) {
  parallel_pieces(context, s.count, piece, [=](int64_t begin, int64_t end) {
    each(begin, end, [=](auto v, int64_t i) {
      typename decltype(v)::Value a, zero = {}, six = zero + 6;
      v.load(a, x + i);
      a = a < zero ? zero : a;  // NaN stays
      a = a > six ? six : a;
      v.store(y + i, a);
    });
  });
}

void backward(Context& context, const Relu6Shape& s, const float* x, const float* dy, float* dx) {
  parallel_pieces(context, s.count, piece, [=](int64_t begin, int64_t end) {
    each(begin, end, [=](auto v, int64_t i) {
      typename decltype(v)::Value a, g, zero = {}, six = zero + 6;
      v.load(a, x + i);
      v.load(g, dy + i);
      g = a > zero ? g : zero;
      g = a < six ? g : zero;
      v.store(dx + i, g);
    });
  });
}

}  // namespace

template <>
const Relu6& simd_row<Relu6>() {
  static constexpr Relu6 row = {
      .name = "simd",
      .idea = "plain vector loops",
      .provider = Provider::vendor,
      .supports = [](const Relu6Shape&) { return true; },
      .workspace = [](const Relu6Shape&) -> size_t { return 0; },
      .forward = forward,
      .backward = backward,
  };
  return row;
}

}  // namespace kernels::cpu::SIMD_LEVEL
