// Idea: copies that do not wait. cp.async brings the tiles from memory to shared memory past the registers, two tiles
// ahead of the one that is multiplied, so that the latency of memory is hidden behind arithmetic even with few threads
// (common/product_pipeline.h). Since nothing passes through registers, tiles lie in shared memory as they do in memory;
// an operand that runs along k is read there 16 bytes, four steps of k, a row.
#include "kernels/pointwise_conv/pipeline.h"

namespace kernels::KERNEL_TARGET {

using AsyncPipeline = PointwisePipeline<ThreadTile, float>;

extern const PointwiseConv pointwise_conv_async = {
    .name = "async",
    .idea = "tiles come by asynchronous copies, two ahead of the one that is multiplied",
    .provider = Provider::native,
    .supports = AsyncPipeline::supports,
    .workspace = AsyncPipeline::workspace,
    .forward = AsyncPipeline::forward,
    .backward_data = AsyncPipeline::backward_data,
    .backward_weight = AsyncPipeline::backward_weight,
    .forward_fused = AsyncPipeline::forward_fused,
    .backward_fused = AsyncPipeline::backward_fused,
    .forward_folded = AsyncPipeline::forward_folded,
};

}  // namespace kernels::KERNEL_TARGET
