// Idea: one launch for all parameters. A launch a parameter would cost more than its work, most of them being small;
// with the table of chunks, block i works on chunk i, its threads side by side on elements.
#include "kernels/adam/update.h"

namespace kernels::KERNEL_TARGET {

template <class Update, class Options>
__device__ __forceinline__ void optimizer_naive(const OptimizerChunk& chunk, const Options& options,
                                                const OptimizerInputs& in) {
  const auto [go, scale] = optimizer_go(in);
  if (!go) return;
  const Update update(options, in, scale, chunk.weight_decay);
  float none = 0;
  for (int i = threadIdx.x; i < chunk.count; i += blockDim.x) {
    if (chunk.gradient != nullptr)
      update(chunk.gradient[i], chunk.value[i], chunk.first_moment[i],
             Update::second_moment ? chunk.second_moment[i] : none);
    if (chunk.average != nullptr) average_update(in.step->average_weight, chunk.value[i], chunk.average[i]);
  }
}

__global__ void adam_naive_step(const OptimizerChunk* chunks, AdamFactors factors, OptimizerInputs in) {
  optimizer_naive<AdamUpdate>(chunks[blockIdx.x], factors, in);
}

__global__ void sgd_naive_step(const OptimizerChunk* chunks, SgdOptions options, OptimizerInputs in) {
  optimizer_naive<SgdUpdate>(chunks[blockIdx.x], options, in);
}

// One thread a chunk.
__global__ void adam_naive_squares(int count, const OptimizerChunk* chunks, float* squares) {  // (chunks)
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const OptimizerChunk chunk = chunks[i];
  float sum = 0;
  for (int k = 0; chunk.gradient != nullptr && k < chunk.count; ++k) sum += chunk.gradient[k] * chunk.gradient[k];
  squares[i] = sum;
}

// One thread.
__global__ void adam_naive_norm(int count, const float* squares, float max_norm, GradientNorm* norm) {
  float sum = 0;
  for (int i = 0; i < count; ++i) sum += squares[i];
  finish_norm(sum, max_norm, norm);
}

extern const Adam adam_naive = {
    .name = "naive",
    .idea = "all parameters in one launch, a block a chunk",
    .provider = Provider::native,
    .supports = [](const OptimizerShape&) { return true; },
    .workspace = [](const OptimizerShape& s) -> size_t { return s.chunks * sizeof(float); },
    .gradient_norm =
        [](Context& context, const OptimizerShape& s, const OptimizerChunk* chunks, float max_norm,
           GradientNorm* norm) {
          auto* squares = static_cast<float*>(context.workspace);
          launch(context, adam_naive_squares, ceil_div(s.chunks, 32), 32, 0, s.chunks, chunks, squares);
          launch(context, adam_naive_norm, 1, 1, 0, s.chunks, squares, max_norm, norm);
        },
    .adam =
        [](Context& context, const OptimizerShape& s, const OptimizerChunk* chunks, const AdamOptions& o,
           const OptimizerInputs& in) { launch(context, adam_naive_step, s.chunks, 256, 0, chunks, factors(o), in); },
    .sgd = [](Context& context, const OptimizerShape& s, const OptimizerChunk* chunks, const SgdOptions& o,
              const OptimizerInputs& in) { launch(context, sgd_naive_step, s.chunks, 256, 0, chunks, o, in); },
};

}  // namespace kernels::KERNEL_TARGET
