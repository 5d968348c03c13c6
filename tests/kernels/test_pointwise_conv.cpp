#include "kernels/fused.h"
#include "kernels/harness.h"
#include "kernels/pointwise_conv/pointwise_conv.h"

using kernels::PointwiseConv, kernels::PointwiseConvShape;
namespace reference = kernels::reference;

namespace {

// {rows, in_channels, out_channels}: nothing to tile, channels of no vector width, one off every tile, several tiles of
// every kind (the weight gradient's sum runs over the rows, and is split from 256 on), and the narrow network's widths.
const std::vector<PointwiseConvShape> awkward = {
    {1, 1, 1},     {1, 3, 5},     {2, 5, 3},     {2, 7, 1},      {1, 129, 65},  {127, 17, 31},
    {129, 31, 17}, {127, 33, 63}, {129, 63, 33}, {65, 65, 129},  {2, 1, 129},   {130, 129, 1},
    {128, 32, 64}, {33, 8, 16},   {257, 16, 24}, {128, 24, 8},   {64, 24, 16},  {130, 200, 36},
    {255, 4, 4},   {1031, 3, 5},  {1280, 16, 8}, {2000, 12, 20}, {260, 68, 132}};
PointwiseConvShape draw(test::Random& random) {
  const int multiple = random.one_of({1, 1, 4});
  return {random.between(1, 400), random.between(1, 100 / multiple) * multiple,
          random.between(1, 100 / multiple) * multiple};
}

// Each runs one row on random data, checks its result, and returns it. `shift` moves all arrays by so many floats.
std::vector<float> forward(const PointwiseConv& row, const PointwiseConvShape& s, test::Random& random, int shift) {
  const auto x = random.floats(s.rows * s.in_channels + shift);
  const auto w = random.floats(s.out_channels * s.in_channels + shift);
  const int64_t count = s.rows * s.out_channels;
  const test::Array<float> device_x(x), device_w(w), device_y(count + shift);
  row.forward(test::context(row.workspace(s)), s, device_x + shift, device_w + shift, device_y + shift);
  std::vector<double> expected(count), magnitude(count);
  reference::pointwise_conv_forward(s, test::to_double(x).data() + shift, test::to_double(w).data() + shift,
                                    expected.data());
  reference::pointwise_conv_forward(s, test::absolute(x).data() + shift, test::absolute(w).data() + shift,
                                    magnitude.data());
  auto y = device_y.read();
  y.erase(y.begin(), y.begin() + shift);
  test::check_sum(y, expected, magnitude, s.in_channels);
  return y;
}

std::vector<float> backward_data(const PointwiseConv& row, const PointwiseConvShape& s, test::Random& random,
                                 int shift) {
  const auto dy = random.floats(s.rows * s.out_channels + shift);
  const auto w = random.floats(s.out_channels * s.in_channels + shift);
  const int64_t count = s.rows * s.in_channels;
  const test::Array<float> device_dy(dy), device_w(w), device_dx(count + shift);
  row.backward_data(test::context(row.workspace(s)), s, device_dy + shift, device_w + shift, device_dx + shift);
  std::vector<double> expected(count), magnitude(count);
  reference::pointwise_conv_backward_data(s, test::to_double(dy).data() + shift, test::to_double(w).data() + shift,
                                          expected.data());
  reference::pointwise_conv_backward_data(s, test::absolute(dy).data() + shift, test::absolute(w).data() + shift,
                                          magnitude.data());
  auto dx = device_dx.read();
  dx.erase(dx.begin(), dx.begin() + shift);
  test::check_sum(dx, expected, magnitude, s.out_channels);
  return dx;
}

std::vector<float> backward_weight(const PointwiseConv& row, const PointwiseConvShape& s, test::Random& random,
                                   int shift) {
  const auto x = random.floats(s.rows * s.in_channels + shift);
  const auto dy = random.floats(s.rows * s.out_channels + shift);
  const int64_t count = s.out_channels * s.in_channels;
  const test::Array<float> device_x(x), device_dy(dy), device_dw(count + shift);
  row.backward_weight(test::context(row.workspace(s)), s, device_x + shift, device_dy + shift, device_dw + shift);
  std::vector<double> expected(count), magnitude(count);
  reference::pointwise_conv_backward_weight(s, test::to_double(x).data() + shift, test::to_double(dy).data() + shift,
                                            expected.data());
  reference::pointwise_conv_backward_weight(s, test::absolute(x).data() + shift, test::absolute(dy).data() + shift,
                                            magnitude.data());
  auto dw = device_dw.read();
  dw.erase(dw.begin(), dw.begin() + shift);
  test::check_sum(dw, expected, magnitude, s.rows);
  return dw;
}

template <class Pass, class Run>
void check_pass(Pass PointwiseConv::*pass, Run run) {
  test::for_each_case(pass, awkward, 8, draw,
                      [&](const PointwiseConv& row, const PointwiseConvShape& s, test::Random& random) {
                        return std::vector<std::vector<float>>{run(row, s, random, 0)};
                      });
  // Channels that 16-byte accesses divide, in arrays that do not start at a multiple of 16 bytes: a part of a tensor.
  test::for_each_case(pass, std::vector<PointwiseConvShape>{{129, 40, 68}, {1024, 8, 16}}, 0, draw,
                      [&](const PointwiseConv& row, const PointwiseConvShape& s, test::Random& random) {
                        return std::vector<std::vector<float>>{run(row, s, random, 1)};
                      });
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

TEST_CASE("pointwise_conv forward", "[pointwise_conv]") { check_pass(&PointwiseConv::forward, forward); }

TEST_CASE("pointwise_conv backward_data", "[pointwise_conv]") {
  check_pass(&PointwiseConv::backward_data, backward_data);
}

TEST_CASE("pointwise_conv backward_weight", "[pointwise_conv]") {
  check_pass(&PointwiseConv::backward_weight, backward_weight);
}

namespace {

const test::Convolution<PointwiseConvShape> op = {
    reference::pointwise_conv_forward,
    reference::pointwise_conv_backward_data,
    reference::pointwise_conv_backward_weight,
    [](const PointwiseConvShape& s) { return s.rows * s.in_channels; },
    [](const PointwiseConvShape& s) { return s.rows * s.out_channels; },
    [](const PointwiseConvShape& s) { return int64_t{s.in_channels} * s.out_channels; }};
int out_channels(const PointwiseConvShape& s) { return s.out_channels; }
double forward_terms(const PointwiseConvShape& s) { return s.in_channels; }

}  // namespace

TEST_CASE("pointwise_conv forward_folded", "[pointwise_conv]") {
  for (const int offset : {0, 1})
    test::for_each_case(&PointwiseConv::forward_folded, awkward, 8, draw,
                        test::forward_folded_check<PointwiseConv>(op, out_channels, forward_terms, offset));
}

// L = Σ dy · y(x, w) has the gradients dx and dw: along a random direction v, (L(x + hv) - L(x - hv)) / 2h = dx · v.
TEST_CASE("pointwise_conv reference: gradients agree with finite differences", "[pointwise_conv]") {
  test::Random random{1};
  const PointwiseConvShape s = {5, 4, 3};
  const auto x = test::to_double(random.floats(20)), w = test::to_double(random.floats(12));
  const auto dy = test::to_double(random.floats(15));
  const auto along_x = test::to_double(random.floats(20)), along_w = test::to_double(random.floats(12));
  const double h = 1e-3;
  const auto loss = [&](double step_x, double step_w) {
    std::vector<double> moved_x(x), moved_w(w), y(15);
    for (size_t i = 0; i < x.size(); ++i) moved_x[i] += step_x * along_x[i];
    for (size_t i = 0; i < w.size(); ++i) moved_w[i] += step_w * along_w[i];
    reference::pointwise_conv_forward(s, moved_x.data(), moved_w.data(), y.data());
    return dot(y, dy);
  };
  std::vector<double> dx(20), dw(12);
  reference::pointwise_conv_backward_data(s, dy.data(), w.data(), dx.data());
  reference::pointwise_conv_backward_weight(s, x.data(), dy.data(), dw.data());
  // L is linear in x and in w, so only rounding separates the two sides: about 1e-16 / h.
  CHECK(std::fabs((loss(h, 0) - loss(-h, 0)) / (2 * h) - dot(dx, along_x)) < 1e-11);
  CHECK(std::fabs((loss(0, h) - loss(0, -h)) / (2 * h) - dot(dw, along_w)) < 1e-11);
}
