#include "kernels/common/simd_levels.h"
#include "kernels/fused.h"
#include "kernels/harness.h"
#include "kernels/pointwise_conv/pointwise_conv.h"

using kernels::Bf16, kernels::PointwiseConv, kernels::PointwiseConvOf, kernels::PointwiseConvShape;
namespace reference = kernels::reference;

#ifdef MOBILENET_EMULATED_AMX
namespace kernels::cpu::emulated_amx {
template <class Row>
const Row& simd_row();
}

// What `simd` does where there is a matrix unit (emulated_amx.h); its vectors are those of AVX-512.
template <class T>
std::vector<PointwiseConvOf<T>> emulated_rows() {
  if (test::device_under_test() != kernels::DeviceType::cpu) return {};
  if (kernels::cpu::simd_level() < kernels::cpu::SimdLevel::avx512) return {};
  PointwiseConvOf<T> row = kernels::cpu::emulated_amx::simd_row<PointwiseConvOf<T>>();
  row.name = "simd_emulated_amx";
  return {row};
}
template <>
std::vector<PointwiseConv> test::own_rows() {
  return emulated_rows<float>();
}
template <>
std::vector<PointwiseConvOf<Bf16>> test::own_rows() {
  return emulated_rows<Bf16>();
}
#endif

namespace {

// {rows, in_channels, out_channels}: nothing to tile, channels of no vector width, one off every tile, several tiles of
// every kind (the weight gradient's sum runs over the rows, and is split from 256 on), the narrow
// network's widths, and few rows of many channels, whose sums split_k splits.
const std::vector<PointwiseConvShape> awkward = {
    {1, 1, 1},      {1, 3, 5},      {2, 5, 3},      {2, 7, 1},      {1, 129, 65},  {127, 17, 31}, {129, 31, 17},
    {127, 33, 63},  {129, 63, 33},  {65, 65, 129},  {2, 1, 129},    {130, 129, 1}, {128, 32, 64}, {33, 8, 16},
    {257, 16, 24},  {128, 24, 8},   {64, 24, 16},   {130, 200, 36}, {255, 4, 4},   {1031, 3, 5},  {1280, 16, 8},
    {2000, 12, 20}, {260, 68, 132}, {16, 512, 260}, {5, 261, 299}};
PointwiseConvShape draw(test::Random& random) {
  const int multiple = random.one_of({1, 1, 4});
  return {random.between(1, 400), random.between(1, 100 / multiple) * multiple,
          random.between(1, 100 / multiple) * multiple};
}

using Reference = void (*)(const PointwiseConvShape&, const double* a, const double* b, double* result);

// Runs one pass of one row on random arrays a, b, and checks its result. All arrays start `shift` elements behind a
// multiple of 256 bytes. T is the activations' type: of a, B of b, Result of the result.
template <class T, class B, class Result, class Pass>
auto check(Pass PointwiseConvOf<T>::*pass, Reference reference, int64_t (*sizes)(const PointwiseConvShape&, int which),
           int shift) {
  return [=](const PointwiseConvOf<T>& row, const PointwiseConvShape& s, test::Random& random) {
    const auto a = test::typed<T>(random.floats(sizes(s, 0)));
    const auto b = test::typed<B>(random.floats(sizes(s, 1)));
    const int64_t count = sizes(s, 2);
    const auto terms = static_cast<double>(sizes(s, 3));
    const test::Array<T> device_a(a, shift);
    const test::Array<B> device_b(b, shift);
    const test::Array<Result> device_result(count, shift);
    (row.*pass)(test::context(row.workspace(s)), s, device_a, device_b, device_result);
    std::vector<double> expected(count), magnitude(count);
    reference(s, test::to_double(test::to_floats(a)).data(), test::to_double(test::to_floats(b)).data(),
              expected.data());
    reference(s, test::absolute(test::to_floats(a)).data(), test::absolute(test::to_floats(b)).data(),
              magnitude.data());
    // What is bfloat16 in memory is rounded no more on its way into a product.
    test::Rounding besides =
        test::tensor_core_rounding(row.precision, !std::is_same_v<T, Bf16> + !std::is_same_v<B, Bf16>, terms);
    if (std::is_same_v<Result, Bf16>) besides.result = 0x1p-8;  // half a last place of 8 bits
    const auto result = test::to_floats(device_result.read());
    test::check_sum(result, expected, magnitude, terms, besides);
    return test::Outputs{result};
  };
}

int64_t forward_sizes(const PointwiseConvShape& s, int which) {
  const int64_t sizes[] = {s.rows * s.in_channels, int64_t{s.in_channels} * s.out_channels, s.rows * s.out_channels,
                           s.in_channels};
  return sizes[which];
}
int64_t data_sizes(const PointwiseConvShape& s, int which) {
  const int64_t sizes[] = {s.rows * s.out_channels, int64_t{s.in_channels} * s.out_channels, s.rows * s.in_channels,
                           s.out_channels};
  return sizes[which];
}
int64_t weight_sizes(const PointwiseConvShape& s, int which) {
  const int64_t sizes[] = {s.rows * s.in_channels, s.rows * s.out_channels, int64_t{s.in_channels} * s.out_channels,
                           s.rows};
  return sizes[which];
}

template <class T, class B, class Result, class Pass>
void check_pass(Pass PointwiseConvOf<T>::*pass, Reference reference,
                int64_t (*sizes)(const PointwiseConvShape&, int which)) {
  test::for_each_case(pass, awkward, 8, draw, check<T, B, Result>(pass, reference, sizes, 0));
  // Channels that 16-byte accesses divide, in arrays that do not start at a multiple of 16 bytes: a part of a tensor.
  test::for_each_case(pass, std::vector<PointwiseConvShape>{{129, 40, 68}, {1024, 8, 16}}, 0, draw,
                      check<T, B, Result>(pass, reference, sizes, 1));
}

template <class T>
void check_forward() {
  check_pass<T, float, T>(&PointwiseConvOf<T>::forward, reference::pointwise_conv_forward, forward_sizes);
}
template <class T>
void check_backward_data() {
  check_pass<T, float, T>(&PointwiseConvOf<T>::backward_data, reference::pointwise_conv_backward_data, data_sizes);
}
template <class T>
void check_backward_weight() {
  check_pass<T, T, float>(&PointwiseConvOf<T>::backward_weight, reference::pointwise_conv_backward_weight,
                          weight_sizes);
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

TEST_CASE("pointwise_conv forward", "[pointwise_conv]") { check_forward<float>(); }
TEST_CASE("pointwise_conv backward_data", "[pointwise_conv]") { check_backward_data<float>(); }
TEST_CASE("pointwise_conv backward_weight", "[pointwise_conv]") { check_backward_weight<float>(); }
TEST_CASE("pointwise_conv forward, bfloat16 activations", "[pointwise_conv]") { check_forward<Bf16>(); }
TEST_CASE("pointwise_conv backward_data, bfloat16 activations", "[pointwise_conv]") { check_backward_data<Bf16>(); }
TEST_CASE("pointwise_conv backward_weight, bfloat16 activations", "[pointwise_conv]") { check_backward_weight<Bf16>(); }

TEST_CASE("bfloat16 rounds to the nearest, ties to even", "[bf16]") {
  const auto rounded = [](float x) { return kernels::to_float(kernels::to_bf16(x)); };
  CHECK(rounded(1) == 1);
  CHECK(rounded(-0x1.02p-130f) == -0x1.00p-130f);  // a subnormal keeps fewer bits
  CHECK(rounded(1 + 0x1p-8f) == 1);                // between 1 and 1 + 2⁻⁷: to the even one
  CHECK(rounded(1 + 0x1.8p-7f) == 1 + 0x1p-6f);
  CHECK(rounded(1 + 0x1p-8f + 0x1p-20f) == 1 + 0x1p-7f);
  CHECK(rounded(-3.0e38f) == -0x1.c4p127f);
  CHECK(rounded(3.4e38f) == INFINITY);
  CHECK(std::isnan(rounded(NAN)));
  const uint32_t nan = 0x7fffffffu;  // whose mantissa would carry over into the sign
  float value;
  std::memcpy(&value, &nan, sizeof value);
  CHECK(std::isnan(rounded(value)));
}

namespace {

const test::Convolution<PointwiseConvShape> op = {
    reference::pointwise_conv_forward,
    reference::pointwise_conv_backward_data,
    reference::pointwise_conv_backward_weight,
    [](const PointwiseConvShape& s) { return s.rows * s.in_channels; },
    [](const PointwiseConvShape& s) { return s.rows * s.out_channels; },
    [](const PointwiseConvShape& s) { return int64_t{s.in_channels} * s.out_channels; }};
int in_channels(const PointwiseConvShape& s) { return s.in_channels; }
int out_channels(const PointwiseConvShape& s) { return s.out_channels; }
double forward_terms(const PointwiseConvShape& s) { return s.in_channels; }
double data_terms(const PointwiseConvShape& s) { return s.out_channels; }

}  // namespace

template <class T>
void check_forward_folded() {
  for (const int offset : {0, 1})
    test::for_each_case(&PointwiseConvOf<T>::forward_folded, awkward, 8, draw,
                        test::forward_folded_check<PointwiseConvOf<T>, T>(op, out_channels, forward_terms, offset));
}

TEST_CASE("pointwise_conv forward_packed", "[pointwise_conv]") {
  const auto run = [](const PointwiseConv& row, const PointwiseConvShape& s, const float* x, const float* w,
                      const float* bias, float* y) {
    const test::Bytes packed(row.packed_bytes(s));
    row.pack(test::context(row.workspace(s)), s, w, packed.data());
    PointwiseConvShape more = s;  // the layout is not of the rows
    more.rows += 100;
    CHECK(row.packed_bytes(more) == row.packed_bytes(s));
    row.forward_packed(test::context(row.workspace(s)), s, x, packed.data(), bias, y);
  };
  for (const int offset : {0, 1})
    test::for_each_case(&PointwiseConv::forward_packed, awkward, 8, draw,
                        test::forward_folded_check<PointwiseConv>(op, out_channels, forward_terms, offset, +run));
}

template <class T>
void check_forward_fused() {
  for (const int offset : {0, 1})
    test::for_each_case(
        &PointwiseConvOf<T>::forward_fused, awkward, 8, draw,
        test::forward_fused_check<PointwiseConvOf<T>, T>(op, in_channels, out_channels, forward_terms, offset));
}
template <class T>
void check_backward_fused() {
  for (const int offset : {0, 1})
    test::for_each_case(
        &PointwiseConvOf<T>::backward_fused, awkward, 8, draw,
        test::backward_fused_check<PointwiseConvOf<T>, T>(op, in_channels, out_channels, data_terms, offset));
}
TEST_CASE("pointwise_conv forward_folded", "[pointwise_conv]") { check_forward_folded<float>(); }
TEST_CASE("pointwise_conv forward_folded, bfloat16 activations", "[pointwise_conv]") { check_forward_folded<Bf16>(); }
TEST_CASE("pointwise_conv forward_fused", "[pointwise_conv]") { check_forward_fused<float>(); }
TEST_CASE("pointwise_conv backward_fused", "[pointwise_conv]") { check_backward_fused<float>(); }
TEST_CASE("pointwise_conv forward_fused, bfloat16 activations", "[pointwise_conv]") { check_forward_fused<Bf16>(); }
TEST_CASE("pointwise_conv backward_fused, bfloat16 activations", "[pointwise_conv]") { check_backward_fused<Bf16>(); }

// So large that a task of the CPU's row takes several blocks of rows one after the other, that its backward pass takes
// a part of the rows at a time, or makes dz in the tasks of several panels of dx. Emulated rows would take too long.
template <class T, class Pass, class Check>
void check_large(Pass PointwiseConvOf<T>::*pass, const std::vector<PointwiseConvShape>& shapes, const Check& check) {
  test::for_each_case(
      pass, shapes, 0, draw,
      [=](const PointwiseConvOf<T>& row, const PointwiseConvShape& s, test::Random& random) -> test::Outputs {
        if (row.provider == kernels::Provider::native) return {};
        return check(row, s, random);
      });
}
template <class T>
void check_large_fused(const std::vector<PointwiseConvShape>& forward_shapes,
                       const std::vector<PointwiseConvShape>& backward_shapes) {
  using Op = PointwiseConvOf<T>;
  check_large<T>(&Op::forward_fused, forward_shapes,
                 test::forward_fused_check<Op, T>(op, in_channels, out_channels, forward_terms, 0));
  check_large<T>(&Op::backward_fused, backward_shapes,
                 test::backward_fused_check<Op, T>(op, in_channels, out_channels, data_terms, 0));
}
TEST_CASE("pointwise_conv fused passes of large arrays", "[pointwise_conv]") {
  check_large_fused<float>({{7001, 8, 20}}, {{1000, 8, 9000}, {770, 68, 968}});
}
TEST_CASE("pointwise_conv fused passes of large arrays, bfloat16 activations", "[pointwise_conv]") {
  // The longest ones' results pass the caches where a matrix unit makes whole tiles of them.
  check_large_fused<Bf16>({{7001, 8, 20}, {262149, 4, 32}}, {{801, 9000, 8}, {771, 68, 968}, {65543, 32, 8}});
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
