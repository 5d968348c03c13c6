// What is left of the operation where a library has computed the softmax p, one warp a row: losses, answers and the
// gradient, with no exponential and one logarithm. The sum of exponentials that the loss needs is 1 / p at the largest
// logit, whose own exponential is 1. All else of the loss comes from the logits: p may be 0 where the loss is finite,
// and equal where they are not.
#include "kernels/cross_entropy/after_softmax.h"

#include "kernels/cross_entropy/warp.h"

namespace kernels::KERNEL_TARGET {

__global__ void __launch_bounds__(cross_entropy_rows * 32)
    cross_entropy_after_softmax_rows(int batch, int classes, const float* __restrict__ logits,
                                     const float* __restrict__ softmax, const int32_t* __restrict__ labels,
                                     float label_smoothing, float* __restrict__ losses, int32_t* __restrict__ correct,
                                     float* __restrict__ dlogits) {
  const int n = blockIdx.x * cross_entropy_rows + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (n >= batch) return;
  const float *z = logits + static_cast<int64_t>(n) * classes, *p = softmax + static_cast<int64_t>(n) * classes;
  const LargestLogit largest = cross_entropy_warp_largest(z, classes, lane);
  const float max = largest.value;
  const int label = labels[n];
  float distance = 0;  // of all logits from the maximum
  if (label_smoothing > 0) {
    for (int k = lane; k < classes; k += 32) distance += z[k] - max;
    distance = cross_entropy_warp_sum(distance);
  }
  if (lane == 0) {
    const float top = p[largest.where];  // at least 1 / K, or NaN: a NaN anywhere in the row is in the softmax's sum
    losses[n] = label_smoothing > 0
                    ? -logf(top) - ((1 - label_smoothing) * (z[label] - max) + label_smoothing / classes * distance)
                    : -logf(top) - (z[label] - max);
    correct[n] = largest.where == label && top == top;
  }
  if (dlogits == nullptr) return;
  float* dz = dlogits + static_cast<int64_t>(n) * classes;
  const float other = label_smoothing / classes, target = 1 - label_smoothing + other;  // 0 and 1 without smoothing
  for (int k = lane; k < classes; k += 32) dz[k] = (p[k] - (k == label ? target : other)) / batch;
}

void cross_entropy_after_softmax(Context& context, const CrossEntropyShape& s, const float* logits,
                                 const float* softmax, const int32_t* labels, float label_smoothing, float* losses,
                                 int32_t* correct, float* mean_loss, float* dlogits) {
  launch(context, cross_entropy_after_softmax_rows, ceil_div(s.batch, cross_entropy_rows), cross_entropy_rows * 32, 0,
         s.batch, s.classes, logits, softmax, labels, label_smoothing, losses, correct, dlogits);
  cross_entropy_mean(context, s.batch, losses, mean_loss);
}

}  // namespace kernels::KERNEL_TARGET
