// Idea: one thread an element. Bound by memory: 8 bytes in and 4 out for one addition.
#include "kernels/add/add.h"
#include "kernels/common/launch.h"

namespace kernels::KERNEL_TARGET {

__global__ void add_naive_forward(int64_t count, const float* a, const float* b, float* y) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) y[i] = a[i] + b[i];
}

extern const Add add_naive = {
    .name = "naive",
    .idea = "one thread an element",
    .provider = Provider::native,
    .supports = [](const AddShape&) { return true; },
    .workspace = [](const AddShape&) -> size_t { return 0; },
    .forward = [](Context& context, const AddShape& s, const float* a, const float* b,
                  float* y) { launch(context, add_naive_forward, ceil_div(s.count, 256), 256, 0, s.count, a, b, y); },
};

}  // namespace kernels::KERNEL_TARGET
