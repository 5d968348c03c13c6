// The part of the row `cudnn` that is ours. It runs on the CPU too, where the tests hand it a softmax of the host's.
#pragma once

#include "kernels/common/target.h"
#include "kernels/cross_entropy/cross_entropy.h"

namespace kernels::KERNEL_TARGET {

// As CrossEntropy::forward_backward, but for the softmax (N, K), which is there.
void cross_entropy_after_softmax(Context&, const CrossEntropyShape&, const float* logits, const float* softmax,
                                 const int32_t* labels, float label_smoothing, float* losses, int32_t* correct,
                                 float* mean_loss, float* dlogits);

}  // namespace kernels::KERNEL_TARGET
