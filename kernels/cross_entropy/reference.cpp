#include <cmath>

#include "kernels/cross_entropy/cross_entropy.h"

namespace kernels::reference {

void cross_entropy(const CrossEntropyShape& s, const double* logits, const int32_t* labels, double label_smoothing,
                   double* losses, int32_t* correct, double* mean_loss, double* dlogits) {
  *mean_loss = 0;
  for (int64_t n = 0; n < s.batch; ++n) {
    const double* z = logits + n * s.classes;
    int best = 0;
    bool numbers = true;
    for (int k = 0; k < s.classes; ++k) {
      if (z[k] > z[best]) best = k;
      numbers = numbers && !std::isnan(z[k]);
    }
    double sum = 0;
    for (int k = 0; k < s.classes; ++k) sum += std::exp(z[k] - z[best]);
    const auto target = [&](int k) { return (k == labels[n] ? 1 - label_smoothing : 0) + label_smoothing / s.classes; };
    losses[n] = std::log(sum);
    for (int k = 0; k < s.classes; ++k)
      if (target(k) > 0) losses[n] -= target(k) * (z[k] - z[best]);  // 0 · ∞ is 0 here
    correct[n] = numbers && best == labels[n];
    *mean_loss += losses[n] / s.batch;
    if (dlogits == nullptr) continue;
    for (int k = 0; k < s.classes; ++k)
      dlogits[n * s.classes + k] = (std::exp(z[k] - z[best]) / sum - target(k)) / s.batch;
  }
}

}  // namespace kernels::reference
