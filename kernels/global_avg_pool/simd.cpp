// Plain vector loops: a task takes an image.
#include "kernels/common/simd_norm.h"
#include "kernels/global_avg_pool/global_avg_pool.h"

namespace kernels::cpu::SIMD_LEVEL {
namespace {

template <class T>
void forward(Context& context, const GlobalAvgPoolShape& s, const T* x, float* y) {
  parallel_for(context, s.batch, [=](int64_t image) {
    const T* from = x + image * s.positions * s.channels;
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

template <class T>
void backward(Context& context, const GlobalAvgPoolShape& s, const float* dy, T* dx) {
  parallel_for(context, s.batch, [=](int64_t image) {
    T* to = dx + image * s.positions * s.channels;
    each(0, s.channels, [=](auto v, int64_t c) {
      typename decltype(v)::Value share;
      v.load(share, dy + image * s.channels + c);
      share /= static_cast<float>(s.positions);
      for (int64_t p = 0; p < s.positions; ++p) v.store(to + p * s.channels + c, share);
    });
  });
}

template <class T>
void forward_fused(Context& context, const GlobalAvgPoolShape& s, const T* x, const FusedNorm& norm, float* y) {
  parallel_for(context, s.batch, [=](int64_t image) {
    const T* from = x + image * s.positions * s.channels;
    each(0, s.channels, [=, &norm](auto v, int64_t c) {
      const Factors factors(v, norm, c);
      typename decltype(v)::Value sum = {}, a;
      for (int64_t p = 0; p < s.positions; ++p) {
        v.load(a, from + p * s.channels + c);
        factors.activate(a);
        sum += a;
      }
      v.store(y + image * s.channels + c, sum / static_cast<float>(s.positions));
    });
  });
}

// A task takes so many whole images that it sums over at least 32 rows.
int64_t images_of_task(const GlobalAvgPoolShape& s) {
  return larger(ceil_div(column_block, s.positions), ceil_div(s.batch, 64));
}
int64_t tasks_of(const GlobalAvgPoolShape& s) { return ceil_div(s.batch, images_of_task(s)); }

template <class T>
void backward_fused(Context& context, const GlobalAvgPoolShape& s, const T* x, const FusedNorm& norm, const float* dy,
                    T* du) {
  auto* const partials = static_cast<double*>(context.workspace);
  const int64_t C = s.channels, P = s.positions, images = images_of_task(s);
  parallel_for(context, tasks_of(s), [=](int64_t task) {
    const int64_t begin = task * images, end = smaller(begin + images, s.batch);
    for (int64_t image = begin; image < end; ++image)
      each(0, C, [=, &norm](auto v, int64_t c) {
        const Factors factors(v, norm, c);
        typename decltype(v)::Value share, a, g;
        v.load(share, dy + image * C + c);
        share /= static_cast<float>(P);
        for (int64_t p = image * P; p < (image + 1) * P; ++p) {
          v.load(a, x + p * C + c);
          g = share;
          factors.mask(a, g);
          v.store(du + p * C + c, g);
        }
      });
    set_zero(partials + task * 2 * C, 2 * C);
    add_gradients((end - begin) * P, 0, C, C, x + begin * P * C, du + begin * P * C, norm.mean,
                  partials + task * 2 * C);
  });
  finish_gradients(context, static_cast<int64_t>(s.batch) * P, tasks_of(s), C, partials, norm);
}

template <class T>
constexpr GlobalAvgPoolOf<T> row = {
    .name = "simd",
    .idea = "plain vector loops, a task an image",
    .provider = Provider::vendor,
    .supports = [](const GlobalAvgPoolShape&) { return true; },
    .workspace = [](const GlobalAvgPoolShape& s) { return sizeof(double) * 2 * tasks_of(s) * s.channels; },
    .forward = forward<T>,
    .backward = backward<T>,
    .forward_fused = forward_fused<T>,
    .backward_fused = backward_fused<T>,
};

}  // namespace

template <>
const GlobalAvgPool& simd_row<GlobalAvgPool>() {
  return row<float>;
}
template <>
const GlobalAvgPoolOf<Bf16>& simd_row<GlobalAvgPoolOf<Bf16>>() {
  return row<Bf16>;
}

}  // namespace kernels::cpu::SIMD_LEVEL
