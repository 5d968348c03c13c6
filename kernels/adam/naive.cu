// Idea: one launch for all parameters. A launch a parameter would cost more than its work, most of them being small;
// with the table of chunks, block i works on chunk i, its threads side by side on elements.
#include "kernels/adam/update.h"

namespace kernels::KERNEL_TARGET {

__global__ void adam_naive_step(const OptimizerChunk* chunks, AdamFactors factors) {
  const OptimizerChunk chunk = chunks[blockIdx.x];
  for (int i = threadIdx.x; i < chunk.count; i += blockDim.x)
    adam_update(factors, chunk.weight_decay, chunk.gradient[i], chunk.value[i], chunk.first_moment[i],
                chunk.second_moment[i]);
}

__global__ void sgd_naive_step(const OptimizerChunk* chunks, SgdOptions options) {
  const OptimizerChunk chunk = chunks[blockIdx.x];
  for (int i = threadIdx.x; i < chunk.count; i += blockDim.x)
    sgd_update(options, chunk.weight_decay, chunk.gradient[i], chunk.value[i], chunk.first_moment[i]);
}

extern const Adam adam_naive = {
    .name = "naive",
    .idea = "all parameters in one launch, a block a chunk",
    .provider = Provider::native,
    .supports = [](const OptimizerShape&) { return true; },
    .workspace = [](const OptimizerShape&) -> size_t { return 0; },
    .adam = [](Context& context, const OptimizerShape& s, const OptimizerChunk* chunks,
               const AdamOptions& o) { launch(context, adam_naive_step, s.chunks, 256, 0, chunks, factors(o)); },
    .sgd = [](Context& context, const OptimizerShape& s, const OptimizerChunk* chunks,
              const SgdOptions& o) { launch(context, sgd_naive_step, s.chunks, 256, 0, chunks, o); },
};

}  // namespace kernels::KERNEL_TARGET
