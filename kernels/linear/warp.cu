// Idea: one warp an output of the forward pass. Its lanes read neighbouring inputs, so loads are coalesced, and add up
// their shares with shuffles: 32 times the threads of the naive kernel, which with ten classes has too few to fill a
// GPU.
#include "kernels/common/launch.h"
#include "kernels/linear/linear.h"

namespace kernels::KERNEL_TARGET {

constexpr int linear_warp_threads = 256;

__global__ __launch_bounds__(linear_warp_threads) void linear_warp_forward(int rows, int in, int out, const float* x,
                                                                           const float* w, const float* b, float* y) {
  const int lane = threadIdx.x % 32;
  const int64_t output = static_cast<int64_t>(blockIdx.x) * (linear_warp_threads / 32) + threadIdx.x / 32;
  if (output >= static_cast<int64_t>(rows) * out) return;  // the whole warp
  const int64_t o = output % out;
  const float *x_row = x + output / out * in, *w_row = w + o * in;
  float sum = 0;
  for (int i = lane; i < in; i += 32) sum += x_row[i] * w_row[i];
  for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
  if (lane == 0) y[output] = b[o] + sum;
}

extern const Linear linear_warp = {
    .name = "warp",
    .idea = "one warp an output of the forward pass, its lanes' sums added by shuffles",
    .provider = Provider::native,
    .supports = [](const LinearShape&) { return true; },
    .workspace = [](const LinearShape&) -> size_t { return 0; },
    .forward =
        [](Context& context, const LinearShape& s, const float* x, const float* w, const float* b, float* y) {
          launch(context, linear_warp_forward, ceil_div(int64_t{s.rows} * s.out_features, linear_warp_threads / 32),
                 linear_warp_threads, 0, s.rows, s.in_features, s.out_features, x, w, b, y);
        },
    .backward_data = nullptr,  // its sums, over classes, and the weight gradient's, over rows, are short
    .backward_weight = nullptr,
};

}  // namespace kernels::KERNEL_TARGET
