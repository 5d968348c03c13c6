// What all rows do once a step's losses are added up.
#pragma once

#include <math.h>

#include "kernels/common/launch.h"
#include "kernels/loss_totals/loss_totals.h"

namespace kernels::KERNEL_TARGET {

// Adds a step, or marks it as the bad one; returns the guard.
__device__ __forceinline__ float add_step(TrainingTotals& totals, double sum, int64_t correct, float mean_loss) {
  if (totals.bad != 0) return NAN;
  if (!(fabs(sum) < INFINITY && fabsf(mean_loss) < INFINITY)) {
    totals.bad = 1;
    totals.bad_loss = sum;
    return NAN;
  }
  totals.loss_sum += sum;
  totals.correct += correct;
  totals.steps += 1;
  return mean_loss;
}

}  // namespace kernels::KERNEL_TARGET
