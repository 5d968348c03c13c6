#include "kernels/batchnorm/batchnorm.h"

#include <algorithm>

#include "kernels/convolution.h"

using kernels::BatchNorm, kernels::BatchNormOf, kernels::BatchNormShape, kernels::Bf16;
namespace reference = kernels::reference;

namespace {

// rows, channels. The split rungs give a block 128 threads, a thread at least 8 rows, and join up to 512 chunks.
const std::vector<BatchNormShape> awkward = {{2, 1},      {3, 1},    {2, 3},     {3, 5},   {7, 7},    {2, 17},
                                             {33, 31},    {31, 33},  {64, 32},   {100, 4}, {257, 8},  {999, 3},
                                             {2, 1024},   {5, 513},  {1025, 64}, {9, 600}, {40, 256}, {2049, 12},
                                             {128, 1020}, {1030, 2}, {5000, 1}};
BatchNormShape draw(test::Random& random) {
  return {random.between(2, 3000), random.one_of({1, 2, 3, 4, 5, 8, 12, 16, 17, 24, 32, 40, 64})};
}

const float eps = 1e-5f;
const double unit = 0x1p-24;  // of rounding: half the distance of two floats, relative

// Channels of all kinds: ordinary; far from zero (mean ±1000, deviation 0.006: x² and μ² agree in 10 digits, so that
// their difference in fp32 would be noise); constant; with one value far from all others; tiny. As numbers of T.
template <class T>
std::vector<float> inputs(test::Random& random, const BatchNormShape& s, int kind) {
  std::vector<float> x(s.rows * s.channels);
  for (int c = 0; c < s.channels; ++c) {
    const int of = (c + kind) % 5;
    const float mean = of == 0 ? random.uniform(-2, 2) : of == 1 ? random.one_of({-1000.0f, 1000.0f}) : 0.5f;
    const float deviation = of == 1 ? 0.01f : of == 2 ? 0 : of == 4 ? 1e-4f : random.uniform(0.1f, 3);
    const int64_t odd = random.between(0, static_cast<int>(s.rows) - 1);
    for (int64_t m = 0; m < s.rows; ++m)
      x[m * s.channels + c] = mean + deviation * random.uniform(-1, 1) + (of == 3 && m == odd ? 50 : 0);
  }
  return test::to_floats(test::typed<T>(x));
}

// How far the statistics of a channel may be from the reference's.
struct Tolerance {
  double mean, invstd;  // absolute; relative
};
Tolerance tolerance(const BatchNormShape& s, const std::vector<float>& x, int c, double mean, double invstd) {
  double spread = 0;
  for (int64_t m = 0; m < s.rows; ++m) spread = std::max(spread, std::fabs(x[m * s.channels + c] - mean));
  // Sums of M differences, none larger than twice the spread, and the mean itself rounded to fp32 a few times: for a
  // mean of 1000 that is 6e-5, one hundredth of the deviation, and no fp32 mean can be nearer.
  const double sums = unit * (4 * std::sqrt(s.rows) + 4);
  const double mean_error = sums * 2 * spread + 4 * unit * std::fabs(mean);
  // Σ(x-μ)² has the same relative error, and a mean that is off adds its error's square. Where the first of a thread's
  // R ≤ 32 values is far from the others, what it sums is R times what is left of it, in R additions: R·√R roundings.
  const double thread = 32 * std::sqrt(32.0) * unit;
  return {mean_error, 0.5 * (sums + thread + mean_error * mean_error * invstd * invstd) + 4 * unit};
}

// One check for a channel's elements, or for one value a channel: check_close with a tolerance of its own.
void check_each(const std::vector<float>& actual, const std::vector<double>& expected,
                const std::vector<double>& allowed) {
  std::vector<double> one(actual.size());
  std::vector<float> ratio(actual.size());
  for (size_t i = 0; i < actual.size(); ++i)  // NaN stays NaN, and fails
    ratio[i] = static_cast<float>((actual[i] - expected[i]) / (allowed[i] + 1e-300));
  test::check_close(ratio, one, 0, 1);
}

// T: the type of x, y and their gradients.
template <class T>
void check_training() {
  test::for_each_case(
      &BatchNormOf<T>::forward_training, awkward, 20, draw,
      [](const BatchNormOf<T>& row, const BatchNormShape& s, test::Random& random) {
        const int64_t M = s.rows, C = s.channels;
        const int offset = random.between(0, 3) == 0;
        const auto x = inputs<T>(random, s, random.between(0, 4));
        const auto weight = random.floats(C, -2, 2), bias = random.floats(C), mean = random.floats(C);
        const auto var = random.floats(C, 0, 2);
        const float momentum = random.one_of({0.1f, 1.0f, 0.0f});
        const test::Array<T> device_x(test::typed<T>(x), offset), device_y(M * C);
        const test::Array<float> device_weight(weight), device_bias(bias), running_mean(mean);
        const test::Array<float> running_var(var), saved_mean(C), saved_invstd(C);
        row.forward_training(test::context(row.workspace(s)), s, device_x, device_weight, device_bias, eps, momentum,
                             running_mean, running_var, saved_mean, saved_invstd, device_y);

        auto expected_mean = test::to_double(mean), expected_var = test::to_double(var);
        std::vector<double> mu(C), invstd(C), y(M * C);
        reference::batchnorm_forward_training(s, test::to_double(x).data(), test::to_double(weight).data(),
                                              test::to_double(bias).data(), eps, momentum, expected_mean.data(),
                                              expected_var.data(), mu.data(), invstd.data(), y.data());
        std::vector<double> mean_error(C), invstd_error(C), running_mean_error(C), running_var_error(C), y_error(M * C);
        for (int64_t c = 0; c < C; ++c) {
          const Tolerance t = tolerance(s, x, c, mu[c], invstd[c]);
          mean_error[c] = t.mean;
          invstd_error[c] = t.invstd * invstd[c];
          // What the update adds: momentum times the statistic's error, and three roundings.
          running_mean_error[c] = momentum * t.mean + 3 * unit * (std::fabs(mean[c]) + std::fabs(mu[c]));
          const double unbiased = (1 / (invstd[c] * invstd[c]) - eps) * M / (M - 1);
          running_var_error[c] =
              momentum * (2 * t.invstd * (unbiased + eps) + t.mean * t.mean) + 3 * unit * (var[c] + unbiased);
          for (int64_t m = 0; m < M; ++m) {
            const double scaled = std::fabs(y[m * C + c] - bias[c]);  // γ·x̂
            y_error[m * C + c] = std::fabs(weight[c]) * invstd[c] * t.mean + scaled * t.invstd +
                                 4 * unit * (scaled + std::fabs(bias[c])) +
                                 test::result_rounding<T> * std::fabs(y[m * C + c]);
          }
        }
        check_each(saved_mean.read(), mu, mean_error);
        check_each(saved_invstd.read(), invstd, invstd_error);
        check_each(running_mean.read(), expected_mean, running_mean_error);
        check_each(running_var.read(), expected_var, running_var_error);
        check_each(test::to_floats(device_y.read()), y, y_error);
        return test::Outputs{saved_mean.read(), saved_invstd.read(), running_mean.read(), running_var.read(),
                             test::to_floats(device_y.read())};
      });
}

template <class T>
void check_inference() {
  std::vector<BatchNormShape> shapes = awkward;
  shapes.insert(shapes.end(), {{1, 1}, {1, 7}, {1, 64}});
  test::for_each_case(&BatchNormOf<T>::forward_inference, shapes, 20, draw,
                      [](const BatchNormOf<T>& row, const BatchNormShape& s, test::Random& random) {
                        const int64_t M = s.rows, C = s.channels;
                        const int offset = random.between(0, 3) == 0;
                        const auto x = inputs<T>(random, s, 0), weight = random.floats(C, -2, 2),
                                   bias = random.floats(C);
                        const auto mean = random.floats(C, -2, 2);
                        auto var = random.floats(C, 0, 2);
                        for (int64_t c = 0; c < C; c += 3) var[c] = 0;
                        const test::Array<T> device_x(test::typed<T>(x)), device_y(M * C);
                        const test::Array<float> device_weight(weight, offset), device_bias(bias, offset),
                            device_mean(mean), device_var(var);
                        row.forward_inference(test::context(row.workspace(s)), s, device_x, device_weight, device_bias,
                                              device_mean, device_var, eps, device_y);
                        std::vector<double> y(M * C), allowed(M * C);
                        reference::batchnorm_forward_inference(
                            s, test::to_double(x).data(), test::to_double(weight).data(), test::to_double(bias).data(),
                            test::to_double(mean).data(), test::to_double(var).data(), eps, y.data());
                        // A handful of roundings, each of a term of γ·x/σ - γ·μ/σ + β: a row may subtract μ from x, or
                        // make β - γ·μ/σ first, as cuDNN does.
                        for (int64_t i = 0; i < M * C; ++i) {
                          const int64_t c = i % C;
                          const double scale = std::fabs(weight[c]) / std::sqrt(double{var[c]} + eps);
                          const double terms = scale * (std::fabs(x[i]) + std::fabs(mean[c])) + std::fabs(bias[c]);
                          allowed[i] = 8 * unit * terms + test::result_rounding<T> * std::fabs(y[i]);
                        }
                        check_each(test::to_floats(device_y.read()), y, allowed);
                        return test::Outputs{test::to_floats(device_y.read())};
                      });
}

template <class T>
void check_backward() {
  test::for_each_case(
      &BatchNormOf<T>::backward, awkward, 20, draw,
      [](const BatchNormOf<T>& row, const BatchNormShape& s, test::Random& random) {
        const int64_t M = s.rows, C = s.channels;
        const int offset = random.between(0, 3) == 0;
        const auto x = inputs<T>(random, s, random.between(0, 4)),
                   dy = test::to_floats(test::typed<T>(random.floats(M * C)));
        const auto weight = random.floats(C, -2, 2);
        std::vector<float> mean(C), invstd(C);
        {
          std::vector<double> zero(C), mu(C), sigma(C), y(M * C);
          reference::batchnorm_forward_training(s, test::to_double(x).data(), zero.data(), zero.data(), eps, 0,
                                                zero.data(), zero.data(), mu.data(), sigma.data(), y.data());
          std::copy(mu.begin(), mu.end(), mean.begin());
          std::copy(sigma.begin(), sigma.end(), invstd.begin());
        }
        const test::Array<T> device_x(test::typed<T>(x)), device_dy(test::typed<T>(dy), offset), device_dx(M * C);
        const test::Array<float> device_weight(weight), device_mean(mean), device_invstd(invstd), device_dweight(C),
            device_dbias(C);
        row.backward(test::context(row.workspace(s)), s, device_x, device_dy, device_weight, device_mean, device_invstd,
                     device_dx, device_dweight, device_dbias);

        std::vector<double> dx(M * C), dweight(C), dbias(C), dweight_size(C), dbias_size(C);
        reference::batchnorm_backward(s, test::to_double(x).data(), test::to_double(dy).data(),
                                      test::to_double(weight).data(), test::to_double(mean).data(),
                                      test::to_double(invstd).data(), dx.data(), dweight.data(), dbias.data());
        const auto normalised = [&](int64_t m, int64_t c) {
          return (double(x[m * C + c]) - mean[c]) * double(invstd[c]);
        };
        for (int64_t m = 0; m < M; ++m)
          for (int64_t c = 0; c < C; ++c) {
            dbias_size[c] += std::fabs(dy[m * C + c]);
            dweight_size[c] += std::fabs(dy[m * C + c] * normalised(m, c));
          }
        test::check_sum(device_dbias.read(), dbias, dbias_size, M);
        test::check_sum(device_dweight.read(), dweight, dweight_size, M);
        // dx is a sum of three terms: a few roundings of each, and what the two sums are off by.
        std::vector<double> allowed(M * C);
        const double sums = unit * (4 * std::sqrt(M) + 4);
        for (int64_t m = 0; m < M; ++m)
          for (int64_t c = 0; c < C; ++c) {
            const double n = std::fabs(normalised(m, c));
            const double terms = std::fabs(dy[m * C + c]) + (std::fabs(dbias[c]) + n * std::fabs(dweight[c])) / M;
            const double off = sums * (dbias_size[c] + n * dweight_size[c]) / M;
            allowed[m * C + c] = std::fabs(double(weight[c]) * invstd[c]) * (8 * unit * terms + off) +
                                 test::result_rounding<T> * std::fabs(dx[m * C + c]);
          }
        check_each(test::to_floats(device_dx.read()), dx, allowed);
        return test::Outputs{test::to_floats(device_dx.read()), device_dweight.read(), device_dbias.read()};
      });
}

}  // namespace

TEST_CASE("batchnorm training forward", "[batchnorm]") { check_training<float>(); }
TEST_CASE("batchnorm inference", "[batchnorm]") { check_inference<float>(); }
TEST_CASE("batchnorm backward", "[batchnorm]") { check_backward<float>(); }
TEST_CASE("batchnorm training forward, bfloat16 activations", "[batchnorm]") { check_training<Bf16>(); }
TEST_CASE("batchnorm inference, bfloat16 activations", "[batchnorm]") { check_inference<Bf16>(); }
TEST_CASE("batchnorm backward, bfloat16 activations", "[batchnorm]") { check_backward<Bf16>(); }

// As long as the network's longest sums, on few channels (131072 rows are 32 × 32 × 128), and threads of the longest
// parts, 34 rows.
TEST_CASE("batchnorm: many rows far from zero", "[batchnorm]") {
  const std::vector<BatchNormShape> shapes = {{131073, 4}, {131073, 1}, {17000, 65}};
  test::for_each_case(
      &BatchNorm::forward_training, shapes, 0, draw,
      [](const BatchNorm& row, const BatchNormShape& s, test::Random& random) {
        const int64_t M = s.rows, C = s.channels;
        const auto x = random.floats(M * C, 999.99f, 1000.01f);
        const std::vector<float> ones(C, 1), zeros(C);
        const test::Array<float> device_x(x), weight(ones), bias(zeros), running_mean(zeros), running_var(zeros);
        const test::Array<float> saved_mean(C), saved_invstd(C), y(M * C);
        row.forward_training(test::context(row.workspace(s)), s, device_x, weight, bias, eps, 1, running_mean,
                             running_var, saved_mean, saved_invstd, y);
        std::vector<double> mu(C), sigma(C), expected_mean(C), expected_var(C), expected_y(M * C);
        reference::batchnorm_forward_training(s, test::to_double(x).data(), test::to_double(ones).data(),
                                              std::vector<double>(C).data(), eps, 1, expected_mean.data(),
                                              expected_var.data(), mu.data(), sigma.data(), expected_y.data());
        // Floats near 1000 are 6.1e-5 apart: the mean may be the next but one, 1.2e-4 off. That adds 1.5e-8 to a
        // variance of 3.3e-5, 0.05 %, and rounding in the sums less than that. (cuDNN: 0.101 %, seen on an H200.)
        test::check_close(saved_mean.read(), mu, 0, 1.3e-4);
        test::check_close(running_var.read(), expected_var, row.provider == kernels::Provider::native ? 1e-3 : 2e-3, 0);
        return test::Outputs{saved_mean.read(), running_var.read(), y.read()};
      });
}

TEST_CASE("batchnorm: one row has no unbiased variance", "[batchnorm]") {
  if (!test::device_present()) return;
  for (const BatchNorm& row : kernels::implementations<BatchNorm>(test::device_under_test())) {
    const BatchNormShape s = {1, 4};
    const test::Array<float> a(4);
    CHECK_THROWS_AS(row.forward_training(test::context(row.workspace(s)), s, a, a, a, eps, 0.1f, a, a, a, a, a),
                    kernels::Error);
  }
}

// With L = Σ g·y(x, γ, β): along a direction, (L(+h) - L(-h)) / 2h = its product with the gradient, + O(h²).
TEST_CASE("batchnorm reference: gradients agree with finite differences", "[batchnorm]") {
  test::Random random{1};
  for (const BatchNormShape& s : {BatchNormShape{5, 3}, BatchNormShape{2, 2}, BatchNormShape{40, 7}}) {
    const int64_t M = s.rows, C = s.channels;
    const auto draw_array = [&](int64_t n) { return test::to_double(random.floats(n)); };
    auto x = draw_array(M * C);
    for (int64_t c = 0; c < C; ++c) x[c] += 2;  // so that no channel's deviation is tiny and the curvature large
    const auto g = draw_array(M * C), weight = draw_array(C), bias = draw_array(C);
    const auto along_x = draw_array(M * C), along_weight = draw_array(C), along_bias = draw_array(C);
    std::vector<double> mean(C), invstd(C), running_mean(C), running_var(C), y(M * C);
    const auto loss = [&](double step_x, double step_weight, double step_bias) {
      auto moved_x = x, moved_weight = weight, moved_bias = bias;
      for (int64_t i = 0; i < M * C; ++i) moved_x[i] += step_x * along_x[i];
      for (int64_t i = 0; i < C; ++i) moved_weight[i] += step_weight * along_weight[i];
      for (int64_t i = 0; i < C; ++i) moved_bias[i] += step_bias * along_bias[i];
      reference::batchnorm_forward_training(s, moved_x.data(), moved_weight.data(), moved_bias.data(), eps, 0.1,
                                            running_mean.data(), running_var.data(), mean.data(), invstd.data(),
                                            y.data());
      double sum = 0;
      for (int64_t i = 0; i < M * C; ++i) sum += g[i] * y[i];
      return sum;
    };
    loss(0, 0, 0);  // leaves mean and invstd
    std::vector<double> dx(M * C), dweight(C), dbias(C);
    reference::batchnorm_backward(s, x.data(), g.data(), weight.data(), mean.data(), invstd.data(), dx.data(),
                                  dweight.data(), dbias.data());
    const auto dot = [](const std::vector<double>& a, const std::vector<double>& b) {
      double sum = 0;
      for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
      return sum;
    };
    const double h = 1e-5;  // rounding: 1e-16 · |L| / h; curvature: h² times a third derivative of at most 10 |L|
    const double allowed = 1e-9 * M * C;
    CHECK(std::fabs((loss(h, 0, 0) - loss(-h, 0, 0)) / (2 * h) - dot(dx, along_x)) < allowed);
    CHECK(std::fabs((loss(0, h, 0) - loss(0, -h, 0)) / (2 * h) - dot(dweight, along_weight)) < allowed);
    CHECK(std::fabs((loss(0, 0, h) - loss(0, 0, -h)) / (2 * h) - dot(dbias, along_bias)) < allowed);
  }
}

// By hand: values 1 and 3 have μ = 2, σ² = 1 and an unbiased variance of 2.
TEST_CASE("batchnorm reference by hand", "[batchnorm]") {
  const std::vector<double> x = {1, 3}, weight = {10}, bias = {5};
  std::vector<double> running_mean = {4}, running_var = {6}, mean(1), invstd(1), y(2);
  reference::batchnorm_forward_training({2, 1}, x.data(), weight.data(), bias.data(), 0, 0.25, running_mean.data(),
                                        running_var.data(), mean.data(), invstd.data(), y.data());
  CHECK(y == std::vector<double>{-5, 15});
  CHECK((mean[0] == 2 && invstd[0] == 1 && running_mean[0] == 3.5 && running_var[0] == 5));
  running_mean[0] = 1, running_var[0] = 4;
  reference::batchnorm_forward_inference({2, 1}, x.data(), weight.data(), bias.data(), running_mean.data(),
                                         running_var.data(), 0, y.data());
  CHECK(y == std::vector<double>{5, 15});
}
