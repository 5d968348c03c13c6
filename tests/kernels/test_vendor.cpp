// The vendors' rows of the GPU in the tables, which need no GPU: which is taken, and the memory that it asks for; and
// the kernel that two of them launch.
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/harness.h"
#include "kernels/linear/linear.h"
#include "kernels/pointwise_conv/pointwise_conv.h"

using kernels::Bf16, kernels::Context, kernels::DeviceType, kernels::Linear, kernels::PointwiseConv,
    kernels::PointwiseConvOf, kernels::Precision;

// common/round.cu of both devices.
using RoundToBf16 = void(Context&, int64_t count, const float* x, Bf16* y);
namespace kernels::cpu {
RoundToBf16 round_to_bf16;
}
namespace kernels::cuda {
RoundToBf16 round_to_bf16;
}

TEST_CASE("weights are rounded to bfloat16 for a vendor's product", "[vendor][pointwise_conv]") {
  if (!test::device_present()) return;
  RoundToBf16* round_to_bf16 = kernels::cpu::round_to_bf16;
#ifdef MOBILENET_CUDA
  if (test::device_under_test() == DeviceType::cuda) round_to_bf16 = kernels::cuda::round_to_bf16;
#endif
  test::current_case = {"round_to_bf16", "", 0};
  test::Random random{1};
  for (const int count : {1, 255, 257, 1000}) {
    const auto x = random.floats(count);
    const test::Array<float> device_x(x);
    const test::Array<Bf16> y(count);
    round_to_bf16(test::context(0), count, device_x, y);
    const auto rounded = y.read();
    for (int i = 0; i < count; ++i) REQUIRE(rounded[i].bits == kernels::to_bf16(x[i]).bits);
  }
}

#ifdef MOBILENET_CUBLAS
TEST_CASE("the vendor's row of a precision is taken on a GPU", "[vendor]") {
  kernels::Policy policy;
  policy.preference = kernels::Policy::Preference::vendor;
  const kernels::PointwiseConvShape pointwise{129, 24, 40};
  const kernels::LinearShape linear{3, 5, 7};
  const auto name = [&](Precision precision) {
    policy.precision = precision;
    return std::string(choose(DeviceType::cuda, policy, pointwise, &PointwiseConv::forward).name) + " " +
           choose(DeviceType::cuda, policy, linear, &Linear::backward_weight).name;
  };
  CHECK(name(Precision::fp32) == "cublas cublas");
  CHECK(name(Precision::tf32) == "cublas_tf32 cublas_tf32");
  policy.precision = Precision::bf16;
  const auto& bf16 = choose(DeviceType::cuda, policy, pointwise, &PointwiseConvOf<Bf16>::forward);
  CHECK(std::string(bf16.name) == "cublas_bf16");
  // Scratch memory, and behind it the rounded weights, or a bias of 40 that is not aligned.
  const auto& fp32 = choose(DeviceType::cuda, {}, pointwise, &PointwiseConv::forward);
  CHECK(fp32.provider == kernels::Provider::native);
  policy.precision = Precision::fp32;
  const size_t scratch = choose(DeviceType::cuda, policy, pointwise, &PointwiseConv::forward).workspace(pointwise);
  CHECK(bf16.workspace(pointwise) - 24 * 40 * sizeof(Bf16) == scratch - 40 * sizeof(float));
  CHECK((scratch - 40 * sizeof(float)) % 256 == 0);
}
#endif

#ifdef MOBILENET_CUDNN
TEST_CASE("cuDNN's rows are taken for what is theirs, and ask for the memory that it takes", "[vendor]") {
  kernels::Policy policy;
  policy.preference = kernels::Policy::Preference::vendor;
  const auto softmax = [&](int batch) -> const kernels::CrossEntropy& {
    return choose(DeviceType::cuda, policy, kernels::CrossEntropyShape{batch, 10},
                  &kernels::CrossEntropy::forward_backward);
  };
  CHECK(std::string(softmax(128).name) == "cudnn");
  CHECK(softmax(128).workspace({128, 10}) == 128 * 10 * sizeof(float));
  CHECK(std::string(softmax(65536).name) == "warp");  // more images than it takes

  policy.precision = Precision::bf16;
  const auto folded = [&](const kernels::PointwiseConvShape& s) -> const PointwiseConvOf<Bf16>& {
    return choose(DeviceType::cuda, policy, s, &PointwiseConvOf<Bf16>::forward_folded);
  };
  CHECK(std::string(folded({129, 24, 40}).name) == "cudnn_bf16");
  CHECK(std::string(folded({129, 24, 41}).name) == "bf16");               // no 16 bytes of channels
  CHECK(std::string(folded({int64_t{1} << 26, 24, 40}).name) == "bf16");  // more elements than its ints count
  const auto row = [](const char* name) -> const PointwiseConv& {
    for (const PointwiseConv& row : kernels::implementations<PointwiseConv>(DeviceType::cuda))
      if (row.name == std::string(name)) return row;
    throw kernels::Error("no such row");
  };
  // Scratch memory, and behind it the weights: transposed floats, or rounded to half of them.
  const kernels::PointwiseConvShape s = {129, 1024, 1024};
  CHECK(row("cudnn").workspace(s) - folded(s).workspace(s) == 1024 * 1024 * sizeof(Bf16));
  CHECK((row("cudnn").workspace(s) - 1024 * 1024 * sizeof(float)) % 256 == 0);
}
#endif
