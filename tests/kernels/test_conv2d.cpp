#include "kernels/conv2d/conv2d.h"
#include "kernels/fused.h"

using kernels::Bf16, kernels::Conv2dOf, kernels::Conv2dShape;
namespace reference = kernels::reference;

namespace {

// batch, height, width, in_channels, out_channels, stride; many of them have the stem's three input channels
const std::vector<Conv2dShape> awkward = {
    {1, 1, 1, 1, 1, 1},  {1, 1, 1, 3, 1, 2},   {1, 1, 2, 3, 3, 1},  {1, 2, 1, 3, 5, 2},   {1, 2, 2, 3, 7, 1},
    {2, 2, 2, 3, 17, 2}, {1, 3, 3, 3, 31, 2},  {1, 3, 4, 3, 33, 1}, {2, 6, 6, 3, 24, 2},  {2, 6, 6, 24, 24, 2},
    {1, 5, 7, 3, 8, 2},  {1, 7, 5, 3, 16, 1},  {3, 4, 4, 3, 32, 1}, {1, 4, 4, 2, 12, 2},  {1, 9, 1, 3, 4, 2},
    {1, 1, 9, 3, 4, 1},  {1, 8, 15, 3, 20, 2}, {1, 15, 8, 5, 4, 1}, {1, 11, 13, 3, 6, 2}, {2, 3, 5, 3, 132, 1},
    {1, 5, 3, 3, 68, 2}, {1, 4, 5, 17, 3, 1},  {4, 8, 8, 3, 32, 2}};

Conv2dShape draw(test::Random& random) {
  const int in = random.one_of({1, 2, 3, 3, 3, 3, 4, 8}), out = random.one_of({1, 3, 4, 8, 9, 16, 24, 40});
  return {random.between(1, 3), random.between(1, 14), random.between(1, 14), in, out, random.between(1, 2)};
}

const test::Convolution<Conv2dShape> op = {
    reference::conv2d_forward,
    reference::conv2d_backward_data,
    reference::conv2d_backward_weight,
    [](const Conv2dShape& s) { return int64_t{s.batch} * s.height * s.width * s.in_channels; },
    [](const Conv2dShape& s) { return int64_t{s.batch} * s.out_height() * s.out_width() * s.out_channels; },
    [](const Conv2dShape& s) { return int64_t{s.out_channels} * 9 * s.in_channels; }};
double forward_terms(const Conv2dShape& s) { return 9.0 * s.in_channels; }
double data_terms(const Conv2dShape& s) { return 9.0 * s.out_channels; }
int out_channels(const Conv2dShape& s) { return s.out_channels; }

}  // namespace

namespace {

// T: the type of y and its gradient.
template <class T>
void check_forward() {
  using Row = Conv2dOf<T>;
  test::for_each_case(&Row::forward, awkward, 40, draw, test::forward_check<Row, T, float>(op, forward_terms));
}
template <class T>
void check_backward_data() {
  using Row = Conv2dOf<T>;
  test::for_each_case(&Row::backward_data, awkward, 40, draw, test::backward_data_check<Row, T, float>(op, data_terms));
}
template <class T>
void check_backward_weight() {
  using Row = Conv2dOf<T>;
  // Also sums so long that every lane, turn and slice of a split has work.
  std::vector<Conv2dShape> shapes = awkward;
  shapes.insert(shapes.end(), {{60, 10, 9, 3, 32, 1}, {130, 9, 6, 3, 5, 2}, {20, 30, 32, 3, 32, 1}});
  test::for_each_case(&Row::backward_weight, shapes, 40, draw, test::backward_weight_check<Row, T, float>(op));
}
template <class T>
void check_forward_folded() {
  using Row = Conv2dOf<T>;
  for (const int offset : {0, 1})
    test::for_each_case(&Row::forward_folded, awkward, 20, draw,
                        test::forward_folded_check<Row, T, float>(op, out_channels, forward_terms, offset));
}
template <class T>
void check_odd_addresses() {
  using Row = Conv2dOf<T>;
  const std::vector<Conv2dShape> shapes = {{2, 5, 6, 3, 8, 2}, {1, 4, 4, 3, 32, 1}};
  const int offset = 1;
  test::for_each_case(&Row::forward, shapes, 0, draw, test::forward_check<Row, T, float>(op, forward_terms, offset));
  test::for_each_case(&Row::backward_data, shapes, 0, draw,
                      test::backward_data_check<Row, T, float>(op, data_terms, offset));
  test::for_each_case(&Row::backward_weight, shapes, 0, draw, test::backward_weight_check<Row, T, float>(op, offset));
}

}  // namespace

TEST_CASE("conv2d forward", "[conv2d]") { check_forward<float>(); }
TEST_CASE("conv2d backward_data", "[conv2d]") { check_backward_data<float>(); }
TEST_CASE("conv2d backward_weight", "[conv2d]") { check_backward_weight<float>(); }
TEST_CASE("conv2d forward_folded", "[conv2d]") { check_forward_folded<float>(); }
TEST_CASE("conv2d of arrays at odd addresses", "[conv2d]") { check_odd_addresses<float>(); }
TEST_CASE("conv2d forward, y bfloat16", "[conv2d]") { check_forward<Bf16>(); }
TEST_CASE("conv2d backward_data, dy bfloat16", "[conv2d]") { check_backward_data<Bf16>(); }
TEST_CASE("conv2d backward_weight, dy bfloat16", "[conv2d]") { check_backward_weight<Bf16>(); }
TEST_CASE("conv2d forward_folded, y bfloat16", "[conv2d]") { check_forward_folded<Bf16>(); }
TEST_CASE("conv2d of arrays at odd addresses, y bfloat16", "[conv2d]") { check_odd_addresses<Bf16>(); }

namespace {

// T: the type of z and its gradient.
template <class T>
void check_forward_fused() {
  for (const int offset : {0, 1})
    test::for_each_case(&Conv2dOf<T>::forward_fused, awkward, 20, draw,
                        [=](const Conv2dOf<T>& row, const Conv2dShape& s, test::Random& random) -> test::Outputs {
                          if (op.outputs(s) / s.out_channels < 2) return {};  // has no unbiased variance
                          const test::DrawnNorm norm(random, s.out_channels);
                          const auto x = random.floats(op.inputs(s), -2, 3), w = random.floats(op.weights(s));
                          const test::Array<float> device_x(x, offset), device_w(w, offset);
                          const test::Array<T> device_z(op.outputs(s), offset);
                          const test::DeviceNorm device_norm(norm, test::Stage::no_statistics, offset);
                          row.forward_fused(test::context(row.workspace(s)), s, device_x, device_w, device_z,
                                            device_norm.get());
                          std::vector<double> expected(op.outputs(s)), magnitude(op.outputs(s));
                          op.forward(s, test::to_double(x).data(), test::to_double(w).data(), expected.data());
                          op.forward(s, test::absolute(x).data(), test::absolute(w).data(), magnitude.data());
                          test::Outputs outputs = {test::to_floats(device_z.read())};
                          test::Rounding besides;
                          besides.result = test::result_rounding<T>;
                          test::check_sum(outputs[0], expected, magnitude, forward_terms(s), besides);
                          test::check_statistics(outputs[0], norm, device_norm, outputs);
                          return outputs;
                        });
}

template <class T>
void check_backward_weight_fused() {
  for (const int offset : {0, 1})
    test::for_each_case(
        &Conv2dOf<T>::backward_weight_fused, awkward, 20, draw,
        [=](const Conv2dOf<T>& row, const Conv2dShape& s, test::Random& random) -> test::Outputs {
          const test::DrawnNorm norm(random, s.out_channels);
          const auto x = random.floats(op.inputs(s)), z = test::to_floats(test::typed<T>(random.floats(op.outputs(s)))),
                     du = test::to_floats(test::typed<T>(random.floats(op.outputs(s))));
          const test::Array<float> device_x(x, offset), device_dw(op.weights(s), offset);
          const test::Array<T> device_z(test::typed<T>(z), offset), device_du(test::typed<T>(du), offset);
          const test::DeviceNorm device_norm(norm, test::Stage::complete, offset);
          row.backward_weight_fused(test::context(row.workspace(s)), s, device_x, device_z, device_norm.get(),
                                    device_du, device_dw);
          std::vector<double> expected(op.weights(s)), magnitude(op.weights(s));
          op.backward_weight(s, test::to_double(x).data(), norm.gradient(z, du).data(), expected.data());
          op.backward_weight(s, test::absolute(x).data(), norm.gradient_size(z, du).data(), magnitude.data());
          // dz has a few roundings of its own.
          test::check_sum(device_dw.read(), expected, magnitude,
                          static_cast<double>(op.outputs(s)) / s.out_channels + 4);
          return {device_dw.read()};
        });
}

}  // namespace

TEST_CASE("conv2d forward_fused", "[conv2d]") { check_forward_fused<float>(); }
TEST_CASE("conv2d backward_weight_fused", "[conv2d]") { check_backward_weight_fused<float>(); }
TEST_CASE("conv2d forward_fused, z bfloat16", "[conv2d]") { check_forward_fused<Bf16>(); }
TEST_CASE("conv2d backward_weight_fused, z bfloat16", "[conv2d]") { check_backward_weight_fused<Bf16>(); }

// By hand: the filter is not flipped, one pixel of zeros surrounds the image, and channels are where the header says.
TEST_CASE("conv2d reference on a small image", "[conv2d]") {
  // (1, 2, 2, 2): pixels (1, 10) (2, 20) (3, 30) (4, 40)
  const std::vector<double> x = {1, 10, 2, 20, 3, 30, 4, 40};
  // (2, 3, 3, 2): output channel 0 takes channel 1 of the pixel up left, output channel 1 channel 0 of the one itself
  std::vector<double> w(2 * 9 * 2), y(2 * 2 * 2);
  w[((0 * 3 + 0) * 3 + 0) * 2 + 1] = 1;
  w[((1 * 3 + 1) * 3 + 1) * 2 + 0] = 1;
  reference::conv2d_forward({1, 2, 2, 2, 2, 1}, x.data(), w.data(), y.data());
  CHECK(y == std::vector<double>{0, 1, 0, 2, 0, 3, 10, 4});
}

TEST_CASE("conv2d reference agrees with finite differences", "[conv2d]") {
  test::Random random{1};
  for (const Conv2dShape& s : awkward) {
    INFO(s.batch << "x" << s.height << "x" << s.width << "x" << s.in_channels << "x" << s.out_channels << " stride "
                 << s.stride);
    test::check_gradients(op, s, random);
  }
}
