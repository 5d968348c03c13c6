// Idea: the rows split over threads and blocks. Where naive sums a channel with one thread, here hundreds of blocks sum
// parts of it side by side, in coalesced reads, and a small second pass joins them in a fixed order: no atomics, the
// same bits each time. The last pass keeps a channel's factors in registers over many rows. Should run at the bandwidth
// of memory wherever there are enough rows.
#include "kernels/batchnorm/split.h"

namespace kernels::KERNEL_TARGET {

static constexpr const char* split_idea = "rows split over blocks, partial sums joined in a second pass";

extern const BatchNorm batchnorm_split = batchnorm_row<1, float>("split", split_idea);
extern const BatchNormOf<Bf16> batchnorm_split_bf16 = batchnorm_row<1, Bf16>("split", split_idea);

}  // namespace kernels::KERNEL_TARGET
