// Idea: the rows split over threads and blocks. Where naive sums a channel with one thread, here hundreds of blocks sum
// parts of it side by side, in coalesced reads, and a small second pass joins them in a fixed order: no atomics, the
// same bits each time. The last pass keeps a channel's factors in registers over many rows. Should run at the bandwidth
// of memory wherever there are enough rows.
#include "kernels/batchnorm/split.h"

namespace kernels::KERNEL_TARGET {

extern const BatchNorm batchnorm_split = {
    .name = "split",
    .idea = "rows split over blocks, partial sums joined in a second pass",
    .provider = Provider::native,
    .supports = [](const BatchNormShape&) { return true; },
    .workspace = batchnorm_workspace,
    .forward_training = batchnorm_forward_training<1>,
    .forward_inference = batchnorm_forward_inference<1>,
    .backward = batchnorm_backward<1>,
};

}  // namespace kernels::KERNEL_TARGET
