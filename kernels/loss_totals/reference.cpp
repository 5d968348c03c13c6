#include <cmath>

#include "kernels/loss_totals/loss_totals.h"

namespace kernels::reference {

float add_to_totals(const LossTotalsShape& s, const float* losses, const int32_t* correct, float mean_loss,
                    TrainingTotals* totals) {
  if (totals->bad != 0) return NAN;
  double sum = 0;
  for (int n = 0; n < s.batch; ++n) sum += losses[n];
  if (!std::isfinite(sum) || !std::isfinite(mean_loss)) {
    totals->bad = 1;
    totals->bad_loss = sum;
    return NAN;
  }
  totals->loss_sum += sum;
  for (int n = 0; n < s.batch; ++n) totals->correct += correct[n];
  ++totals->steps;
  return mean_loss;
}

}  // namespace kernels::reference
