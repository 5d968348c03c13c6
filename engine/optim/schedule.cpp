#include "engine/optim/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/error.h"

namespace engine::optim {
namespace {

constexpr double pi = 3.14159265358979323846;

// From `from` at t = 0 to `to` at t = 1, along half a cosine.
double anneal(double from, double to, double t) { return to + (from - to) / 2 * (1 + std::cos(pi * t)); }

double onecycle(double lr, double step, double total) {
  const double start = lr / 25, end = start / 1e4;
  const double top = 0.3 * total - 1;  // the step of the highest rate, as PyTorch counts
  if (step <= top) return anneal(start, lr, top > 0 ? step / top : 1);
  return anneal(lr, end, std::min(1.0, (step - top) / std::max(total - 1 - top, 1e-9)));
}

}  // namespace

const char* to_string(ScheduleKind kind) {
  switch (kind) {
    case ScheduleKind::constant:
      return "constant";
    case ScheduleKind::cosine:
      return "cosine";
    case ScheduleKind::onecycle:
      return "onecycle";
  }
  return "?";
}

ScheduleKind parse_schedule(std::string_view word) {
  for (const ScheduleKind kind : {ScheduleKind::constant, ScheduleKind::cosine, ScheduleKind::onecycle})
    if (word == to_string(kind)) return kind;
  throw InputError("schedule", fmt::format("\"{}\" is none of constant, cosine, onecycle", word));
}

float learning_rate(const Schedule& s, int64_t step) {
  step = std::clamp<int64_t>(step, 0, std::max<int64_t>(s.total_steps - 1, 0));
  if (s.kind == ScheduleKind::onecycle)
    return static_cast<float>(onecycle(s.lr, static_cast<double>(step), static_cast<double>(s.total_steps)));
  if (step < s.warmup_steps)
    return static_cast<float>(s.lr * (static_cast<double>(step + 1) / static_cast<double>(s.warmup_steps)));
  if (s.kind == ScheduleKind::constant) return s.lr;
  const double t = static_cast<double>(step - s.warmup_steps) / static_cast<double>(s.total_steps - s.warmup_steps);
  return static_cast<float>(anneal(s.lr, s.min_lr, t));
}

}  // namespace engine::optim
