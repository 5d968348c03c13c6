// Idea: as the formulas stand. One thread a channel walks all rows for the sums, then one thread an element computes
// the output. Neighbouring threads read neighbouring channels, but a layer of 32 channels keeps one warp of the whole
// device busy while it sums.
#include "kernels/batchnorm/batchnorm.h"
#include "kernels/common/launch.h"

namespace kernels::KERNEL_TARGET {

__global__ void batchnorm_naive_statistics(int64_t rows, int channels, const float* x, float eps, float momentum,
                                           float* running_mean, float* running_var, float* saved_mean,
                                           float* saved_invstd) {
  const int c = blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= channels) return;
  // Differences from one of the values: where the mean is large against the deviation, a plain sum would lose them.
  const float shift = x[c];
  float sum = 0;
  for (int64_t m = 0; m < rows; ++m) sum += x[m * channels + c] - shift;
  const float mean = shift + sum / rows;
  float squares = 0;
  for (int64_t m = 0; m < rows; ++m) squares += (x[m * channels + c] - mean) * (x[m * channels + c] - mean);
  running_mean[c] = (1 - momentum) * running_mean[c] + momentum * mean;
  running_var[c] = (1 - momentum) * running_var[c] + momentum * (squares / (rows - 1));
  saved_mean[c] = mean;
  saved_invstd[c] = 1 / sqrtf(squares / rows + eps);
}

__global__ void batchnorm_naive_normalise(int64_t rows, int channels, const float* x, const float* mean,
                                          const float* invstd, const float* weight, const float* bias, float* y) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= rows * channels) return;
  const int c = i % channels;
  y[i] = weight[c] * (x[i] - mean[c]) * invstd[c] + bias[c];
}

__global__ void batchnorm_naive_inference(int64_t rows, int channels, const float* x, const float* mean,
                                          const float* var, const float* weight, const float* bias, float eps,
                                          float* y) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= rows * channels) return;
  const int c = i % channels;
  y[i] = weight[c] * (x[i] - mean[c]) / sqrtf(var[c] + eps) + bias[c];
}

__global__ void batchnorm_naive_backward_sums(int64_t rows, int channels, const float* x, const float* dy,
                                              const float* saved_mean, const float* saved_invstd, float* dweight,
                                              float* dbias) {
  const int c = blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= channels) return;
  float sum = 0, product_sum = 0;
  for (int64_t m = 0; m < rows; ++m) {
    sum += dy[m * channels + c];
    product_sum += dy[m * channels + c] * (x[m * channels + c] - saved_mean[c]);
  }
  dbias[c] = sum;
  dweight[c] = product_sum * saved_invstd[c];
}

__global__ void batchnorm_naive_backward_data(int64_t rows, int channels, const float* x, const float* dy,
                                              const float* weight, const float* saved_mean, const float* saved_invstd,
                                              const float* dweight, const float* dbias, float* dx) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= rows * channels) return;
  const int c = i % channels;
  const float normalised = (x[i] - saved_mean[c]) * saved_invstd[c];
  dx[i] = weight[c] * saved_invstd[c] * (dy[i] - dbias[c] / rows - normalised * (dweight[c] / rows));
}

extern const BatchNorm batchnorm_naive = {
    .name = "naive",
    .idea = "one thread a channel sums, one thread an element normalises",
    .provider = Provider::native,
    .supports = [](const BatchNormShape&) { return true; },
    .workspace = [](const BatchNormShape&) -> size_t { return 0; },
    .forward_training =
        [](Context& context, const BatchNormShape& s, const float* x, const float* weight, const float* bias, float eps,
           float momentum, float* running_mean, float* running_var, float* saved_mean, float* saved_invstd, float* y) {
          check_training(s);
          launch(context, batchnorm_naive_statistics, ceil_div(s.channels, 32), 32, 0, s.rows, s.channels, x, eps,
                 momentum, running_mean, running_var, saved_mean, saved_invstd);
          launch(context, batchnorm_naive_normalise, ceil_div(s.rows * s.channels, 256), 256, 0, s.rows, s.channels, x,
                 saved_mean, saved_invstd, weight, bias, y);
        },
    .forward_inference =
        [](Context& context, const BatchNormShape& s, const float* x, const float* weight, const float* bias,
           const float* running_mean, const float* running_var, float eps, float* y) {
          launch(context, batchnorm_naive_inference, ceil_div(s.rows * s.channels, 256), 256, 0, s.rows, s.channels, x,
                 running_mean, running_var, weight, bias, eps, y);
        },
    .backward =
        [](Context& context, const BatchNormShape& s, const float* x, const float* dy, const float* weight,
           const float* saved_mean, const float* saved_invstd, float* dx, float* dweight, float* dbias) {
          launch(context, batchnorm_naive_backward_sums, ceil_div(s.channels, 32), 32, 0, s.rows, s.channels, x, dy,
                 saved_mean, saved_invstd, dweight, dbias);
          launch(context, batchnorm_naive_backward_data, ceil_div(s.rows * s.channels, 256), 256, 0, s.rows, s.channels,
                 x, dy, weight, saved_mean, saved_invstd, dweight, dbias, dx);
        },
};

}  // namespace kernels::KERNEL_TARGET
