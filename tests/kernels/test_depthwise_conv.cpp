#include "kernels/common/async_copy.h"
#include "kernels/convolution.h"
#include "kernels/depthwise_conv/depthwise_conv.h"
#include "kernels/fused.h"

using kernels::Bf16, kernels::DepthwiseConv, kernels::DepthwiseConvOf, kernels::DepthwiseConvShape;
namespace reference = kernels::reference;

namespace {

// batch, height, width, channels, stride
const std::vector<DepthwiseConvShape> awkward = {
    {1, 1, 1, 1, 1},   {1, 1, 1, 4, 2},    {1, 1, 2, 3, 1},   {1, 2, 1, 5, 2},   {1, 2, 2, 7, 1},   {2, 2, 2, 17, 2},
    {1, 3, 3, 31, 2},  {1, 3, 4, 33, 1},   {2, 6, 6, 24, 2},  {1, 5, 7, 8, 2},   {1, 7, 5, 16, 1},  {3, 4, 4, 32, 1},
    {1, 4, 4, 12, 2},  {1, 9, 1, 4, 2},    {1, 1, 9, 4, 1},   {1, 8, 15, 20, 2}, {1, 15, 8, 20, 1}, {1, 11, 13, 6, 2},
    {2, 2, 2, 132, 1}, {1, 16, 16, 36, 2}, {5, 3, 2, 128, 1}, {40, 7, 3, 8, 1}};

// So many pixels that `async` takes several tiles a block, `march` long bands and `images` several maps a thread. With
// 1024 channels `simd` streams what it stores.
const std::vector<DepthwiseConvShape> large = {{257, 2, 2, 264, 1},  {129, 1, 1, 1023, 1}, {33, 9, 1, 1023, 1},
                                               {33, 17, 1, 1024, 1}, {33, 17, 1, 1023, 2}, {257, 1, 2, 264, 2}};

DepthwiseConvShape draw(test::Random& random) {
  const int channels = random.one_of({1, 2, 3, 4, 8, 9, 16, 24, 40, 64});
  return {random.between(1, 4), random.between(1, 20), random.between(1, 20), channels, random.between(1, 2)};
}

const test::Convolution<DepthwiseConvShape> op = {
    reference::depthwise_conv_forward,
    reference::depthwise_conv_backward_data,
    reference::depthwise_conv_backward_weight,
    [](const DepthwiseConvShape& s) { return int64_t{s.batch} * s.height * s.width * s.channels; },
    [](const DepthwiseConvShape& s) { return int64_t{s.batch} * s.out_height() * s.out_width() * s.channels; },
    [](const DepthwiseConvShape& s) { return 9 * int64_t{s.channels}; }};
std::vector<DepthwiseConvShape> awkward_and_large() {
  std::vector<DepthwiseConvShape> shapes = awkward;
  shapes.insert(shapes.end(), large.begin(), large.end());
  return shapes;
}
double terms(const DepthwiseConvShape&) { return 9; }
int channels(const DepthwiseConvShape& s) { return s.channels; }

}  // namespace

TEST_CASE("depthwise_conv forward", "[depthwise_conv]") {
  test::for_each_case(&DepthwiseConv::forward, awkward_and_large(), 40, draw,
                      test::forward_check<DepthwiseConv>(op, terms));
}

TEST_CASE("depthwise_conv backward_data", "[depthwise_conv]") {
  test::for_each_case(&DepthwiseConv::backward_data, awkward_and_large(), 40, draw,
                      test::backward_data_check<DepthwiseConv>(op, terms));
}

TEST_CASE("depthwise_conv backward_weight", "[depthwise_conv]") {
  // Also sums so long that every lane, turn and slice of a split has work.
  std::vector<DepthwiseConvShape> shapes = awkward;
  shapes.insert(shapes.end(),
                {{150, 4, 4, 64, 1}, {300, 2, 2, 132, 1}, {64, 12, 5, 4, 2}, {90, 7, 7, 3, 2}, {20, 16, 16, 128, 1}});
  test::for_each_case(&DepthwiseConv::backward_weight, shapes, 40, draw,
                      test::backward_weight_check<DepthwiseConv>(op));
}

TEST_CASE("depthwise_conv, bfloat16 activations", "[depthwise_conv]") {
  using Row = DepthwiseConvOf<Bf16>;
  for (const int offset : {0, 1}) {
    test::for_each_case(&Row::forward, awkward_and_large(), 10, draw,
                        test::forward_check<Row, Bf16>(op, terms, offset));
    test::for_each_case(&Row::backward_data, awkward_and_large(), 10, draw,
                        test::backward_data_check<Row, Bf16>(op, terms, offset));
    test::for_each_case(&Row::backward_weight, awkward_and_large(), 10, draw,
                        test::backward_weight_check<Row, Bf16>(op, offset));
  }
}

TEST_CASE("depthwise_conv of arrays at odd addresses", "[depthwise_conv]") {
  const std::vector<DepthwiseConvShape> shapes = {{2, 5, 6, 8, 2}, {1, 4, 4, 16, 1}};
  const int offset = 1;
  test::for_each_case(&DepthwiseConv::forward, shapes, 0, draw, test::forward_check<DepthwiseConv>(op, terms, offset));
  test::for_each_case(&DepthwiseConv::backward_data, shapes, 0, draw,
                      test::backward_data_check<DepthwiseConv>(op, terms, offset));
  test::for_each_case(&DepthwiseConv::backward_weight, shapes, 0, draw,
                      test::backward_weight_check<DepthwiseConv>(op, offset));
}

#ifdef __SIMT__
// The emulated wrapper lands a copy at the wait and no earlier: that is what lets the cases above see a missing wait.
TEST_CASE("async copies land at their wait", "[depthwise_conv]") {
  alignas(16) float from[4] = {1, 2, 3, 4}, first[4] = {-1, -1, -1, -1}, second[2] = {-1, -1}, third = -1;
  kernels::cpu::AsyncCopies copies;
  copies.copy<16>(first, from, true);
  copies.commit();
  copies.copy<8>(second, from, true);
  copies.commit();
  copies.copy<4>(&third, from, false);
  CHECK(first[0] == -1);
  copies.wait<2>();
  CHECK(first[0] == -1);
  copies.wait<1>();
  CHECK(std::vector<float>(first, first + 4) == std::vector<float>{1, 2, 3, 4});
  CHECK(second[0] == -1);
  copies.wait<0>();
  CHECK(second[1] == 2);
  CHECK(third == -1);  // was not committed
  copies.commit();
  copies.wait<0>();
  CHECK(third == 0);  // outside: zeros
}
#endif

// By hand: the filter is not flipped, and one pixel of zeros surrounds the image.
TEST_CASE("depthwise_conv reference on a small image", "[depthwise_conv]") {
  const std::vector<double> x = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  const std::vector<double> w = {1, 0, 0, 0, 0, 0, 0, 0, 10};  // the pixel up left, and ten times the one down right
  std::vector<double> y(9);
  reference::depthwise_conv_forward({1, 3, 3, 1, 1}, x.data(), w.data(), y.data());
  CHECK(y == std::vector<double>{50, 60, 0, 80, 91, 2, 0, 4, 5});
  y.resize(4);
  reference::depthwise_conv_forward({1, 3, 3, 1, 2}, x.data(), w.data(), y.data());
  CHECK(y == std::vector<double>{50, 0, 0, 5});
}

TEST_CASE("depthwise_conv reference agrees with finite differences", "[depthwise_conv]") {
  test::Random random{1};
  for (const DepthwiseConvShape& s : awkward) {
    INFO(s.batch << "x" << s.height << "x" << s.width << "x" << s.channels << " stride " << s.stride);
    test::check_gradients(op, s, random);
  }
}

namespace {

template <class T>
void check_forward_folded() {
  using Row = DepthwiseConvOf<T>;
  for (const int offset : {0, 1})
    test::for_each_case(&Row::forward_folded, awkward_and_large(), 20, draw,
                        test::forward_folded_check<Row, T>(op, channels, terms, offset));
}

template <class T>
void check_forward_fused() {
  using Row = DepthwiseConvOf<T>;
  for (const int offset : {0, 1})
    test::for_each_case(&Row::forward_fused, awkward_and_large(), 20, draw,
                        test::forward_fused_check<Row, T>(op, channels, channels, terms, offset));
}

template <class T>
void check_backward_fused() {
  using Row = DepthwiseConvOf<T>;
  for (const int offset : {0, 1})
    test::for_each_case(&Row::backward_fused, awkward_and_large(), 20, draw,
                        test::backward_fused_check<Row, T>(op, channels, channels, terms, offset));
}

}  // namespace

TEST_CASE("depthwise_conv forward_folded", "[depthwise_conv]") { check_forward_folded<float>(); }
TEST_CASE("depthwise_conv forward_folded, bfloat16 activations", "[depthwise_conv]") { check_forward_folded<Bf16>(); }
TEST_CASE("depthwise_conv forward_fused", "[depthwise_conv]") { check_forward_fused<float>(); }
TEST_CASE("depthwise_conv backward_fused", "[depthwise_conv]") { check_backward_fused<float>(); }
TEST_CASE("depthwise_conv forward_fused, bfloat16 activations", "[depthwise_conv]") { check_forward_fused<Bf16>(); }
TEST_CASE("depthwise_conv backward_fused, bfloat16 activations", "[depthwise_conv]") { check_backward_fused<Bf16>(); }
