// Plain vector loops: a task takes an image.
#include "kernels/common/simd.h"
#include "kernels/global_avg_pool/global_avg_pool.h"

namespace kernels::cpu::SIMD_LEVEL {
namespace {

void forward(Context& context, const GlobalAvgPoolShape& s, const float* x, float* y) {
  parallel_for(context, s.batch, [=](int64_t image) {
    const float* from = x + image * s.positions * s.channels;
    each(0, s.channels, [=](auto v, int64_t c) {
      typename decltype(v)::Value sum = {}, a;
      for (int64_t p = 0; p < s.positions; ++p) {
        v.load(a, from + p * s.channels + c);
        sum += a;
      }
      v.store(y + image * s.channels + c, sum / static_cast<float>(s.positions));
    });
  });
}

void backward(Context& context, const GlobalAvgPoolShape& s, const float* dy, float* dx) {
  parallel_for(context, s.batch, [=](int64_t image) {
    float* to = dx + image * s.positions * s.channels;
    each(0, s.channels, [=](auto v, int64_t c) {
      typename decltype(v)::Value share;
      v.load(share, dy + image * s.channels + c);
      share /= static_cast<float>(s.positions);
      for (int64_t p = 0; p < s.positions; ++p) v.store(to + p * s.channels + c, share);
    });
  });
}

}  // namespace

template <>
const GlobalAvgPool& simd_row<GlobalAvgPool>() {
  static constexpr GlobalAvgPool row = {
      .name = "simd",
      .idea = "plain vector loops, a task an image",
      .provider = Provider::vendor,
      .supports = [](const GlobalAvgPoolShape&) { return true; },
      .workspace = [](const GlobalAvgPoolShape&) -> size_t { return 0; },
      .forward = forward,
      .backward = backward,
  };
  return row;
}

}  // namespace kernels::cpu::SIMD_LEVEL
