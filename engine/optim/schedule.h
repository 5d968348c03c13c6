// Learning-rate schedules: pure functions of the step.
#pragma once

#include <cstdint>
#include <string_view>

namespace engine::optim {

enum class ScheduleKind { constant, cosine, onecycle };
const char* to_string(ScheduleKind);
ScheduleKind parse_schedule(std::string_view);  // throws InputError for any other word

struct Schedule {
  ScheduleKind kind = ScheduleKind::constant;
  float lr = 1e-3f;         // the highest
  int64_t total_steps = 1;  // of the whole training
  int64_t warmup_steps =
      0;             // constant and cosine: the first steps rise linearly, the first of them at lr / warmup_steps
  float min_lr = 0;  // cosine: what it falls towards
};

// The learning rate of step 0 … total_steps - 1 (later ones get the last's).
//   constant  lr
//   cosine    min_lr + (lr - min_lr) · (1 + cos(π·t)) / 2, t from 0 after the warm-up to 1 at total_steps (Loshchilov &
//   Hutter 2017, eq. 5) onecycle  cosine from lr/25 to lr over the first 30 % of the steps, then cosine down to
//   lr/250,000: PyTorch's OneCycleLR
//             with its defaults (Smith & Topin 2018),
//             of the learning rate alone: momentum stays
float learning_rate(const Schedule&, int64_t step);

}  // namespace engine::optim
