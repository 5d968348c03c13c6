#include "kernels/harness.h"
#include "kernels/loss_totals/loss_totals.h"

using kernels::LossTotals, kernels::LossTotalsShape, kernels::TrainingTotals;
namespace reference = kernels::reference;

namespace {

const std::vector<LossTotalsShape> awkward = {{1}, {2}, {31}, {127}, {128}, {129}, {256}, {257}, {1000}};
LossTotalsShape draw(test::Random& random) { return {random.between(1, 600)}; }

struct Step {
  std::vector<float> losses;
  std::vector<int32_t> correct;
  float mean_loss;
};

// Of all magnitudes, so that another order of summing would give other bits.
Step draw_step(test::Random& random, int batch) {
  Step step;
  for (int n = 0; n < batch; ++n) {
    step.losses.push_back(std::ldexp(random.uniform(0, 1), random.between(-40, 40)));
    step.correct.push_back(random.between(0, 1));
  }
  step.mean_loss = random.uniform(0, 10);
  return step;
}

bool same(const TrainingTotals& a, const TrainingTotals& b) { return std::memcmp(&a, &b, sizeof a) == 0; }
bool same(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }

}  // namespace

TEST_CASE("loss_totals: the sums of the reference, to the bit, until a loss is no number", "[loss_totals]") {
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    for (const bool in_mean : {false, true}) {
      test::for_each_case(
          &LossTotals::add, awkward, 10, draw, [&](const LossTotals& row, const LossTotalsShape& s, auto& random) {
            INFO(test::current_case.repeat());
            TrainingTotals expected = {.loss_sum = 0.1, .correct = (int64_t{1} << 40) + 3, .steps = 7};
            const test::Array<TrainingTotals> totals(std::vector<TrainingTotals>{expected});
            const test::Array<float> guard(1);
            for (int step = 0; step < 5; ++step) {
              Step drawn = draw_step(random, s.batch);
              if (step == 3) (in_mean ? drawn.mean_loss : drawn.losses[random.between(0, s.batch - 1)]) = bad;
              const test::Array<float> losses(drawn.losses), mean_loss(std::vector<float>{drawn.mean_loss});
              const test::Array<int32_t> correct(drawn.correct);
              row.add(test::context(row.workspace(s)), s, losses, correct, mean_loss, totals, guard);
              const float expected_guard =
                  reference::add_to_totals(s, drawn.losses.data(), drawn.correct.data(), drawn.mean_loss, &expected);
              CHECK(same(guard.read()[0], expected_guard));
              const TrainingTotals actual = totals.read()[0];
              if (step < 3) CHECK(same(actual, expected));
              CHECK(actual.loss_sum == expected.loss_sum);
              CHECK(actual.correct == expected.correct);
              CHECK(actual.steps == (step < 3 ? 8 + step : 10));  // the fourth is step 10, and bad
              CHECK(actual.bad == (step >= 3));
              CHECK(std::isfinite(guard.read()[0]) == (step < 3));
              if (step >= 3 && !in_mean) CHECK(!std::isfinite(actual.bad_loss));
            }
            return test::Outputs{guard.read()};
          });
    }
  }
}
