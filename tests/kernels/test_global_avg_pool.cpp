#include "kernels/fused.h"
#include "kernels/global_avg_pool/global_avg_pool.h"
#include "kernels/harness.h"

using kernels::Bf16, kernels::GlobalAvgPoolOf, kernels::GlobalAvgPoolShape;
namespace reference = kernels::reference;

namespace {

// batch, positions, channels
const std::vector<GlobalAvgPoolShape> awkward = {{1, 1, 1},  {1, 1, 4},  {1, 2, 3},   {3, 1, 5},   {2, 4, 7},
                                                 {1, 5, 17}, {2, 9, 31}, {1, 49, 33}, {3, 4, 256}, {2, 49, 1024},
                                                 {5, 3, 20}, {1, 1, 40}, {130, 4, 8}, {1, 3136, 2}};
GlobalAvgPoolShape draw(test::Random& random) {
  return {random.between(1, 20), random.between(1, 64), random.one_of({1, 2, 3, 4, 8, 12, 17, 64})};
}
int64_t outputs(const GlobalAvgPoolShape& s) { return int64_t{s.batch} * s.channels; }
int64_t inputs(const GlobalAvgPoolShape& s) { return outputs(s) * s.positions; }

// T: the type of x and its gradient.
template <class T>
void check_forward() {
  test::for_each_case(&GlobalAvgPoolOf<T>::forward, awkward, 30, draw,
                      [](const GlobalAvgPoolOf<T>& row, const GlobalAvgPoolShape& s, test::Random& random) {
                        const auto x = test::to_floats(test::typed<T>(random.floats(inputs(s))));
                        std::vector<double> expected(outputs(s)), magnitude(outputs(s));
                        reference::global_avg_pool_forward(s, test::to_double(x).data(), expected.data());
                        reference::global_avg_pool_forward(s, test::absolute(x).data(), magnitude.data());
                        test::Outputs results;
                        for (const int offset : {0, 1}) {
                          const test::Array<T> device_x(test::typed<T>(x), offset);
                          const test::Array<float> device_y(outputs(s));
                          row.forward(test::context(row.workspace(s)), s, device_x, device_y);
                          test::check_sum(device_y.read(), expected, magnitude, s.positions);
                          results.push_back(device_y.read());
                        }
                        return results;
                      });
}

template <class T>
void check_backward() {
  test::for_each_case(&GlobalAvgPoolOf<T>::backward, awkward, 30, draw,
                      [](const GlobalAvgPoolOf<T>& row, const GlobalAvgPoolShape& s, test::Random& random) {
                        const auto dy = random.floats(outputs(s));
                        std::vector<double> expected(inputs(s));
                        reference::global_avg_pool_backward(s, test::to_double(dy).data(), expected.data());
                        test::Outputs results;
                        for (const int offset : {0, 1}) {
                          const test::Array<float> device_dy(dy, offset);
                          const test::Array<T> device_dx(inputs(s));
                          row.backward(test::context(row.workspace(s)), s, device_dy, device_dx);
                          // Two roundings, of 1/P and of the product, and that of the result to T.
                          test::check_close(test::to_floats(device_dx.read()), expected,
                                            2 * 0x1p-24 + test::result_rounding<T>, 0);
                          results.push_back(test::to_floats(device_dx.read()));
                        }
                        return results;
                      });
}

}  // namespace

TEST_CASE("global_avg_pool forward", "[global_avg_pool]") { check_forward<float>(); }
TEST_CASE("global_avg_pool backward", "[global_avg_pool]") { check_backward<float>(); }
TEST_CASE("global_avg_pool forward, x bfloat16", "[global_avg_pool]") { check_forward<Bf16>(); }
TEST_CASE("global_avg_pool backward, x bfloat16", "[global_avg_pool]") { check_backward<Bf16>(); }

namespace {

template <class T>
void check_forward_fused() {
  for (const int offset : {0, 1})
    test::for_each_case(&GlobalAvgPoolOf<T>::forward_fused, awkward, 20, draw,
                        [=](const GlobalAvgPoolOf<T>& row, const GlobalAvgPoolShape& s, test::Random& random) {
                          const test::DrawnNorm norm(random, s.channels);
                          const auto x = test::to_floats(test::typed<T>(random.floats(inputs(s), -2, 3)));
                          std::vector<double> expected(outputs(s)), magnitude(outputs(s));
                          reference::global_avg_pool_forward(s, norm.activation(x).data(), expected.data());
                          reference::global_avg_pool_forward(s, norm.activation_size(x).data(), magnitude.data());
                          const test::Array<T> device_x(test::typed<T>(x), offset);
                          const test::Array<float> device_y(outputs(s), offset);
                          const test::DeviceNorm device_norm(norm, test::Stage::no_gradients, offset);
                          row.forward_fused(test::context(row.workspace(s)), s, device_x, device_norm.get(), device_y);
                          // An activation has three roundings of its own.
                          test::check_sum(device_y.read(), expected, magnitude, s.positions + 3);
                          return test::Outputs{device_y.read()};
                        });
}

template <class T>
void check_backward_fused() {
  for (const int offset : {0, 1})
    test::for_each_case(
        &GlobalAvgPoolOf<T>::backward_fused, awkward, 20, draw,
        [=](const GlobalAvgPoolOf<T>& row, const GlobalAvgPoolShape& s, test::Random& random) {
          const test::DrawnNorm norm(random, s.channels);
          const auto x = test::drawn_off_corners<T>(random, norm, inputs(s));
          const auto dy = random.floats(outputs(s));
          std::vector<double> da(inputs(s)), size(inputs(s));
          reference::global_avg_pool_backward(s, test::to_double(dy).data(), da.data());
          reference::global_avg_pool_backward(s, test::absolute(dy).data(), size.data());
          const test::Array<T> device_x(test::typed<T>(x), offset), device_du(inputs(s), offset);
          const test::Array<float> device_dy(dy, offset);
          const test::DeviceNorm device_norm(norm, test::Stage::no_gradients, offset);
          row.backward_fused(test::context(row.workspace(s)), s, device_x, device_norm.get(), device_dy, device_du);
          test::Outputs results = {test::to_floats(device_du.read())};
          test::check_du(x, norm, device_norm, da, size, 1, results[0], results, {}, test::result_rounding<T>);
          return results;
        });
}

}  // namespace

TEST_CASE("global_avg_pool forward_fused", "[global_avg_pool]") { check_forward_fused<float>(); }
TEST_CASE("global_avg_pool backward_fused", "[global_avg_pool]") { check_backward_fused<float>(); }
TEST_CASE("global_avg_pool forward_fused, x bfloat16", "[global_avg_pool]") { check_forward_fused<Bf16>(); }
TEST_CASE("global_avg_pool backward_fused, x bfloat16", "[global_avg_pool]") { check_backward_fused<Bf16>(); }

// L = Σ dy · y(x): along a direction v, L(x + v) - L(x) = dx · v, as L is linear.
TEST_CASE("global_avg_pool reference: the gradient agrees with finite differences", "[global_avg_pool]") {
  test::Random random{1};
  for (const GlobalAvgPoolShape& s : awkward) {
    const auto x = test::to_double(random.floats(inputs(s))), v = test::to_double(random.floats(inputs(s)));
    const auto dy = test::to_double(random.floats(outputs(s)));
    std::vector<double> moved = x, y(outputs(s)), y_moved(outputs(s)), dx(inputs(s));
    for (size_t i = 0; i < x.size(); ++i) moved[i] += v[i];
    reference::global_avg_pool_forward(s, x.data(), y.data());
    reference::global_avg_pool_forward(s, moved.data(), y_moved.data());
    reference::global_avg_pool_backward(s, dy.data(), dx.data());
    double difference = 0, derivative = 0;
    for (size_t i = 0; i < y.size(); ++i) difference += dy[i] * (y_moved[i] - y[i]);
    for (size_t i = 0; i < v.size(); ++i) derivative += dx[i] * v[i];
    // |y| ≤ 1, and each is a sum of P terms whose roundings add up as a random walk does.
    CHECK(std::fabs(difference - derivative) < 1e-15 * y.size() * (1 + std::sqrt(s.positions)));
  }
}
