// Idea: 16 bytes an access. A step reads 16 bytes and writes 12 for each element and does little with them, so it is
// bound by memory; with four elements at a time a block of 256 threads has all loads of a full chunk under way in four
// rounds.
#include "kernels/adam/update.h"

namespace kernels::KERNEL_TARGET {

constexpr int adam_block = 256;

// How many elements of the chunk may be taken four at a time. A parameter may start anywhere in a larger buffer.
__device__ __forceinline__ int adam_fours(const OptimizerChunk& chunk, bool second_moment) {
  const auto bits = reinterpret_cast<uintptr_t>(chunk.value) | reinterpret_cast<uintptr_t>(chunk.gradient) |
                    reinterpret_cast<uintptr_t>(chunk.first_moment) |
                    (second_moment ? reinterpret_cast<uintptr_t>(chunk.second_moment) : 0);
  return bits % 16 == 0 ? chunk.count / 4 * 4 : 0;
}

__global__ void __launch_bounds__(adam_block)
    adam_vectorised_step(const OptimizerChunk* __restrict__ chunks, AdamFactors factors) {
  const OptimizerChunk chunk = chunks[blockIdx.x];
  const int fours = adam_fours(chunk, true);
  for (int i = threadIdx.x * 4; i < fours; i += adam_block * 4) {
    const float4 g = *reinterpret_cast<const float4*>(chunk.gradient + i);
    float4 value = *reinterpret_cast<const float4*>(chunk.value + i);
    float4 m = *reinterpret_cast<const float4*>(chunk.first_moment + i);
    float4 v = *reinterpret_cast<const float4*>(chunk.second_moment + i);
    adam_update(factors, chunk.weight_decay, g.x, value.x, m.x, v.x);
    adam_update(factors, chunk.weight_decay, g.y, value.y, m.y, v.y);
    adam_update(factors, chunk.weight_decay, g.z, value.z, m.z, v.z);
    adam_update(factors, chunk.weight_decay, g.w, value.w, m.w, v.w);
    *reinterpret_cast<float4*>(chunk.value + i) = value;
    *reinterpret_cast<float4*>(chunk.first_moment + i) = m;
    *reinterpret_cast<float4*>(chunk.second_moment + i) = v;
  }
  for (int i = fours + threadIdx.x; i < chunk.count; i += adam_block)
    adam_update(factors, chunk.weight_decay, chunk.gradient[i], chunk.value[i], chunk.first_moment[i],
                chunk.second_moment[i]);
}

__global__ void __launch_bounds__(adam_block)
    sgd_vectorised_step(const OptimizerChunk* __restrict__ chunks, SgdOptions options) {
  const OptimizerChunk chunk = chunks[blockIdx.x];
  const int fours = adam_fours(chunk, false);
  for (int i = threadIdx.x * 4; i < fours; i += adam_block * 4) {
    const float4 g = *reinterpret_cast<const float4*>(chunk.gradient + i);
    float4 value = *reinterpret_cast<const float4*>(chunk.value + i);
    float4 b = *reinterpret_cast<const float4*>(chunk.first_moment + i);
    sgd_update(options, chunk.weight_decay, g.x, value.x, b.x);
    sgd_update(options, chunk.weight_decay, g.y, value.y, b.y);
    sgd_update(options, chunk.weight_decay, g.z, value.z, b.z);
    sgd_update(options, chunk.weight_decay, g.w, value.w, b.w);
    *reinterpret_cast<float4*>(chunk.value + i) = value;
    *reinterpret_cast<float4*>(chunk.first_moment + i) = b;
  }
  for (int i = fours + threadIdx.x; i < chunk.count; i += adam_block)
    sgd_update(options, chunk.weight_decay, chunk.gradient[i], chunk.value[i], chunk.first_moment[i]);
}

extern const Adam adam_vectorised = {
    .name = "vectorised",
    .idea = "16 bytes an access",
    .provider = Provider::native,
    .supports = [](const OptimizerShape&) { return true; },
    .workspace = [](const OptimizerShape&) -> size_t { return 0; },
    .adam =
        [](Context& context, const OptimizerShape& s, const OptimizerChunk* chunks, const AdamOptions& o) {
          launch(context, adam_vectorised_step, s.chunks, adam_block, 0, chunks, factors(o));
        },
    .sgd = [](Context& context, const OptimizerShape& s, const OptimizerChunk* chunks,
              const SgdOptions& o) { launch(context, sgd_vectorised_step, s.chunks, adam_block, 0, chunks, o); },
};

}  // namespace kernels::KERNEL_TARGET
