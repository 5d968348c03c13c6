// Plain vector loops.
#include "kernels/common/simd.h"
#include "kernels/relu6/relu6.h"

namespace kernels::cpu::SIMD_LEVEL {
namespace {

template <class T>
void forward(Context& context, const Relu6Shape& s, const T* x, T* y) {
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

template <class T>
void backward(Context& context, const Relu6Shape& s, const T* x, const T* dy, T* dx) {
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

template <class T>
constexpr Relu6Of<T> row = {
    .name = "simd",
    .idea = "plain vector loops",
    .provider = Provider::vendor,
    .supports = [](const Relu6Shape&) { return true; },
    .workspace = [](const Relu6Shape&) -> size_t { return 0; },
    .forward = forward<T>,
    .backward = backward<T>,
};

}  // namespace

template <>
const Relu6& simd_row<Relu6>() {
  return row<float>;
}
template <>
const Relu6Of<Bf16>& simd_row<Relu6Of<Bf16>>() {
  return row<Bf16>;
}

}  // namespace kernels::cpu::SIMD_LEVEL
