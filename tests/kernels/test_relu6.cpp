#include "kernels/harness.h"
#include "kernels/relu6/relu6.h"

using kernels::Relu6, kernels::Relu6Shape;

namespace {

const std::vector<Relu6Shape> awkward = {{1}, {2}, {3}, {4}, {5}, {31}, {33}, {1023}, {1025}, {4099}};
Relu6Shape draw(test::Random& random) { return {random.between(1, 100000)}; }

// Values on both sides of, and on, the corners.
std::vector<float> inputs(test::Random& random, int64_t n) {
  std::vector<float> x = random.floats(n, -3, 9);
  for (int64_t i = 0; i < n; i += 7) x[i] = random.one_of({0.0f, -0.0f, 6.0f, 1e30f, -1e30f});
  return x;
}

}  // namespace

TEST_CASE("relu6 forward", "[relu6]") {
  test::for_each_case(&Relu6::forward, awkward, 10, draw,
                      [](const Relu6& row, const Relu6Shape& s, test::Random& random) {
                        const auto x = inputs(random, s.count);
                        const test::Array<float> dx(x), dy(s.count);
                        row.forward(test::context(row.workspace(s)), s, dx, dy);
                        std::vector<double> expected(s.count);
                        kernels::reference::relu6_forward(s, test::to_double(x).data(), expected.data());
                        const auto y = dy.read();
                        test::check_close(y, expected, 0, 0);  // no rounding happens
                        return std::vector{y};
                      });
}

TEST_CASE("relu6 backward", "[relu6]") {
  test::for_each_case(
      &Relu6::backward, awkward, 10, draw, [](const Relu6& row, const Relu6Shape& s, test::Random& random) {
        const auto x = inputs(random, s.count), dy = random.floats(s.count);
        const test::Array<float> device_x(x), device_dy(dy), device_dx(s.count);
        row.backward(test::context(row.workspace(s)), s, device_x, device_dy, device_dx);
        std::vector<double> expected(s.count);
        kernels::reference::relu6_backward(s, test::to_double(x).data(), test::to_double(dy).data(), expected.data());
        const auto dx = device_dx.read();
        test::check_close(dx, expected, 0, 0);  // no rounding happens
        return std::vector{dx};
      });
}
