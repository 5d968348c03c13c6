// Idea: 16 bytes an access: four channels a thread. Backward, a thread reads its gradients once and writes them to
// every position, where naive read and divided anew for each.
#include "kernels/common/floats.h"
#include "kernels/common/launch.h"
#include "kernels/global_avg_pool/global_avg_pool.h"

namespace kernels::KERNEL_TARGET {

constexpr int global_avg_pool_block = 128;

template <int V>
__global__ void __launch_bounds__(global_avg_pool_block)
    global_avg_pool_vectorised_forward(GlobalAvgPoolShape s, const float* __restrict__ x, float* __restrict__ y) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * global_avg_pool_block + threadIdx.x;  // (n · C + c) / V
  if (i * V >= static_cast<int64_t>(s.batch) * s.channels) return;
  const int64_t n = i * V / s.channels, c = i * V % s.channels;
  const float* p = x + n * s.positions * s.channels + c;
  auto sum = Floats<V>::zero(), mean = Floats<V>::zero();
#pragma unroll 4
  for (int position = 0; position < s.positions; ++position, p += s.channels) sum.add(Floats<V>::load(p));
  mean.multiply_add(1.0f / s.positions, sum);
  mean.store(y + i * V);
}

template <int V>
__global__ void __launch_bounds__(global_avg_pool_block)
    global_avg_pool_vectorised_backward(GlobalAvgPoolShape s, const float* __restrict__ dy, float* __restrict__ dx) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * global_avg_pool_block + threadIdx.x;  // (n · C + c) / V
  if (i * V >= static_cast<int64_t>(s.batch) * s.channels) return;
  const int64_t n = i * V / s.channels, c = i * V % s.channels;
  auto gradient = Floats<V>::zero();
  gradient.multiply_add(1.0f / s.positions, Floats<V>::load(dy + i * V));
  float* p = dx + n * s.positions * s.channels + c;
  for (int position = 0; position < s.positions; ++position, p += s.channels) gradient.store(p);
}

// V: 4, or 1 where the channels or a pointer do not allow 16-byte accesses.
template <int V>
void global_avg_pool_forward(Context& context, const GlobalAvgPoolShape& s, const float* x, float* y) {
  launch(context, global_avg_pool_vectorised_forward<V>,
         ceil_div(static_cast<int64_t>(s.batch) * s.channels, V * global_avg_pool_block), global_avg_pool_block, 0, s,
         x, y);
}
template <int V>
void global_avg_pool_backward(Context& context, const GlobalAvgPoolShape& s, const float* dy, float* dx) {
  launch(context, global_avg_pool_vectorised_backward<V>,
         ceil_div(static_cast<int64_t>(s.batch) * s.channels, V * global_avg_pool_block), global_avg_pool_block, 0, s,
         dy, dx);
}

extern const GlobalAvgPool global_avg_pool_vectorised = {
    .name = "vectorised",
    .idea = "four channels a thread: 16 bytes an access",
    .provider = Provider::native,
    .supports = [](const GlobalAvgPoolShape&) { return true; },
    .workspace = [](const GlobalAvgPoolShape&) -> size_t { return 0; },
    .forward =
        [](Context& context, const GlobalAvgPoolShape& s, const float* x, float* y) {
          const bool four = s.channels % 4 == 0 && all_aligned({x, y});
          (four ? global_avg_pool_forward<4> : global_avg_pool_forward<1>)(context, s, x, y);
        },
    .backward =
        [](Context& context, const GlobalAvgPoolShape& s, const float* dy, float* dx) {
          const bool four = s.channels % 4 == 0 && all_aligned({dy, dx});
          (four ? global_avg_pool_backward<4> : global_avg_pool_backward<1>)(context, s, dy, dx);
        },
};

}  // namespace kernels::KERNEL_TARGET
