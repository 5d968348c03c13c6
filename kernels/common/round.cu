// fp32 to bfloat16, for vendor products that read weights: an element a thread. The weights are small beside the
// activations of the same product.
#include "kernels/common/bf16.h"
#include "kernels/common/launch.h"

namespace kernels::KERNEL_TARGET {

__global__ void round_to_bf16_kernel(int64_t count, const float* x, Bf16* y) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) y[i] = to_bf16(x[i]);
}

void round_to_bf16(Context& context, int64_t count, const float* x, Bf16* y) {
  launch(context, round_to_bf16_kernel, ceil_div(count, 256), 256, 0, count, x, y);
}

}  // namespace kernels::KERNEL_TARGET
