// The last pass of statistics.h: what the slices found, joined in a fixed order. A block takes 8 channels, so its reads
// are runs of 32 bytes, the least that memory gives at once; its lanes share the slices, then add up what all found
// in shared memory. There are up to thousands of slices but few channels: what counts is how many loads are under way
// at once.
#include "kernels/batchnorm/batchnorm.h"
#include "kernels/common/statistics.h"

namespace kernels::KERNEL_TARGET {

namespace {

constexpr int threads = 512, block_channels = 8, lanes = threads / block_channels;
constexpr int most_weight_lanes = 16;

// The lanes' values of the thread's channel, added up by eights and then the eight sums: two barriers, where halving
// their number would take seven. Has barriers: for all threads.
__device__ __forceinline__ float add_lanes(float (&values)[lanes][block_channels], float own) {
  constexpr int sums = 8;
  static_assert(lanes % sums == 0);
  const int x = threadIdx.x, y = threadIdx.y;
  values[y][x] = own;
  __syncthreads();
  if (y < sums) {  // sum y is of the lanes y, y + 8, …, and no other thread reads its place
#pragma unroll
    for (int lane = y + sums; lane < lanes; lane += sums) own += values[lane][x];
    values[y][x] = own;
  }
  __syncthreads();
  float sum = 0;
#pragma unroll
  for (int k = 0; k < sums; ++k) sum += values[k][x];
  return sum;
}

}  // namespace

__global__ void __launch_bounds__(threads)
    fused_finish_statistics_kernel(float rows, int channels, int slices, const float* __restrict__ partials,
                                   const int* __restrict__ counts, const float* __restrict__ origin, FusedNorm norm) {
  __shared__ float offsets[lanes][block_channels], squares[lanes][block_channels];
  const int c = blockIdx.x * block_channels + threadIdx.x, safe_c = c < channels ? c : 0;
  const int64_t stride = 2 * static_cast<int64_t>(channels);
  const float first = partials[safe_c];
  // A lane's first slices stay in registers, so that it waits for memory once; those beyond are read twice.
  constexpr int held = 16;
  float d[held], parts[held], n[held];  // μᵢ - first, Sᵢ, nᵢ
#pragma unroll
  for (int k = 0; k < held; ++k) {
    const int i = threadIdx.y + k * lanes;
    const bool inside = i < slices;
    const float* p = partials + (inside ? i * stride : 0) + safe_c;
    d[k] = p[0];
    parts[k] = p[channels];
    n[k] = inside ? static_cast<float>(counts[i]) : 0;
  }
  const float running_mean = norm.running_mean[safe_c], running_var = norm.running_var[safe_c];
  const float weight = norm.scale == nullptr ? 0 : norm.weight[safe_c], at = origin == nullptr ? 0 : origin[safe_c];
  float offset = 0;  // Σ nᵢ (μᵢ - first)
#pragma unroll
  for (int k = 0; k < held; ++k) {
    d[k] -= first;
    offset += n[k] * d[k];
  }
  for (int i = threadIdx.y + held * lanes; i < slices; i += lanes)
    offset += static_cast<float>(counts[i]) * (partials[i * stride + safe_c] - first);
  offset = add_lanes(offsets, offset) / rows;
  float square = 0;  // Σ Sᵢ + nᵢ (μᵢ-μ)²
#pragma unroll
  for (int k = 0; k < held; ++k) {
    const float e = d[k] - offset;
    square += n[k] > 0 ? parts[k] + n[k] * e * e : 0;
  }
  for (int i = threadIdx.y + held * lanes; i < slices; i += lanes) {
    const float e = partials[i * stride + safe_c] - first - offset;
    square += partials[i * stride + channels + safe_c] + static_cast<float>(counts[i]) * e * e;
  }
  square = add_lanes(squares, square);
  if (threadIdx.y > 0 || c >= channels) return;
  const float mu = at + (first + offset), invstd = 1 / sqrtf(square / rows + norm.eps);
  norm.running_mean[c] = (1 - norm.momentum) * running_mean + norm.momentum * mu;
  norm.running_var[c] = (1 - norm.momentum) * running_var + norm.momentum * (square / (rows - 1));
  norm.mean[c] = mu;
  norm.invstd[c] = invstd;
  if (norm.scale != nullptr) norm.scale[c] = weight * invstd;
}

// The first blocks join the gradients, the others the weights' slices: each of their threads one weight, or some of its
// slices where there are many.
__global__ void __launch_bounds__(threads)
    fused_finish_gradients_kernel(float rows, int channels, int slices, const float* __restrict__ partials,
                                  FusedNorm norm, int weight_lanes, WeightPartials weights) {
  __shared__ float sums[lanes][block_channels], products[lanes][block_channels];
  const unsigned channel_blocks = (channels + block_channels - 1) / block_channels;
  if (blockIdx.x >= channel_blocks) {
    const int thread = threadIdx.y * block_channels + threadIdx.x, outputs = threads / weight_lanes;
    const int64_t k = static_cast<int64_t>(blockIdx.x - channel_blocks) * outputs + thread % outputs;
    float* shared = &sums[0][0];
    float sum = 0;
    if (k < weights.count)
#pragma unroll 8
      for (int slice = thread / outputs; slice < weights.slices; slice += weight_lanes)
        sum += weights.partial[slice * weights.count + k];
    shared[thread] = sum;
    __syncthreads();
    if (thread >= outputs || k >= weights.count) return;
    for (int lane = 1; lane < weight_lanes; ++lane) sum += shared[lane * outputs + thread];
    weights.dw[k] = sum;
    return;
  }
  const int c = blockIdx.x * block_channels + threadIdx.x, safe_c = c < channels ? c : 0;
  const float invstd = norm.invstd[safe_c], scale = norm.slope == nullptr ? 0 : norm.scale[safe_c];
  float sum = 0, product = 0;
#pragma unroll 8
  for (int i = threadIdx.y; i < slices; i += lanes) {
    const float* p = partials + i * (2 * static_cast<int64_t>(channels)) + safe_c;
    sum += p[0];
    product += p[channels];
  }
  sum = add_lanes(sums, sum);
  product = add_lanes(products, product);
  if (threadIdx.y > 0 || c >= channels) return;
  const float dweight = product * invstd;
  norm.dbias[c] = sum;
  norm.dweight[c] = dweight;
  if (norm.slope == nullptr) return;
  const float minus_scale = -scale / rows;
  norm.slope[c] = minus_scale * invstd * dweight;
  norm.constant[c] = minus_scale * sum;
}

void fused_finish_statistics(Context& context, int64_t rows, int channels, int slices, const Partials& partials,
                             const FusedNorm& norm, const float* origin) {
  check_training({rows, channels});
  launch(context, fused_finish_statistics_kernel, ceil_div(channels, block_channels), dim3(block_channels, lanes), 0,
         rows, channels, slices, partials.sums, partials.counts, origin, norm);
}

void fused_finish_gradients(Context& context, int64_t rows, int channels, int slices, const Partials& partials,
                            const FusedNorm& norm, const WeightPartials& weights) {
  int weight_lanes = 1;
  while (weight_lanes < most_weight_lanes && weight_lanes * 8 < weights.slices) weight_lanes *= 2;
  launch(context, fused_finish_gradients_kernel,
         ceil_div(channels, block_channels) + ceil_div(weights.count, threads / weight_lanes),
         dim3(block_channels, lanes), 0, rows, channels, slices, partials.sums, norm, weight_lanes, weights);
}

}  // namespace kernels::KERNEL_TARGET
