// Idea: one thread a row: it finds the row's maximum, then the sum of exponentials, then the gradient. Loss and
// gradient come from one kernel, so the softmax is never stored. One more thread sums the losses.
#include "kernels/common/launch.h"
#include "kernels/cross_entropy/cross_entropy.h"

namespace kernels::KERNEL_TARGET {

__global__ void cross_entropy_naive_rows(int batch, int classes, const float* logits, const int32_t* labels,
                                         float label_smoothing, float* losses, int32_t* correct, float* dlogits) {
  const int n = blockIdx.x * blockDim.x + threadIdx.x;
  if (n >= batch) return;
  const float* z = logits + static_cast<int64_t>(n) * classes;
  int best = 0;
  for (int k = 1; k < classes; ++k)
    if (z[k] > z[best]) best = k;
  const float max = z[best];
  float sum = 0;  // at least 1, for the maximum itself
  for (int k = 0; k < classes; ++k) sum += expf(z[k] - max);
  const int label = labels[n];
  if (label_smoothing > 0) {
    float distance = 0;  // of all logits from the maximum
    for (int k = 0; k < classes; ++k) distance += z[k] - max;
    losses[n] = logf(sum) - ((1 - label_smoothing) * (z[label] - max) + label_smoothing / classes * distance);
  } else {
    losses[n] = logf(sum) - (z[label] - max);
  }
  correct[n] = best == label && sum == sum;  // a NaN anywhere in the row is in the sum
  if (dlogits == nullptr) return;
  float* dz = dlogits + static_cast<int64_t>(n) * classes;
  const float other = label_smoothing / classes, target = 1 - label_smoothing + other;  // 0 and 1 without smoothing
  for (int k = 0; k < classes; ++k) dz[k] = (expf(z[k] - max) / sum - (k == label ? target : other)) / batch;
}

__global__ void cross_entropy_naive_mean(int batch, const float* losses, float* mean_loss) {
  float sum = 0;
  for (int n = 0; n < batch; ++n) sum += losses[n];
  *mean_loss = sum / batch;
}

extern const CrossEntropy cross_entropy_naive = {
    .name = "naive",
    .idea = "one thread a row",
    .provider = Provider::native,
    .supports = [](const CrossEntropyShape&) { return true; },
    .workspace = [](const CrossEntropyShape&) -> size_t { return 0; },
    .forward_backward =
        [](Context& context, const CrossEntropyShape& s, const float* logits, const int32_t* labels,
           float label_smoothing, float* losses, int32_t* correct, float* mean_loss, float* dlogits) {
          launch(context, cross_entropy_naive_rows, ceil_div(s.batch, 32), 32, 0, s.batch, s.classes, logits, labels,
                 label_smoothing, losses, correct, dlogits);
          launch(context, cross_entropy_naive_mean, 1, 1, 0, s.batch, losses, mean_loss);
        },
};

}  // namespace kernels::KERNEL_TARGET
