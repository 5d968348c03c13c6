#include <algorithm>

#include "kernels/common/fused_norm.h"

namespace kernels::reference {

void fused_activate(int64_t rows, int channels, const double* mean, const double* scale, const double* bias,
                    const double* z, double* a) {
  for (int64_t m = 0; m < rows; ++m)
    for (int c = 0; c < channels; ++c)
      a[m * channels + c] = std::clamp(scale[c] * (z[m * channels + c] - mean[c]) + bias[c], 0.0, 6.0);
}

void fused_gradient(int64_t rows, int channels, const double* mean, const double* scale, const double* slope,
                    const double* constant, const double* z, const double* du, double* dz) {
  for (int64_t m = 0; m < rows; ++m)
    for (int c = 0; c < channels; ++c) {
      const int64_t i = m * channels + c;
      dz[i] = scale[c] * du[i] + slope[c] * (z[i] - mean[c]) + constant[c];
    }
}

void fused_mask(int64_t rows, int channels, const double* mean, const double* invstd, const double* scale,
                const double* bias, const double* z, const double* da, double* du, double* dweight, double* dbias,
                double* slope, double* constant) {
  for (int c = 0; c < channels; ++c) {
    double sum = 0, product = 0;
    for (int64_t i = c; i < rows * channels; i += channels) {
      const double u = scale[c] * (z[i] - mean[c]) + bias[c];
      du[i] = u > 0 && u < 6 ? da[i] : 0;
      sum += du[i];
      product += du[i] * (z[i] - mean[c]);
    }
    dbias[c] = sum;
    dweight[c] = product * invstd[c];
    slope[c] = -scale[c] * invstd[c] * dweight[c] / static_cast<double>(rows);
    constant[c] = -scale[c] * dbias[c] / static_cast<double>(rows);
  }
}

}  // namespace kernels::reference
