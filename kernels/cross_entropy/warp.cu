// Idea: one warp a row. The lanes read a row side by side, in runs of 128 bytes, and join their maxima and sums by
// shuffles, without shared memory or barriers; a batch of 128 rows is 4096 threads instead of 128.
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/cross_entropy/warp.h"

namespace kernels::KERNEL_TARGET {

__global__ void __launch_bounds__(cross_entropy_rows * 32)
    cross_entropy_warp_rows(int batch, int classes, const float* __restrict__ logits,
                            const int32_t* __restrict__ labels, float label_smoothing, float* __restrict__ losses,
                            int32_t* __restrict__ correct, float* __restrict__ dlogits) {
  const int n = blockIdx.x * cross_entropy_rows + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (n >= batch) return;
  const float* z = logits + static_cast<int64_t>(n) * classes;
  const LargestLogit largest = cross_entropy_warp_largest(z, classes, lane);
  const float max = largest.value;
  float sum = 0;  // in the end at least 1, for the maximum itself
  for (int k = lane; k < classes; k += 32) sum += expf(z[k] - max);
  sum = cross_entropy_warp_sum(sum);
  const int label = labels[n];
  float distance = 0;  // of all logits from the maximum
  if (label_smoothing > 0) {
    for (int k = lane; k < classes; k += 32) distance += z[k] - max;
    distance = cross_entropy_warp_sum(distance);
  }
  if (lane == 0) {
    losses[n] = label_smoothing > 0
                    ? logf(sum) - ((1 - label_smoothing) * (z[label] - max) + label_smoothing / classes * distance)
                    : logf(sum) - (z[label] - max);
    correct[n] = largest.where == label && sum == sum;  // a NaN anywhere in the row is in the sum
  }
  if (dlogits == nullptr) return;
  float* dz = dlogits + static_cast<int64_t>(n) * classes;
  const float other = label_smoothing / classes, target = 1 - label_smoothing + other;  // 0 and 1 without smoothing
  for (int k = lane; k < classes; k += 32) dz[k] = (expf(z[k] - max) / sum - (k == label ? target : other)) / batch;
}

// One warp.
__global__ void __launch_bounds__(32)
    cross_entropy_warp_mean(int batch, const float* __restrict__ losses, float* __restrict__ mean_loss) {
  float sum = 0;
  for (int n = threadIdx.x; n < batch; n += 32) sum += losses[n];
  sum = cross_entropy_warp_sum(sum);
  if (threadIdx.x == 0) *mean_loss = sum / batch;
}

void cross_entropy_mean(Context& context, int batch, const float* losses, float* mean_loss) {
  launch(context, cross_entropy_warp_mean, 1, 32, 0, batch, losses, mean_loss);
}

extern const CrossEntropy cross_entropy_warp = {
    .name = "warp",
    .idea = "one warp a row, joined by shuffles",
    .provider = Provider::native,
    .supports = [](const CrossEntropyShape&) { return true; },
    .workspace = [](const CrossEntropyShape&) -> size_t { return 0; },
    .forward_backward =
        [](Context& context, const CrossEntropyShape& s, const float* logits, const int32_t* labels,
           float label_smoothing, float* losses, int32_t* correct, float* mean_loss, float* dlogits) {
          launch(context, cross_entropy_warp_rows, ceil_div(s.batch, cross_entropy_rows), cross_entropy_rows * 32, 0,
                 s.batch, s.classes, logits, labels, label_smoothing, losses, correct, dlogits);
          cross_entropy_mean(context, s.batch, losses, mean_loss);
        },
};

}  // namespace kernels::KERNEL_TARGET
