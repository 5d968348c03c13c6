// The wrappers of common/mma.h: on the CPU their emulation, on a GPU (or run from PTX) the instructions; the results
// must be the same.
#include "kernels/harness.h"
#include "tests/kernels/mma_kernels.h"

namespace {

kernels::MmaKernels kernels_under_test() {
  test::current_case = {"mma", "mma", 0};
#ifdef MOBILENET_CUDA
  if (test::device_under_test() == kernels::DeviceType::cuda) return kernels::mma_kernels<kernels::DeviceType::cuda>();
#endif
  return kernels::mma_kernels<kernels::DeviceType::cpu>();
}

// c + a · b, a (32, K), b (K, 16), in double.
std::vector<double> product(const std::vector<float>& a, const std::vector<float>& b, const std::vector<float>& c) {
  const size_t K = a.size() / 32;
  std::vector<double> result(c.begin(), c.end());
  for (size_t row = 0; row < 32; ++row)
    for (size_t column = 0; column < 16; ++column)
      for (size_t k = 0; k < K; ++k) result[row * 16 + column] += double{a[row * K + k]} * b[k * 16 + column];
  return result;
}

using Run = void (*)(kernels::Context&, const float* a, const float* b, float* c);
std::vector<float> run(Run kernel, const std::vector<float>& a, const std::vector<float>& b,
                       const std::vector<float>& c) {
  const test::Array<float> device_a(a), device_b(b), device_c(c);
  kernel(test::context(0), device_a, device_b, device_c);
  return device_c.read();
}

// Products of small whole numbers are exact whatever the order of the sum: an element in the wrong place shows.
void check_places(Run kernel, int K) {
  for (const uint64_t order : {0, 1, 2}) {
    test::set_thread_order(order);
    std::vector<float> a(32 * K), b(K * 16), c(32 * 16);
    test::Random random{order};
    for (auto* values : {&a, &b, &c})
      for (float& x : *values) x = static_cast<float>(random.between(-100, 100));
    const auto expected = product(a, b, c);
    CHECK(run(kernel, a, b, c) == std::vector<float>(expected.begin(), expected.end()));
  }
  test::set_thread_order(0);
}

// One factor a row, the others 0: c = round(a), which tells how the instruction's input was rounded.
std::vector<float> rounded(Run kernel, int K, const std::vector<float>& values) {
  std::vector<float> a(32 * K), b(K * 16), c(32 * 16);
  for (size_t i = 0; i < values.size(); ++i) a[i * K] = values[i];
  b[0] = 1;
  const auto result = run(kernel, a, b, c);
  std::vector<float> first;
  for (size_t i = 0; i < values.size(); ++i) first.push_back(result[i * 16]);
  return first;
}

}  // namespace

TEST_CASE("mma tf32", "[mma]") {
  if (!test::device_present()) return;
  const Run tf32 = kernels_under_test().tf32;
  check_places(tf32, 8);
  // To 11 bits, ties away from zero.
  CHECK(rounded(tf32, 8, {1 + 0x1p-11f, -1 - 0x1p-11f, 1 + 0x1p-12f, 1 + 0x1.8p-11f, 0x1.ff9p0f, 0x1.fffp0f}) ==
        std::vector<float>{1 + 0x1p-10f, -1 - 0x1p-10f, 1, 1 + 0x1p-10f, 0x1.ff8p0f, 2});
}

TEST_CASE("mma bf16", "[mma]") {
  if (!test::device_present()) return;
  const Run bf16 = kernels_under_test().bf16;
  check_places(bf16, 16);
  // To 8 bits, ties to even.
  CHECK(rounded(bf16, 16, {1 + 0x1p-8f, -1 - 0x1.8p-7f, 1 + 0x1.4p-8f}) ==
        std::vector<float>{1, -1 - 0x1p-6f, 1 + 0x1p-7f});
}

TEST_CASE("ldmatrix", "[mma]") {
  if (!test::device_present()) return;
  const test::Array<int> values(256);
  kernels_under_test().ldmatrix(test::context(0), values);
  std::vector<int> expected;
  for (const bool transposed : {false, true})
    for (int lane = 0; lane < 32; ++lane)
      for (int i = 0; i < 4; ++i) {
        const auto element = [i](int row, int column) { return (i / 2 * 8 + row) * 16 + i % 2 * 8 + column; };
        const int g = lane / 4, t = lane % 4;
        expected.push_back(transposed ? element(2 * t, g) | element(2 * t + 1, g) << 16
                                      : element(g, 2 * t) | element(g, 2 * t + 1) << 16);
      }
  CHECK(values.read() == expected);
}
