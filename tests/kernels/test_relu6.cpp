#include "kernels/harness.h"
#include "kernels/relu6/relu6.h"

using kernels::Bf16, kernels::Relu6Of, kernels::Relu6Shape;
namespace reference = kernels::reference;

namespace {

// 4096 elements are a block of the vectorised rung.
const std::vector<Relu6Shape> awkward = {{1},    {2},    {3},    {4},    {5},    {31},    {33},
                                         {1023}, {1025}, {4095}, {4096}, {4099}, {12289}, {50000}};
Relu6Shape draw(test::Random& random) { return {random.between(1, 20000)}; }

// Values on both sides of, and on, the corners.
std::vector<float> inputs(test::Random& random, int64_t n) {
  std::vector<float> x = random.floats(n, -3, 9);
  for (int64_t i = 0; i < n; i += 7) x[i] = random.one_of({0.0f, -0.0f, 6.0f, 1e-40f, 1e30f, -1e30f});
  return x;
}

// T: the type of all arrays.
template <class T>
void check_forward() {
  test::for_each_case(&Relu6Of<T>::forward, awkward, 10, draw,
                      [](const Relu6Of<T>& row, const Relu6Shape& s, test::Random& random) {
                        const auto x = test::to_floats(test::typed<T>(inputs(random, s.count)));
                        std::vector<double> expected(s.count);
                        reference::relu6_forward(s, test::to_double(x).data(), expected.data());
                        test::Outputs outputs;
                        for (const int offset : {0, 1}) {
                          const test::Array<T> device_x(test::typed<T>(x), offset), device_y(s.count, offset);
                          row.forward(test::context(row.workspace(s)), s, device_x, device_y);
                          test::check_close(test::to_floats(device_y.read()), expected, 0, 0);  // no rounding happens
                          row.forward(test::context(row.workspace(s)), s, device_x, device_x);
                          test::check_close(test::to_floats(device_x.read()), expected, 0, 0);
                          outputs.push_back(test::to_floats(device_y.read()));
                        }
                        return outputs;
                      });
}

template <class T>
void check_backward() {
  test::for_each_case(
      &Relu6Of<T>::backward, awkward, 10, draw, [](const Relu6Of<T>& row, const Relu6Shape& s, test::Random& random) {
        const auto x = test::to_floats(test::typed<T>(inputs(random, s.count))),
                   dy = test::to_floats(test::typed<T>(random.floats(s.count)));
        std::vector<double> expected(s.count);
        reference::relu6_backward(s, test::to_double(x).data(), test::to_double(dy).data(), expected.data());
        test::Outputs outputs;
        for (const int offset : {0, 1}) {
          const test::Array<T> device_x(test::typed<T>(x), offset), device_dy(test::typed<T>(dy)), device_dx(s.count);
          row.backward(test::context(row.workspace(s)), s, device_x, device_dy, device_dx);
          test::check_close(test::to_floats(device_dx.read()), expected, 0, 0);  // no rounding happens
          outputs.push_back(test::to_floats(device_dx.read()));
        }
        return outputs;
      });
}

template <class T>
void check_nan() {
  const std::vector<Relu6Shape> shapes = {{5}, {4097}};
  test::for_each_case(&Relu6Of<T>::forward, shapes, 0, draw,
                      [](const Relu6Of<T>& row, const Relu6Shape& s, test::Random& random) {
                        auto x = inputs(random, s.count);
                        for (int64_t i = 0; i < s.count; i += 3) x[i] = i % 2 == 0 ? NAN : -NAN;
                        const test::Array<T> device_x(test::typed<T>(x)), device_y(s.count);
                        row.forward(test::context(row.workspace(s)), s, device_x, device_y);
                        const auto y = test::to_floats(device_y.read());
                        int64_t same = 0;
                        for (int64_t i = 0; i < s.count; ++i) same += std::isnan(y[i]) == std::isnan(x[i]);
                        CHECK(same == s.count);
                        return test::Outputs{y};
                      });
}

}  // namespace

TEST_CASE("relu6 forward", "[relu6]") { check_forward<float>(); }
TEST_CASE("relu6 backward", "[relu6]") { check_backward<float>(); }
TEST_CASE("relu6 leaves NaN as it is", "[relu6]") { check_nan<float>(); }
TEST_CASE("relu6 forward, bfloat16", "[relu6]") { check_forward<Bf16>(); }
TEST_CASE("relu6 backward, bfloat16", "[relu6]") { check_backward<Bf16>(); }
TEST_CASE("relu6 leaves NaN as it is, bfloat16", "[relu6]") { check_nan<Bf16>(); }

TEST_CASE("relu6 reference: the gradient agrees with finite differences", "[relu6]") {
  const std::vector<double> x = {-1e3, -0.5, -1e-3, 1e-3, 3, 5.999, 6.001, 1e3};
  const std::vector<double> slope = {0, 0, 0, 1, 1, 1, 0, 0}, ones(x.size(), 1);
  const Relu6Shape s = {static_cast<int64_t>(x.size())};
  const double h = 1e-4;  // crosses no corner
  std::vector<double> up = x, down = x, y_up(x.size()), y_down(x.size()), dx(x.size());
  for (size_t i = 0; i < x.size(); ++i) up[i] += h, down[i] -= h;
  reference::relu6_forward(s, up.data(), y_up.data());
  reference::relu6_forward(s, down.data(), y_down.data());
  reference::relu6_backward(s, x.data(), ones.data(), dx.data());
  CHECK(dx == slope);
  // Piecewise linear, so only rounding separates the two: 1e-16 · 6 / h.
  for (size_t i = 0; i < x.size(); ++i) CHECK(std::fabs((y_up[i] - y_down[i]) / (2 * h) - dx[i]) < 1e-10);
  // At the corners the gradient is 0, as PyTorch's.
  const std::vector<double> corners = {0, 6};
  reference::relu6_backward({2}, corners.data(), ones.data(), dx.data());
  CHECK((dx[0] == 0 && dx[1] == 0));
}
