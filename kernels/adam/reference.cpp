#include <cmath>

#include "kernels/adam/adam.h"

namespace kernels::reference {

void adam(int64_t n, double* value, const double* gradient, double* first_moment, double* second_moment,
          double weight_decay, const AdamOptions& options, double lr, int64_t step) {
  const double beta1 = options.beta1, beta2 = options.beta2, eps = options.eps;
  const double t = static_cast<double>(step);
  for (int64_t i = 0; i < n; ++i) {
    double g = gradient[i], &m = first_moment[i], &v = second_moment[i];
    if (options.decoupled_weight_decay)
      value[i] -= lr * weight_decay * value[i];
    else
      g += weight_decay * value[i];
    m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + (1 - beta2) * g * g;
    value[i] -= lr * (m / (1 - std::pow(beta1, t))) / (std::sqrt(v / (1 - std::pow(beta2, t))) + eps);
  }
}

void sgd(int64_t n, double* value, const double* gradient, double* momentum_buffer, double weight_decay,
         const SgdOptions& options, double lr, int64_t step) {
  const double momentum = options.momentum;
  for (int64_t i = 0; i < n; ++i) {
    const double g = gradient[i] + weight_decay * value[i];
    double& b = momentum_buffer[i];
    b = step == 1 ? g : momentum * b + g;
    value[i] -= lr * (options.nesterov ? g + momentum * b : b);
  }
}

void average(int64_t n, double* average, const double* value, double average_weight) {
  for (int64_t i = 0; i < n; ++i) average[i] = (1 - average_weight) * average[i] + average_weight * value[i];
}

}  // namespace kernels::reference
