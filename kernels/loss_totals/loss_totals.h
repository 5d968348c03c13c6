// What a training adds up over its steps, kept on the device, so that nothing has to wait for a step's loss.
//
//   step_sum = Σ_n losses[n]      n = 0 … N-1 one after the other, in double: the same bits on every device
//   all finite so far:            loss_sum += step_sum;  correct += Σ_n correct[n];  steps += 1;  guard = mean_loss
//   step_sum or mean_loss is not: bad = 1;  bad_loss = step_sum;  guard = NaN
//   and from then on:             nothing changes;  guard = NaN
//
// `guard` is what the optimiser's own guard is handed as the loss (kernels/adam/adam.h): behind the first bad step the
// weights stay those that met it, however many steps were already on their way.
#pragma once

#include "kernels/common/table.h"

namespace kernels {

struct TrainingTotals {
  double loss_sum = 0;
  int64_t correct = 0;
  int64_t steps = 0;  // added up; where bad is 1, also the number, from 0, of the bad step
  double bad_loss = 0;
  int64_t bad = 0;
};

struct LossTotalsShape {
  int batch;
};

struct LossTotals {
  static constexpr const char* operation = "loss_totals";
  const char* name;
  const char* idea;
  Provider provider;
  bool (*supports)(const LossTotalsShape&);
  size_t (*workspace)(const LossTotalsShape&);  // bytes
  void (*add)(Context&, const LossTotalsShape&,
              const float* losses,     // (N)
              const int32_t* correct,  // (N)
              const float* mean_loss,  // (1)
              TrainingTotals* totals,  // (1), device
              float* guard);           // (1)
};

namespace reference {
// Returns the guard.
float add_to_totals(const LossTotalsShape&, const float* losses, const int32_t* correct, float mean_loss,
                    TrainingTotals* totals);
}  // namespace reference

}  // namespace kernels
