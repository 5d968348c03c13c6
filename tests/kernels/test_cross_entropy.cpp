#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/harness.h"

using kernels::Context, kernels::CrossEntropy, kernels::CrossEntropyShape;
namespace reference = kernels::reference;

// cross_entropy/after_softmax.h of both devices.
using AfterSoftmax = void(Context&, const CrossEntropyShape&, const float* logits, const float* softmax,
                          const int32_t* labels, float label_smoothing, float* losses, int32_t* correct,
                          float* mean_loss, float* dlogits);
namespace kernels::cpu {
AfterSoftmax cross_entropy_after_softmax;
}
namespace kernels::cuda {
AfterSoftmax cross_entropy_after_softmax;
}

namespace {

const std::vector<CrossEntropyShape> awkward = {{1, 1},  {3, 1},    {1, 2},  {5, 3},   {128, 10}, {7, 31},   {2, 32},
                                                {3, 33}, {31, 100}, {1, 97}, {130, 5}, {9, 1000}, {257, 64}, {33, 2}};
CrossEntropyShape draw(test::Random& random) { return {random.between(1, 150), random.between(1, 140)}; }

AfterSoftmax* after_softmax_under_test() {
#ifdef MOBILENET_CUDA
  if (test::device_under_test() == kernels::DeviceType::cuda) return kernels::cuda::cross_entropy_after_softmax;
#endif
  return kernels::cpu::cross_entropy_after_softmax;
}

// The row `cudnn` with the host's softmax in the place of cuDNN's.
const CrossEntropy after_softmax = {
    .name = "after_softmax",
    .idea = "",
    .provider = kernels::Provider::vendor,
    .supports = [](const CrossEntropyShape&) { return true; },
    .workspace = [](const CrossEntropyShape&) -> size_t { return 0; },
    .forward_backward =
        [](Context& context, const CrossEntropyShape& s, const float* logits, const int32_t* labels,
           float label_smoothing, float* losses, int32_t* correct, float* mean_loss, float* dlogits) {
          std::vector<float> z(static_cast<size_t>(s.batch) * s.classes), p(z.size());
          test::copy_to_host(z.data(), logits, z.size() * sizeof(float));
          for (size_t row = 0; row < z.size(); row += s.classes) {
            float max = -INFINITY, sum = 0;
            for (size_t k = row; k < row + s.classes; ++k) max = std::fmax(max, z[k]);
            for (size_t k = row; k < row + s.classes; ++k) sum += p[k] = std::exp(z[k] - max);
            for (size_t k = row; k < row + s.classes; ++k) p[k] /= sum;
          }
          after_softmax_under_test()(context, s, logits, test::Array<float>(p), labels, label_smoothing, losses,
                                     correct, mean_loss, dlogits);
        },
};

template <class Body>
void for_each_case(const std::vector<CrossEntropyShape>& shapes, int drawn, Body body) {
  if (!test::device_present()) return;
  test::for_each_case(&CrossEntropy::forward_backward, shapes, drawn, draw, body);
  test::for_each_shape(after_softmax, shapes, drawn, draw, body);
}

struct Result {
  std::vector<float> losses, mean_loss, dlogits;
  std::vector<int32_t> correct;
  test::Outputs outputs() const { return {losses, mean_loss, dlogits, {correct.begin(), correct.end()}}; }
};

Result run(const CrossEntropy& row, const CrossEntropyShape& s, const std::vector<float>& logits,
           const std::vector<int32_t>& labels, float smoothing = 0, bool gradient = true) {
  const test::Array<float> device_logits(logits), losses(s.batch), mean_loss(1), dlogits(logits.size());
  const test::Array<int32_t> device_labels(labels), correct(s.batch);
  row.forward_backward(test::context(row.workspace(s)), s, device_logits, device_labels, smoothing, losses, correct,
                       mean_loss, gradient ? dlogits.data() : nullptr);
  return {losses.read(), mean_loss.read(), gradient ? dlogits.read() : std::vector<float>(), correct.read()};
}

std::vector<int32_t> random_labels(test::Random& random, const CrossEntropyShape& s) {
  std::vector<int32_t> labels(s.batch);
  for (int32_t& label : labels) label = random.between(0, s.classes - 1);
  return labels;
}

// One kind of row after the other: ordinary, flat, far apart, all equal, one that wins, and impossible classes unless
// all have to be possible, as with smoothing.
std::vector<float> random_logits(test::Random& random, const CrossEntropyShape& s, const std::vector<int32_t>& labels,
                                 bool all_possible) {
  std::vector<float> logits;
  for (int n = 0; n < s.batch; ++n) {
    std::vector<float> z;
    switch (n % 6) {
      case 0:
        z = random.floats(s.classes, -5, 5);
        break;
      case 1:
        z = random.floats(s.classes, 1e6f, 1e6f + 3);
        break;
      case 2:
        z = random.floats(s.classes, -1e30f, 1e30f);
        break;
      case 3:
        z.assign(s.classes, random.uniform(-100, 100));
        break;
      case 4:
        z = random.floats(s.classes), z[random.between(0, s.classes - 1)] = 30;
        break;
      case 5:
        z = random.floats(s.classes, -5, 5);
        for (int k = 0; k < s.classes; k += 2)
          if (k != labels[n] && !all_possible) z[k] = -INFINITY;
        break;
    }
    logits.insert(logits.end(), z.begin(), z.end());
  }
  return logits;
}

void check(const CrossEntropyShape& s, const Result& result, const std::vector<float>& logits,
           const std::vector<int32_t>& labels, float smoothing) {
  std::vector<double> losses(s.batch), mean_loss(1), dlogits(logits.size());
  std::vector<int32_t> correct(s.batch);
  reference::cross_entropy(s, test::to_double(logits).data(), labels.data(), smoothing, losses.data(), correct.data(),
                           mean_loss.data(), dlogits.data());
  CHECK(result.correct == correct);
  // Each of the K exponentials is good to a few roundings of its value, that of its argument d ≤ 0 included, since
  // |d|·exp(d) < 1; their sum is at least 1, so that its relative error is the logarithm's absolute one. logf and the
  // difference round once more each.
  const double sum_error = 0x1p-24 * (4 * std::sqrt(s.classes) + 4);
  // With smoothing, the loss has K more terms, each at least 0.
  const double relative_error = (smoothing > 0 ? 4 * std::sqrt(s.classes) + 8 : 3) * 0x1p-24;
  test::check_close(result.losses, losses, relative_error, sum_error);
  double magnitude = 0;
  for (const double loss : losses) magnitude += std::fabs(loss) / s.batch;
  test::check_close(result.mean_loss, mean_loss, relative_error,
                    0x1p-24 * (4 * std::sqrt(s.batch) + 8) * magnitude + sum_error);
  if (result.dlogits.empty()) return;
  // A probability is at most 1 and has the sum's relative error and a few roundings.
  test::check_close(result.dlogits, dlogits, 0, (sum_error + 6 * 0x1p-24) / s.batch);
}

}  // namespace

TEST_CASE("cross_entropy forward and backward", "[cross_entropy]") {
  for_each_case(awkward, 20, [](const CrossEntropy& row, const CrossEntropyShape& s, test::Random& random) {
    const auto labels = random_labels(random, s);
    const float smoothing = random.one_of({0.0f, 0.0f, 0.1f, 0.5f, 0.99f});
    const auto logits = random_logits(random, s, labels, smoothing > 0);
    const Result result = run(row, s, logits, labels, smoothing);
    check(s, result, logits, labels, smoothing);
    const Result without = run(row, s, logits, labels, smoothing, false);
    CHECK(without.losses == result.losses);
    CHECK(without.mean_loss == result.mean_loss);
    CHECK(without.correct == result.correct);
    return result.outputs();
  });
}

// Small probabilities keep their relative precision: nothing is subtracted from 1 but at the label.
TEST_CASE("cross_entropy: gradients of unlikely classes", "[cross_entropy]") {
  const std::vector<CrossEntropyShape> shapes = {{1, 4}};
  for_each_case(shapes, 0, [](const CrossEntropy& row, const CrossEntropyShape& s, test::Random&) {
    const std::vector<float> logits = {-20, 0, -60, -80};
    const Result result = run(row, s, logits, {1});
    const double sum = std::exp(-20.0) + 1 + std::exp(-60.0) + std::exp(-80.0);
    for (const int k : {0, 2, 3})  // the argument is exact; expf is good to 2 units of the last place
      CHECK(std::fabs(result.dlogits[k] / (std::exp(double(logits[k])) / sum) - 1) < 0x1p-21);
    return result.outputs();
  });
}

// The first of equal logits is the answer, wherever the lanes of a warp find them.
TEST_CASE("cross_entropy: equal logits", "[cross_entropy]") {
  const std::vector<CrossEntropyShape> shapes = {{6, 70}};
  for_each_case(shapes, 0, [](const CrossEntropy& row, const CrossEntropyShape& s, test::Random& random) {
    std::vector<float> logits = random.floats(6 * 70);
    const auto put = [&](int n, std::vector<int> where) {
      for (const int k : where) logits[n * 70 + k] = 2;
    };
    put(0, {5, 69}), put(1, {40, 41}), put(2, {33, 64}), put(3, {1, 33, 65}), put(4, {69}), put(5, {31, 32});
    const std::vector<int32_t> first = {5, 40, 33, 1, 69, 31}, second = {69, 41, 64, 33, 0, 32};
    const Result result = run(row, s, logits, first);
    CHECK(result.correct == std::vector<int32_t>(6, 1));
    CHECK(run(row, s, logits, second).correct == std::vector<int32_t>(6, 0));
    return result.outputs();
  });
}

TEST_CASE("cross_entropy: a NaN makes its row's loss and the mean NaN", "[cross_entropy]") {
  const std::vector<CrossEntropyShape> shapes = {{5, 1}, {5, 3}, {5, 40}, {5, 100}};
  for_each_case(shapes, 0, [](const CrossEntropy& row, const CrossEntropyShape& s, test::Random& random) {
    Result last;
    for (const int where : {0, s.classes / 2, s.classes - 1}) {
      auto logits = random.floats(s.batch * s.classes);
      logits[2 * s.classes + where] = NAN;
      const auto labels = random_labels(random, s);
      last = run(row, s, logits, labels, random.one_of({0.0f, 0.1f}));
      CHECK(std::isnan(last.mean_loss[0]));
      CHECK(last.correct[2] == 0);
      for (int n = 0; n < s.batch; ++n) {
        CHECK(std::isnan(last.losses[n]) == (n == 2));
        for (int k = 0; k < s.classes; ++k) CHECK(std::isnan(last.dlogits[n * s.classes + k]) == (n == 2));
      }
    }
    return test::Outputs{};  // which NaN it is may differ
  });
}

// Along a direction v, (L(z + hv) - L(z - hv)) / 2h = dz · v + O(h²).
TEST_CASE("cross_entropy reference: the gradient agrees with finite differences", "[cross_entropy]") {
  test::Random random{1};
  for (const CrossEntropyShape& s : awkward) {
    const size_t count = size_t(s.batch) * s.classes;
    const auto z = test::to_double(random.floats(count, -3, 3)), v = test::to_double(random.floats(count));
    const auto labels = random_labels(random, s);
    const double smoothing = random.one_of({0.0, 0.1, 0.5});
    std::vector<double> losses(s.batch), dz(count);
    std::vector<int32_t> correct(s.batch);
    const auto mean_loss = [&](double step, double* dlogits) {
      std::vector<double> moved = z;
      for (size_t i = 0; i < count; ++i) moved[i] += step * v[i];
      double mean = 0;
      reference::cross_entropy(s, moved.data(), labels.data(), smoothing, losses.data(), correct.data(), &mean,
                               dlogits);
      return mean;
    };
    mean_loss(0, dz.data());
    double derivative = 0;
    for (size_t i = 0; i < count; ++i) derivative += dz[i] * v[i];
    const double h = 1e-4;  // h² times the third derivative, at most 1 here, and 1e-16 · loss / h
    CHECK(std::fabs((mean_loss(h, nullptr) - mean_loss(-h, nullptr)) / (2 * h) - derivative) < 1e-8);
  }
}

// Two classes, z = (1, 0), label 0, s = 0.2: the targets are 0.9 and 0.1.
TEST_CASE("cross_entropy reference: smoothed targets by hand", "[cross_entropy]") {
  const std::vector<double> z = {1, 0};
  const int32_t label = 0;
  double loss = 0, mean = 0, dz[2];
  int32_t correct = 0;
  reference::cross_entropy({1, 2}, z.data(), &label, 0.2, &loss, &correct, &mean, dz);
  const double p = 1 / (1 + std::exp(-1.0));
  CHECK(std::fabs(loss + 0.9 * std::log(p) + 0.1 * std::log(1 - p)) < 1e-14);
  CHECK(std::fabs(dz[0] - (p - 0.9)) < 1e-14);
  CHECK(std::fabs(dz[1] - (1 - p - 0.1)) < 1e-14);
  CHECK(mean == loss);
  CHECK(correct == 1);
}

TEST_CASE("cross_entropy: with smoothing, an impossible class makes its row's loss infinite", "[cross_entropy]") {
  const std::vector<CrossEntropyShape> shapes = {{3, 2}, {3, 40}};
  for_each_case(shapes, 0, [](const CrossEntropy& row, const CrossEntropyShape& s, test::Random& random) {
    auto logits = random.floats(s.batch * s.classes);
    logits[s.classes + 1] = -INFINITY;
    const Result result = run(row, s, logits, std::vector<int32_t>(3, 0), 0.1f);
    for (int n = 0; n < 3; ++n) CHECK(std::isinf(result.losses[n]) == (n == 1));
    CHECK(result.mean_loss[0] == INFINITY);
    return result.outputs();
  });
}
