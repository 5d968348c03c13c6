// Idea: 16 bytes an access. A step reads 16 bytes and writes 12 for each element and does little with them, so it is
// bound by memory; with four elements at a time a block of 256 threads has all loads of a full chunk under way in four
// rounds.
#include "kernels/adam/update.h"

namespace kernels::KERNEL_TARGET {

constexpr int adam_block = 256;

// How many of the chunk's elements may be taken four at a time where these arrays are used (those not there are null).
// A parameter may start anywhere in a larger buffer.
__device__ __forceinline__ int adam_fours(int count, const float* a, const float* b, const float* c, const float* d,
                                          const float* e) {
  const auto bits = reinterpret_cast<uintptr_t>(a) | reinterpret_cast<uintptr_t>(b) | reinterpret_cast<uintptr_t>(c) |
                    reinterpret_cast<uintptr_t>(d) | reinterpret_cast<uintptr_t>(e);
  return bits % 16 == 0 ? count / 4 * 4 : 0;
}

__device__ __forceinline__ float4 adam_load(const float* p) { return *reinterpret_cast<const float4*>(p); }
__device__ __forceinline__ void adam_store(float* p, const float4& four) { *reinterpret_cast<float4*>(p) = four; }

template <class Update, class Options>
__device__ __forceinline__ void optimizer_vectorised(const OptimizerChunk& chunk, const Options& options,
                                                     const OptimizerInputs& in) {
  const auto [go, scale] = optimizer_go(in);
  if (!go) return;
  const Update update(options, in, scale, chunk.weight_decay);
  constexpr bool second = Update::second_moment;
  const bool train = chunk.gradient != nullptr;
  const float weight = in.step->average_weight;
  const int fours = adam_fours(chunk.count, chunk.value, chunk.gradient, train ? chunk.first_moment : nullptr,
                               train && second ? chunk.second_moment : nullptr, chunk.average);
  for (int i = threadIdx.x * 4; i < fours; i += adam_block * 4) {
    float4 value = adam_load(chunk.value + i);
    if (train) {
      const float4 g = adam_load(chunk.gradient + i);
      float4 m = adam_load(chunk.first_moment + i), v = {};
      if constexpr (second) v = adam_load(chunk.second_moment + i);
      update(g.x, value.x, m.x, v.x);
      update(g.y, value.y, m.y, v.y);
      update(g.z, value.z, m.z, v.z);
      update(g.w, value.w, m.w, v.w);
      adam_store(chunk.value + i, value);
      adam_store(chunk.first_moment + i, m);
      if constexpr (second) adam_store(chunk.second_moment + i, v);
    }
    if (chunk.average != nullptr) {
      float4 average = adam_load(chunk.average + i);
      average_update(weight, value.x, average.x);
      average_update(weight, value.y, average.y);
      average_update(weight, value.z, average.z);
      average_update(weight, value.w, average.w);
      adam_store(chunk.average + i, average);
    }
  }
  float none = 0;
  for (int i = fours + threadIdx.x; i < chunk.count; i += adam_block) {
    if (train) update(chunk.gradient[i], chunk.value[i], chunk.first_moment[i], second ? chunk.second_moment[i] : none);
    if (chunk.average != nullptr) average_update(weight, chunk.value[i], chunk.average[i]);
  }
}

__global__ void __launch_bounds__(adam_block)
    adam_vectorised_step(const OptimizerChunk* __restrict__ chunks, AdamFactors factors, OptimizerInputs in) {
  optimizer_vectorised<AdamUpdate>(chunks[blockIdx.x], factors, in);
}

__global__ void __launch_bounds__(adam_block)
    sgd_vectorised_step(const OptimizerChunk* __restrict__ chunks, SgdOptions options, OptimizerInputs in) {
  optimizer_vectorised<SgdUpdate>(chunks[blockIdx.x], options, in);
}

// The sum of a block's values, in all threads of the first warp.
__device__ __forceinline__ float adam_block_sum(float x) {
  __shared__ float warps[adam_block / 32];
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(0xffffffffu, x, distance);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = x;
  __syncthreads();
  float sum = 0;
  for (const float warp : warps) sum += warp;
  return sum;
}

// A block a chunk.
__global__ void __launch_bounds__(adam_block)
    adam_vectorised_squares(const OptimizerChunk* __restrict__ chunks, float* __restrict__ squares) {  // (chunks)
  const OptimizerChunk chunk = chunks[blockIdx.x];
  const int count = chunk.gradient == nullptr ? 0 : chunk.count;
  const int fours = adam_fours(count, chunk.gradient, nullptr, nullptr, nullptr, nullptr);
  float sum = 0;
  for (int i = threadIdx.x * 4; i < fours; i += adam_block * 4) {
    const float4 g = adam_load(chunk.gradient + i);
    sum += (g.x * g.x + g.y * g.y) + (g.z * g.z + g.w * g.w);
  }
  for (int i = fours + threadIdx.x; i < count; i += adam_block) sum += chunk.gradient[i] * chunk.gradient[i];
  sum = adam_block_sum(sum);
  if (threadIdx.x == 0) squares[blockIdx.x] = sum;
}

// One block.
__global__ void __launch_bounds__(adam_block)
    adam_vectorised_norm(int count, const float* __restrict__ squares, float max_norm, GradientNorm* norm) {
  float sum = 0;
  for (int i = threadIdx.x; i < count; i += adam_block) sum += squares[i];
  sum = adam_block_sum(sum);
  if (threadIdx.x == 0) finish_norm(sum, max_norm, norm);
}

extern const Adam adam_vectorised = {
    .name = "vectorised",
    .idea = "16 bytes an access",
    .provider = Provider::native,
    .supports = [](const OptimizerShape&) { return true; },
    .workspace = [](const OptimizerShape& s) -> size_t { return s.chunks * sizeof(float); },
    .gradient_norm =
        [](Context& context, const OptimizerShape& s, const OptimizerChunk* chunks, float max_norm,
           GradientNorm* norm) {
          auto* squares = static_cast<float*>(context.workspace);
          launch(context, adam_vectorised_squares, s.chunks, adam_block, 0, chunks, squares);
          launch(context, adam_vectorised_norm, 1, adam_block, 0, s.chunks, squares, max_norm, norm);
        },
    .adam =
        [](Context& context, const OptimizerShape& s, const OptimizerChunk* chunks, const AdamOptions& o,
           const OptimizerInputs& in) {
          launch(context, adam_vectorised_step, s.chunks, adam_block, 0, chunks, factors(o), in);
        },
    .sgd =
        [](Context& context, const OptimizerShape& s, const OptimizerChunk* chunks, const SgdOptions& o,
           const OptimizerInputs& in) { launch(context, sgd_vectorised_step, s.chunks, adam_block, 0, chunks, o, in); },
};

}  // namespace kernels::KERNEL_TARGET
