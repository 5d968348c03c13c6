// A plain vector loop.
#include "kernels/common/simd.h"
#include "kernels/add/add.h"

namespace kernels::cpu::SIMD_LEVEL {
namespace {

void forward(Context& context, const AddShape& s, const float* a, const float* b, float* y) {
  parallel_pieces(context, s.count, piece, [=](int64_t begin, int64_t end) {
    each(begin, end, [=](auto v, int64_t i) {
      typename decltype(v)::Value p, q;
      v.load(p, a + i);
      v.load(q, b + i);
      v.store(y + i, p + q);
    });
  });
}

}  // namespace

template <>
const Add& simd_row<Add>() {
  static constexpr Add row = {
      .name = "simd",
      .idea = "a plain vector loop",
      .provider = Provider::vendor,
      .supports = [](const AddShape&) { return true; },
      .workspace = [](const AddShape&) -> size_t { return 0; },
      .forward = forward,
  };
  return row;
}

}  // namespace kernels::cpu::SIMD_LEVEL
