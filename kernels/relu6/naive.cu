// Idea: one thread an element. Bound by memory: 4 bytes in and 4 out (8 in and 4 out backward) for one comparison or
// two.
#include "kernels/common/launch.h"
#include "kernels/relu6/relu6.h"

namespace kernels::KERNEL_TARGET {

__global__ void relu6_naive_forward(int64_t count, const float* x, float* y) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const float v = x[i];
  y[i] = v < 0 ? 0.0f : v > 6 ? 6.0f : v;  // not fminf and fmaxf, which would turn NaN into a number
}

__global__ void relu6_naive_backward(int64_t count, const float* x, const float* dy, float* dx) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) dx[i] = x[i] > 0 && x[i] < 6 ? dy[i] : 0.0f;
}

extern const Relu6 relu6_naive = {
    .name = "naive",
    .idea = "one thread an element",
    .provider = Provider::native,
    .supports = [](const Relu6Shape&) { return true; },
    .workspace = [](const Relu6Shape&) -> size_t { return 0; },
    .forward = [](Context& context, const Relu6Shape& s, const float* x,
                  float* y) { launch(context, relu6_naive_forward, ceil_div(s.count, 256), 256, 0, s.count, x, y); },
    .backward =
        [](Context& context, const Relu6Shape& s, const float* x, const float* dy, float* dx) {
          launch(context, relu6_naive_backward, ceil_div(s.count, 256), 256, 0, s.count, x, dy, dx);
        },
};

}  // namespace kernels::KERNEL_TARGET
