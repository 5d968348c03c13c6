#include <cmath>

#include "kernels/batchnorm/batchnorm.h"

namespace kernels::reference {

void batchnorm_forward_training(const BatchNormShape& s, const double* x, const double* weight, const double* bias,
                                double eps, double momentum, double* running_mean, double* running_var,
                                double* saved_mean, double* saved_invstd, double* y) {
  const int64_t M = s.rows, C = s.channels;
  for (int64_t c = 0; c < C; ++c) {
    double mean = 0, var = 0;
    for (int64_t m = 0; m < M; ++m) mean += x[m * C + c] / M;
    for (int64_t m = 0; m < M; ++m) var += (x[m * C + c] - mean) * (x[m * C + c] - mean) / M;
    const double invstd = 1 / std::sqrt(var + eps);
    for (int64_t m = 0; m < M; ++m) y[m * C + c] = weight[c] * (x[m * C + c] - mean) * invstd + bias[c];
    running_mean[c] = (1 - momentum) * running_mean[c] + momentum * mean;
    running_var[c] = (1 - momentum) * running_var[c] + momentum * var * M / (M - 1);
    saved_mean[c] = mean;
    saved_invstd[c] = invstd;
  }
}

void batchnorm_forward_inference(const BatchNormShape& s, const double* x, const double* weight, const double* bias,
                                 const double* running_mean, const double* running_var, double eps, double* y) {
  const int64_t M = s.rows, C = s.channels;
  for (int64_t m = 0; m < M; ++m)
    for (int64_t c = 0; c < C; ++c)
      y[m * C + c] = weight[c] * (x[m * C + c] - running_mean[c]) / std::sqrt(running_var[c] + eps) + bias[c];
}

void batchnorm_backward(const BatchNormShape& s, const double* x, const double* dy, const double* weight,
                        const double* saved_mean, const double* saved_invstd, double* dx, double* dweight,
                        double* dbias) {
  const int64_t M = s.rows, C = s.channels;
  for (int64_t c = 0; c < C; ++c) {
    const auto normalised = [&](int64_t m) { return (x[m * C + c] - saved_mean[c]) * saved_invstd[c]; };
    dweight[c] = dbias[c] = 0;
    for (int64_t m = 0; m < M; ++m) {
      dbias[c] += dy[m * C + c];
      dweight[c] += dy[m * C + c] * normalised(m);
    }
    for (int64_t m = 0; m < M; ++m)
      dx[m * C + c] = weight[c] * saved_invstd[c] * (dy[m * C + c] - dbias[c] / M - normalised(m) * dweight[c] / M);
  }
}

}  // namespace kernels::reference
