#include "kernels/harness.h"
#include "kernels/linear/linear.h"

using kernels::Linear, kernels::LinearShape;
namespace reference = kernels::reference;

namespace {

// {rows, in_features, out_features}: one of everything, widths that no vector divides, one off a warp and off every
// tile, sums long enough to be split (over inputs forward, over rows for the weights), and classifiers as they occur.
const std::vector<LinearShape> awkward = {{1, 1, 1},     {1, 3, 5},      {2, 5, 3},      {3, 7, 1},     {2, 31, 33},
                                          {127, 33, 17}, {129, 32, 65},  {5, 129, 63},   {1, 1000, 10}, {128, 1024, 10},
                                          {64, 256, 10}, {30, 1030, 31}, {2, 1027, 129}, {513, 36, 12}, {515, 35, 11},
                                          {512, 16, 4},  {16, 1024, 100}};
LinearShape draw(test::Random& random) {
  const int multiple = random.one_of({1, 1, 4});
  return {random.between(1, 100), random.between(1, 300 / multiple) * multiple,
          random.between(1, 80 / multiple) * multiple};
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

TEST_CASE("linear forward", "[linear]") {
  test::for_each_case(
      &Linear::forward, awkward, 8, draw, [](const Linear& row, const LinearShape& s, test::Random& random) {
        const auto x = random.floats(s.rows * s.in_features), w = random.floats(s.out_features * s.in_features);
        const auto b = random.floats(s.out_features);
        const test::Array<float> device_x(x), device_w(w), device_b(b), device_y(s.rows * s.out_features);
        row.forward(test::context(row.workspace(s)), s, device_x, device_w, device_b, device_y);
        std::vector<double> expected(s.rows * s.out_features), magnitude(expected.size());
        reference::linear_forward(s, test::to_double(x).data(), test::to_double(w).data(), test::to_double(b).data(),
                                  expected.data());
        reference::linear_forward(s, test::absolute(x).data(), test::absolute(w).data(), test::absolute(b).data(),
                                  magnitude.data());
        const auto y = device_y.read();
        test::check_sum(y, expected, magnitude, s.in_features + 1,
                        test::tensor_core_rounding(row.precision, 2, s.in_features));
        return std::vector<std::vector<float>>{y};
      });
}

TEST_CASE("linear backward_data", "[linear]") {
  test::for_each_case(
      &Linear::backward_data, awkward, 8, draw, [](const Linear& row, const LinearShape& s, test::Random& random) {
        const auto dy = random.floats(s.rows * s.out_features), w = random.floats(s.out_features * s.in_features);
        const test::Array<float> device_dy(dy), device_w(w), device_dx(s.rows * s.in_features);
        row.backward_data(test::context(row.workspace(s)), s, device_dy, device_w, device_dx);
        std::vector<double> expected(s.rows * s.in_features), magnitude(expected.size());
        reference::linear_backward_data(s, test::to_double(dy).data(), test::to_double(w).data(), expected.data());
        reference::linear_backward_data(s, test::absolute(dy).data(), test::absolute(w).data(), magnitude.data());
        const auto dx = device_dx.read();
        test::check_sum(dx, expected, magnitude, s.out_features,
                        test::tensor_core_rounding(row.precision, 2, s.out_features));
        return std::vector<std::vector<float>>{dx};
      });
}

TEST_CASE("linear backward_weight", "[linear]") {
  test::for_each_case(
      &Linear::backward_weight, awkward, 8, draw, [](const Linear& row, const LinearShape& s, test::Random& random) {
        const auto x = random.floats(s.rows * s.in_features), dy = random.floats(s.rows * s.out_features);
        const test::Array<float> device_x(x), device_dy(dy), device_dw(s.out_features * s.in_features);
        const test::Array<float> device_db(s.out_features);
        row.backward_weight(test::context(row.workspace(s)), s, device_x, device_dy, device_dw, device_db);
        std::vector<double> expected_dw(s.out_features * s.in_features), magnitude_dw(expected_dw.size());
        std::vector<double> expected_db(s.out_features), magnitude_db(s.out_features);
        reference::linear_backward_weight(s, test::to_double(x).data(), test::to_double(dy).data(), expected_dw.data(),
                                          expected_db.data());
        reference::linear_backward_weight(s, test::absolute(x).data(), test::absolute(dy).data(), magnitude_dw.data(),
                                          magnitude_db.data());
        const auto dw = device_dw.read(), db = device_db.read();
        test::check_sum(dw, expected_dw, magnitude_dw, s.rows, test::tensor_core_rounding(row.precision, 2, s.rows));
        test::check_sum(db, expected_db, magnitude_db, s.rows);
        return std::vector<std::vector<float>>{dw, db};
      });
}

// L = Σ dy · y(x, w, b) has the gradients dx, dw and db: along a random direction v, (L(x + hv) - L(x - hv)) / 2h =
// dx · v.
TEST_CASE("linear reference: gradients agree with finite differences", "[linear]") {
  test::Random random{1};
  const LinearShape s = {5, 4, 3};
  const auto x = test::to_double(random.floats(20)), w = test::to_double(random.floats(12));
  const auto b = test::to_double(random.floats(3)), dy = test::to_double(random.floats(15));
  const auto along_x = test::to_double(random.floats(20)), along_w = test::to_double(random.floats(12));
  const auto along_b = test::to_double(random.floats(3));
  const double h = 1e-3;
  const auto loss = [&](double step_x, double step_w, double step_b) {
    std::vector<double> moved_x(x), moved_w(w), moved_b(b), y(15);
    for (size_t i = 0; i < x.size(); ++i) moved_x[i] += step_x * along_x[i];
    for (size_t i = 0; i < w.size(); ++i) moved_w[i] += step_w * along_w[i];
    for (size_t i = 0; i < b.size(); ++i) moved_b[i] += step_b * along_b[i];
    reference::linear_forward(s, moved_x.data(), moved_w.data(), moved_b.data(), y.data());
    return dot(y, dy);
  };
  std::vector<double> dx(20), dw(12), db(3);
  reference::linear_backward_data(s, dy.data(), w.data(), dx.data());
  reference::linear_backward_weight(s, x.data(), dy.data(), dw.data(), db.data());
  // L is linear in x, in w and in b, so only rounding separates the two sides: about 1e-16 / h.
  CHECK(std::fabs((loss(h, 0, 0) - loss(-h, 0, 0)) / (2 * h) - dot(dx, along_x)) < 1e-11);
  CHECK(std::fabs((loss(0, h, 0) - loss(0, -h, 0)) / (2 * h) - dot(dw, along_w)) < 1e-11);
  CHECK(std::fabs((loss(0, 0, h) - loss(0, 0, -h)) / (2 * h) - dot(db, along_b)) < 1e-11);
}
