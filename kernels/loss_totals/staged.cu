// Idea: a block brings the losses into shared memory, all at once, and counts the answers on the way; one thread then
// adds the losses up in their order. Should wait for memory once, not every few losses.
#include "kernels/loss_totals/totals.h"

namespace kernels::KERNEL_TARGET {

constexpr int loss_totals_block = 128;

__global__ void __launch_bounds__(loss_totals_block)
    loss_totals_staged(int batch, const float* __restrict__ losses, const int32_t* __restrict__ correct,
                       const float* __restrict__ mean_loss, TrainingTotals* totals, float* guard) {
  __shared__ float part[loss_totals_block];
  __shared__ int right;  // a batch's images are an int
  if (threadIdx.x == 0) right = 0;
  double sum = 0;
  int mine = 0;
  for (int first = 0; first < batch; first += loss_totals_block) {
    const int n = first + threadIdx.x;
    if (n < batch) part[threadIdx.x] = losses[n], mine += correct[n];
    __syncthreads();
    if (threadIdx.x == 0) {
      const int count = batch - first < loss_totals_block ? batch - first : loss_totals_block;
#pragma unroll 8
      for (int i = 0; i < count; ++i) sum += part[i];
    }
    __syncthreads();
  }
  atomicAdd(&right, mine);  // of integers: the same in any order
  __syncthreads();
  if (threadIdx.x == 0) *guard = add_step(*totals, sum, right, *mean_loss);
}

extern const LossTotals loss_totals_staged_row = {
    .name = "staged",
    .idea = "a block loads the losses, one thread adds them up",
    .provider = Provider::native,
    .supports = [](const LossTotalsShape&) { return true; },
    .workspace = [](const LossTotalsShape&) -> size_t { return 0; },
    .add =
        [](Context& context, const LossTotalsShape& s, const float* losses, const int32_t* correct,
           const float* mean_loss, TrainingTotals* totals, float* guard) {
          launch(context, loss_totals_staged, 1, loss_totals_block, 0, s.batch, losses, correct, mean_loss, totals,
                 guard);
        },
};

}  // namespace kernels::KERNEL_TARGET
