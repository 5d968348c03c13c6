// Idea: as the formulas stand. One thread a channel walks all rows for the sums, then one thread an element computes
// the output. Neighbouring threads read neighbouring channels, but a layer of 32 channels keeps one warp of the whole
// device busy while it sums.
#include "kernels/batchnorm/batchnorm.h"
#include "kernels/common/launch.h"

namespace kernels::KERNEL_TARGET {

template <class T>
__global__ void batchnorm_naive_statistics(int64_t rows, int channels, const T* x, float eps, float momentum,
                                           float* running_mean, float* running_var, float* saved_mean,
                                           float* saved_invstd) {
  const int c = blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= channels) return;
  // Differences from one of the values: where the mean is large against the deviation, a plain sum would lose them.
  const float shift = to_float(x[c]);
  // In double: a sum of 131,072 values as coarse as bfloat16's would round the same way again and again in float.
  double sum = 0, squares = 0;
  for (int64_t m = 0; m < rows; ++m) sum += to_float(x[m * channels + c]) - shift;
  const auto mean = static_cast<float>(shift + sum / rows);
  for (int64_t m = 0; m < rows; ++m) {
    const float d = to_float(x[m * channels + c]) - mean;
    squares += d * d;
  }
  running_mean[c] = (1 - momentum) * running_mean[c] + momentum * mean;
  running_var[c] = (1 - momentum) * running_var[c] + momentum * static_cast<float>(squares / (rows - 1));
  saved_mean[c] = mean;
  saved_invstd[c] = 1 / sqrtf(static_cast<float>(squares / rows) + eps);
}

template <class T>
__global__ void batchnorm_naive_normalise(int64_t rows, int channels, const T* x, const float* mean,
                                          const float* invstd, const float* weight, const float* bias, T* y) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= rows * channels) return;
  const int c = i % channels;
  y[i] = from_float<T>(weight[c] * (to_float(x[i]) - mean[c]) * invstd[c] + bias[c]);
}

template <class T>
__global__ void batchnorm_naive_inference(int64_t rows, int channels, const T* x, const float* mean, const float* var,
                                          const float* weight, const float* bias, float eps, T* y) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= rows * channels) return;
  const int c = i % channels;
  y[i] = from_float<T>(weight[c] * (to_float(x[i]) - mean[c]) / sqrtf(var[c] + eps) + bias[c]);
}

template <class T>
__global__ void batchnorm_naive_backward_sums(int64_t rows, int channels, const T* x, const T* dy,
                                              const float* saved_mean, const float* saved_invstd, float* dweight,
                                              float* dbias) {
  const int c = blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= channels) return;
  float sum = 0, product_sum = 0;
  for (int64_t m = 0; m < rows; ++m) {
    sum += to_float(dy[m * channels + c]);
    product_sum += to_float(dy[m * channels + c]) * (to_float(x[m * channels + c]) - saved_mean[c]);
  }
  dbias[c] = sum;
  dweight[c] = product_sum * saved_invstd[c];
}

template <class T>
__global__ void batchnorm_naive_backward_data(int64_t rows, int channels, const T* x, const T* dy, const float* weight,
                                              const float* saved_mean, const float* saved_invstd, const float* dweight,
                                              const float* dbias, T* dx) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= rows * channels) return;
  const int c = i % channels;
  const float normalised = (to_float(x[i]) - saved_mean[c]) * saved_invstd[c];
  dx[i] = from_float<T>(weight[c] * saved_invstd[c] *
                        (to_float(dy[i]) - dbias[c] / rows - normalised * (dweight[c] / rows)));
}

template <class T>
static constexpr BatchNormOf<T> naive_row = {
    .name = "naive",
    .idea = "one thread a channel sums, one thread an element normalises",
    .provider = Provider::native,
    .supports = [](const BatchNormShape&) { return true; },
    .workspace = [](const BatchNormShape&) -> size_t { return 0; },
    .forward_training =
        [](Context& context, const BatchNormShape& s, const T* x, const float* weight, const float* bias, float eps,
           float momentum, float* running_mean, float* running_var, float* saved_mean, float* saved_invstd, T* y) {
          check_training(s);
          launch(context, batchnorm_naive_statistics<T>, ceil_div(s.channels, 32), 32, 0, s.rows, s.channels, x, eps,
                 momentum, running_mean, running_var, saved_mean, saved_invstd);
          launch(context, batchnorm_naive_normalise<T>, ceil_div(s.rows * s.channels, 256), 256, 0, s.rows, s.channels,
                 x, saved_mean, saved_invstd, weight, bias, y);
        },
    .forward_inference =
        [](Context& context, const BatchNormShape& s, const T* x, const float* weight, const float* bias,
           const float* running_mean, const float* running_var, float eps, T* y) {
          launch(context, batchnorm_naive_inference<T>, ceil_div(s.rows * s.channels, 256), 256, 0, s.rows, s.channels,
                 x, running_mean, running_var, weight, bias, eps, y);
        },
    .backward =
        [](Context& context, const BatchNormShape& s, const T* x, const T* dy, const float* weight,
           const float* saved_mean, const float* saved_invstd, T* dx, float* dweight, float* dbias) {
          launch(context, batchnorm_naive_backward_sums<T>, ceil_div(s.channels, 32), 32, 0, s.rows, s.channels, x, dy,
                 saved_mean, saved_invstd, dweight, dbias);
          launch(context, batchnorm_naive_backward_data<T>, ceil_div(s.rows * s.channels, 256), 256, 0, s.rows,
                 s.channels, x, dy, weight, saved_mean, saved_invstd, dweight, dbias, dx);
        },
};

extern const BatchNorm batchnorm_naive = naive_row<float>;
extern const BatchNormOf<Bf16> batchnorm_naive_bf16 = naive_row<Bf16>;

}  // namespace kernels::KERNEL_TARGET
