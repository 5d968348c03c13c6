// Idea: one thread an output. Forward, neighbouring threads walk the positions of neighbouring channels, so each read
// of a warp is one run of memory.
#include "kernels/common/launch.h"
#include "kernels/global_avg_pool/global_avg_pool.h"

namespace kernels::KERNEL_TARGET {

template <class T>
__global__ void global_avg_pool_naive_forward(GlobalAvgPoolShape s, const T* x, float* y) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;  // n · C + c
  if (i >= static_cast<int64_t>(s.batch) * s.channels) return;
  const int64_t n = i / s.channels, c = i % s.channels;
  float sum = 0;
  for (int p = 0; p < s.positions; ++p) sum += to_float(x[(n * s.positions + p) * s.channels + c]);
  y[i] = sum / s.positions;
}

template <class T>
__global__ void global_avg_pool_naive_backward(GlobalAvgPoolShape s, const float* dy, T* dx) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;  // (n · P + p) · C + c
  if (i >= static_cast<int64_t>(s.batch) * s.positions * s.channels) return;
  const int64_t n = i / s.channels / s.positions, c = i % s.channels;
  dx[i] = from_float<T>(dy[n * s.channels + c] / s.positions);
}

template <class T>
static constexpr GlobalAvgPoolOf<T> naive_row = {
    .name = "naive",
    .idea = "one thread an output",
    .provider = Provider::native,
    .supports = [](const GlobalAvgPoolShape&) { return true; },
    .workspace = [](const GlobalAvgPoolShape&) -> size_t { return 0; },
    .forward =
        [](Context& context, const GlobalAvgPoolShape& s, const T* x, float* y) {
          launch(context, global_avg_pool_naive_forward<T>, ceil_div(static_cast<int64_t>(s.batch) * s.channels, 256),
                 256, 0, s, x, y);
        },
    .backward =
        [](Context& context, const GlobalAvgPoolShape& s, const float* dy, T* dx) {
          launch(context, global_avg_pool_naive_backward<T>,
                 ceil_div(static_cast<int64_t>(s.batch) * s.positions * s.channels, 256), 256, 0, s, dy, dx);
        },
};

extern const GlobalAvgPool global_avg_pool_naive = naive_row<float>;
extern const GlobalAvgPoolOf<Bf16> global_avg_pool_naive_bf16 = naive_row<Bf16>;

}  // namespace kernels::KERNEL_TARGET
