#include "engine/optim/schedule.h"
#include "support.h"

using namespace engine::optim;

TEST_CASE("constant and cosine schedules, with warm-up", "[schedule]") {
  Schedule s = {.kind = ScheduleKind::constant, .lr = 0.5f, .total_steps = 100};
  CHECK(learning_rate(s, 0) == 0.5f);
  CHECK(learning_rate(s, 99) == 0.5f);
  s.warmup_steps = 4;
  CHECK(learning_rate(s, 0) == 0.125f);
  CHECK(learning_rate(s, 3) == 0.5f);
  CHECK(learning_rate(s, 4) == 0.5f);

  s = {.kind = ScheduleKind::cosine, .lr = 1, .total_steps = 110, .warmup_steps = 10};
  CHECK(learning_rate(s, 4) == 0.5f);
  CHECK(learning_rate(s, 10) == 1);
  CHECK(test::near(learning_rate(s, 60), 0.5));                       // half way
  CHECK(test::near(learning_rate(s, 35), (1 + std::sqrt(0.5)) / 2));  // a quarter: cos 45°
  CHECK(learning_rate(s, 109) > 0);
  CHECK(learning_rate(s, 109) < 0.001);
  CHECK(learning_rate(s, 1000) == learning_rate(s, 109));
  for (int i = 11; i < 110; ++i) CHECK(learning_rate(s, i) < learning_rate(s, i - 1));
}

TEST_CASE("one-cycle is PyTorch's OneCycleLR with its defaults", "[schedule]") {
  // torch.optim.lr_scheduler.OneCycleLR(max_lr=1, total_steps=20): rises over steps 0 … 5 (0.3 · 20 - 1), falls to
  // step 19.
  const Schedule s = {.kind = ScheduleKind::onecycle, .lr = 1, .total_steps = 20};
  CHECK(test::near(learning_rate(s, 0), 1.0 / 25));
  CHECK(test::near(learning_rate(s, 5), 1));
  CHECK(test::near(learning_rate(s, 19), 1.0 / 250'000));
  CHECK(test::near(learning_rate(s, 12), (1 + 1.0 / 250'000) / 2));  // the middle of the fall
  for (int i = 1; i <= 5; ++i) CHECK(learning_rate(s, i) > learning_rate(s, i - 1));
  for (int i = 6; i < 20; ++i) CHECK(learning_rate(s, i) < learning_rate(s, i - 1));
  for (const int64_t total : {1, 2, 3, 4})  // too short to rise: still finite
    for (int64_t i = 0; i < total; ++i) {
      const float lr = learning_rate({.kind = ScheduleKind::onecycle, .lr = 1, .total_steps = total}, i);
      CHECK(lr > 0);
      CHECK(lr <= 1);
    }
}

TEST_CASE("words for schedules", "[schedule]") {
  for (const ScheduleKind kind : {ScheduleKind::constant, ScheduleKind::cosine, ScheduleKind::onecycle})
    CHECK(parse_schedule(to_string(kind)) == kind);
  test::check_message(test::message_of<engine::InputError>([] { parse_schedule("linear"); }), {"linear", "cosine"});
}

// Printed by PyTorch 1.13, with a highest rate of 0.5: OneCycleLR(total_steps=20); CosineAnnealingLR(T_max=20,
// eta_min=0.02); and that with T_max=16 behind LinearLR(start_factor=0.25, total_iters=3) of 4 steps.
TEST_CASE("schedules have PyTorch's values", "[schedule]") {
  const Schedule onecycle = {.kind = ScheduleKind::onecycle, .lr = 0.5f, .total_steps = 20};
  const std::pair<int, double> rises[] = {
      {0, 0.020000000000000018}, {1, 0.06583592135001265}, {3, 0.3341640786499874},   {5, 0.5},
      {6, 0.49373200311754367},  {12, 0.250001},           {18, 0.006269996882456277}};
  for (const auto& [step, lr] : rises) CHECK(test::near(learning_rate(onecycle, step), lr));
  const Schedule cosine = {.kind = ScheduleKind::cosine, .lr = 0.5f, .total_steps = 20, .min_lr = 0.02f};
  const std::pair<int, double> falls[] = {
      {0, 0.5}, {1, 0.49704520174283306}, {7, 0.36895771993749127}, {10, 0.26}, {19, 0.022954798257166963}};
  for (const auto& [step, lr] : falls) CHECK(test::near(learning_rate(cosine, step), lr));
  Schedule warm = cosine;
  warm.warmup_steps = 4;
  const std::pair<int, double> both[] = {{0, 0.125}, {1, 0.25},
                                         {2, 0.375}, {3, 0.5},
                                         {4, 0.5},   {5, 0.4953884672967753},
                                         {12, 0.26}, {19, 0.0246115327032247}};
  for (const auto& [step, lr] : both) CHECK(test::near(learning_rate(warm, step), lr));
}
