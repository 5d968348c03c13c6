// The second pass of the rungs that split the rows over blocks: what the chunks found, joined in a fixed order. A block
// takes 32 channels, so its reads are runs of 128 bytes; its lanes share the chunks, then each adds up what all found.
#include "kernels/batchnorm/split.h"

namespace kernels::KERNEL_TARGET {

constexpr int batchnorm_finish_threads = 512, batchnorm_finish_channels = 32;
constexpr int batchnorm_finish_lanes = batchnorm_finish_threads / batchnorm_finish_channels;

// The lanes' values of the thread's channel, added from the first to the last. Has a barrier: for all threads.
__device__ __forceinline__ float batchnorm_add_lanes(float (&values)[batchnorm_finish_lanes][batchnorm_finish_channels],
                                                     float own) {
  values[threadIdx.y][threadIdx.x] = own;
  __syncthreads();
  float sum = 0;
  for (int lane = 0; lane < batchnorm_finish_lanes; ++lane) sum += values[lane][threadIdx.x];
  return sum;
}

__global__ void __launch_bounds__(batchnorm_finish_threads)
    batchnorm_split_finish_statistics(BatchNormTiles t, const float* __restrict__ x, const float* __restrict__ partials,
                                      float eps, float momentum, float* __restrict__ running_mean,
                                      float* __restrict__ running_var, float* __restrict__ saved_mean,
                                      float* __restrict__ saved_invstd) {
  __shared__ float offsets[batchnorm_finish_lanes][batchnorm_finish_channels];
  __shared__ float squares[batchnorm_finish_lanes][batchnorm_finish_channels];
  const int c = blockIdx.x * batchnorm_finish_channels + threadIdx.x, C = t.channels;
  const int64_t chunk_rows = static_cast<int64_t>(t.lanes) * t.rows_per_thread;
  const int chunks = c < C ? t.chunks : 0;
  const float first = c < C ? partials[c] : 0;

  float offset = 0;  // Σ nᵢ (μᵢ - first)
  for (int i = threadIdx.y; i < chunks; i += batchnorm_finish_lanes)
    offset += t.count(i * chunk_rows, chunk_rows) * (partials[static_cast<int64_t>(i) * 2 * C + c] - first);
  const float mean = first + batchnorm_add_lanes(offsets, offset) / t.rows;  // minus x[0,c], as all means here

  float square = 0;  // Σ Sᵢ + nᵢ (μᵢ-μ)²
  for (int i = threadIdx.y; i < chunks; i += batchnorm_finish_lanes) {
    const float* p = partials + static_cast<int64_t>(i) * 2 * C + c;
    square += p[C] + t.count(i * chunk_rows, chunk_rows) * (p[0] - mean) * (p[0] - mean);
  }
  square = batchnorm_add_lanes(squares, square);
  if (threadIdx.y > 0 || c >= C) return;
  running_mean[c] = (1 - momentum) * running_mean[c] + momentum * (x[c] + mean);
  running_var[c] = (1 - momentum) * running_var[c] + momentum * (square / (t.rows - 1));
  saved_mean[c] = x[c] + mean;
  saved_invstd[c] = 1 / sqrtf(square / t.rows + eps);
}

__global__ void __launch_bounds__(batchnorm_finish_threads)
    batchnorm_split_finish_gradients(BatchNormTiles t, const float* __restrict__ partials,
                                     const float* __restrict__ saved_invstd, float* __restrict__ dweight,
                                     float* __restrict__ dbias) {
  __shared__ float sums[batchnorm_finish_lanes][batchnorm_finish_channels];
  __shared__ float products[batchnorm_finish_lanes][batchnorm_finish_channels];
  const int c = blockIdx.x * batchnorm_finish_channels + threadIdx.x, C = t.channels;
  const int chunks = c < C ? t.chunks : 0;
  float sum = 0, product = 0;
  for (int i = threadIdx.y; i < chunks; i += batchnorm_finish_lanes) {
    const float* p = partials + static_cast<int64_t>(i) * 2 * C + c;
    sum += p[0];
    product += p[C];
  }
  products[threadIdx.y][threadIdx.x] = product;
  sum = batchnorm_add_lanes(sums, sum);
  if (threadIdx.y > 0 || c >= C) return;
  for (int lane = 1; lane < batchnorm_finish_lanes; ++lane) product += products[lane][threadIdx.x];
  dbias[c] = sum;
  dweight[c] = product * saved_invstd[c];
}

void batchnorm_finish_statistics(Context& context, const BatchNormTiles& t, const float* x, const float* partials,
                                 float eps, float momentum, float* running_mean, float* running_var, float* saved_mean,
                                 float* saved_invstd) {
  launch(context, batchnorm_split_finish_statistics, ceil_div(t.channels, batchnorm_finish_channels),
         dim3(batchnorm_finish_channels, batchnorm_finish_lanes), 0, t, x, partials, eps, momentum, running_mean,
         running_var, saved_mean, saved_invstd);
}

void batchnorm_finish_gradients(Context& context, const BatchNormTiles& t, const float* partials,
                                const float* saved_invstd, float* dweight, float* dbias) {
  launch(context, batchnorm_split_finish_gradients, ceil_div(t.channels, batchnorm_finish_channels),
         dim3(batchnorm_finish_channels, batchnorm_finish_lanes), 0, t, partials, saved_invstd, dweight, dbias);
}

}  // namespace kernels::KERNEL_TARGET
