// The fused functions against the plain ones, over chains of blocks: loss, gradients, running statistics. (That the
// plain ones are right is shown against references and finite differences in test_gradients.cpp; that each fused pass
// is, in tests/kernels.)
#include <algorithm>

#include "engine/autograd/fused.h"
#include "support.h"

using namespace engine;

namespace {

struct Norm {
  Tensor weight, bias, mean, var;
  Norm(test::Random& random, int64_t c)
      : weight(Tensor::from_host<float>(random.floats(c, 0.5f, 2), {c}, test::device())),
        bias(Tensor::from_host<float>(random.floats(c, 0, 3), {c}, test::device())),
        mean(Tensor::zeros({c}, test::device())),
        var(Tensor::from_host<float>(std::vector<float>(c, 1), {c}, test::device())) {
    weight.set_requires_grad(true);
    bias.set_requires_grad(true);
  }
  NormParameters parameters() const { return {weight, bias, mean, var}; }
  Tensor operator()(const Tensor& x) const { return relu6(batchnorm(x, weight, bias, mean, var, {})); }
};

struct Block {
  int stride;
  Tensor depthwise, pointwise;
  Norm norm1, norm2;
  Block(test::Random& random, int64_t in, int64_t out, int stride)
      : stride(stride),
        depthwise(Tensor::from_host<float>(random.floats(9 * in), {3, 3, in}, test::device())),
        pointwise(Tensor::from_host<float>(random.floats(in * out), {out, in}, test::device())),
        norm1(random, in),
        norm2(random, out) {
    depthwise.set_requires_grad(true);
    pointwise.set_requires_grad(true);
  }
};

struct Net {
  int stem_stride;
  Tensor images, stem, seed;
  Norm norm;
  std::vector<Block> blocks;
  // channels: of the image, behind the stem, and behind each block
  Net(uint64_t seed_of_all, int batch, int size, const std::vector<int64_t>& channels, const std::vector<int>& strides)
      : Net(test::Random{seed_of_all}, batch, size, channels, strides) {}

  Tensor plain() const {
    Tensor y = norm(conv2d(images, stem, stem_stride));
    for (const Block& b : blocks)
      y = b.norm2(pointwise_conv(b.norm1(depthwise_conv(y, b.depthwise, b.stride)), b.pointwise));
    return global_avg_pool(y);
  }
  Tensor fused() const {
    Normed y = fused_conv2d(images, stem, stem_stride, norm.parameters());
    for (const Block& b : blocks) {
      y = fused_depthwise_conv(y, b.depthwise, b.stride, b.norm1.parameters());
      y = fused_pointwise_conv(y, b.pointwise, b.norm2.parameters());
    }
    return fused_global_avg_pool(y);
  }
  std::vector<Tensor> parameters() const {
    std::vector<Tensor> all = {stem, norm.weight, norm.bias};
    for (const Block& b : blocks)
      for (const Tensor& t : {b.depthwise, b.norm1.weight, b.norm1.bias, b.pointwise, b.norm2.weight, b.norm2.bias})
        all.push_back(t);
    return all;
  }
  std::vector<Tensor> buffers() const {
    std::vector<Tensor> all = {norm.mean, norm.var};
    for (const Block& b : blocks)
      for (const Tensor& t : {b.norm1.mean, b.norm1.var, b.norm2.mean, b.norm2.var}) all.push_back(t);
    return all;
  }

 private:
  Net(test::Random random, int batch, int size, const std::vector<int64_t>& channels, const std::vector<int>& strides)
      : stem_stride(strides[0]),
        images(Tensor::from_host<float>(random.floats(int64_t{batch} * size * size * channels[0]),
                                        {batch, size, size, channels[0]}, test::device())),
        stem(Tensor::from_host<float>(random.floats(channels[1] * 9 * channels[0]), {channels[1], 3, 3, channels[0]},
                                      test::device())),
        seed(
            Tensor::from_host<float>(random.floats(batch * channels.back()), {batch, channels.back()}, test::device())),
        norm(random, channels[1]) {
    stem.set_requires_grad(true);
    for (size_t i = 1; i < strides.size(); ++i) blocks.emplace_back(random, channels[i], channels[i + 1], strides[i]);
  }
};

// Output, gradients, running statistics.
std::vector<std::vector<float>> results(const Net& net, bool fused) {
  const Tensor y = fused ? net.fused() : net.plain();
  backward(y, net.seed);
  std::vector<std::vector<float>> all = {y.to_host<float>()};
  for (const Tensor& t : net.parameters()) all.push_back(t.grad().to_host<float>());
  for (const Tensor& t : net.buffers()) all.push_back(t.to_host<float>());
  return all;
}

// By the length of the difference, where activations are bfloat16: u of 8 bits of mantissa, plain, and exact before
// ReLU6, fused. Forward, some √7 roundings of 2⁻⁸ add up to 0.01. Backward, one in a hundred elements is so near a
// corner of ReLU6 that they decide on which side it is; each passes its gradient in one of the two and not in the
// other, which is √0.01 = 0.1 of the gradient's length, at each of up to seven layers. A gradient that is wrong is so
// by about 1.
void check_agreement_in_bf16(const Net& plain, const Net& fused) {
  const auto a = results(plain, false), b = results(fused, true);
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    REQUIRE(a[i].size() == b[i].size());
    double length = 0, difference = 0;
    for (size_t k = 0; k < a[i].size(); ++k) {
      length += std::pow(double{a[i][k]}, 2);
      difference += std::pow(double{a[i][k]} - b[i][k], 2);
    }
    INFO("tensor " << i);
    const bool is_gradient = i > 0 && i <= plain.parameters().size();
    CHECK(std::sqrt(difference) <= (is_gradient ? 0.4 : 0.01) * std::sqrt(length));
  }
}

void check_agreement(const Net& plain, const Net& fused) {
  const auto a = results(plain, false), b = results(fused, true);
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    INFO("tensor " << i);
    REQUIRE(a[i].size() == b[i].size());
    float largest = 0, difference = 0;
    for (size_t k = 0; k < a[i].size(); ++k) {
      largest = std::max(largest, std::fabs(a[i][k]));
      difference = std::max(difference, std::fabs(a[i][k] - b[i][k]));
    }
    // Roundings of 6e-8 go through up to seven normalisations, each of which may make several times as much of them;
    // a ReLU6 that a rounding tips over its corner would show as about 1/rows.
    CHECK(difference <= 2e-4f * largest);
  }
}

}  // namespace

TEST_CASE("fused chains agree with plain ones, by native and by vendor rows", "[fused]") {
  if (!test::device_present()) return;
  engine::Device& device = engine::device(test::device());
  for (const char* kernels : {"native", "vendor"}) {
    device.policy = kernels::parse_policy(kernels, device.type());
    for (const uint64_t seed : {1, 2}) {
      INFO(kernels << ", seed " << seed);
      const auto check = [&](int batch, int size, const std::vector<int64_t>& channels,
                             const std::vector<int>& strides) {
        check_agreement(Net(seed, batch, size, channels, strides), Net(seed, batch, size, channels, strides));
      };
      check(4, 8, {3, 8, 16, 24}, {1, 1, 2});
      check(3, 7, {3, 5, 9}, {2, 2});         // odd sizes, and channels that no vector divides
      check(5, 2, {3, 8, 8, 12}, {1, 1, 2});  // maps of 2×2 and 1×1
      check(1, 16, {3, 8, 16}, {2, 1});       // an α of 0.25's first block, one image
    }
  }
  device.policy = {};
}

TEST_CASE("fused chains agree with plain ones in bfloat16", "[fused]") {
  if (!test::device_present()) return;
  engine::Device& device = engine::device(test::device());
  device.policy.precision = kernels::Precision::bf16;
  for (const uint64_t seed : {1, 2}) {
    INFO("seed " << seed);
    const auto check = [&](int batch, int size, const std::vector<int64_t>& channels, const std::vector<int>& strides) {
      check_agreement_in_bf16(Net(seed, batch, size, channels, strides), Net(seed, batch, size, channels, strides));
    };
    check(8, 16, {3, 8, 16, 24}, {1, 1, 2});
    check(30, 7, {3, 5, 9}, {2, 2});
    check(6, 16, {3, 8, 16}, {2, 1});
  }
  device.policy = {};
}

TEST_CASE("what a fused convolution makes has one use, and needs two values a channel", "[fused]") {
  if (!test::device_present()) return;
  Net net(1, 2, 4, {3, 8, 8}, {1, 1});
  const Normed y = fused_conv2d(net.images, net.stem, 1, net.norm.parameters());
  const Tensor pooled = fused_global_avg_pool(y);
  test::check_message(test::message_of([&] { fused_global_avg_pool(y); }), {"fused_global_avg_pool", "one use"});
  test::check_message(test::message_of([&] { fused_pointwise_conv(y, net.blocks[0].pointwise, {}); }),
                      {"fused_pointwise_conv", "one use"});
  const Normed unused = fused_conv2d(net.images, net.stem, 1, net.norm.parameters());
  test::check_message(test::message_of([&] { backward(unused.z, unused.z.copy_to(test::device())); }),
                      {"fused_conv2d", "no gradient reached its batch norm"});
  const Net one(1, 1, 2, {3, 8, 8}, {2, 1});
  test::check_message(test::message_of([&] { one.fused(); }), {"fused_conv2d", "at least two values", "(1, 1, 1, 8)"});
  test::check_message(test::message_of([&] {
                        fused_depthwise_conv(fused_conv2d(net.images, net.stem, 1, net.norm.parameters()),
                                             net.blocks[0].pointwise, 1, net.norm.parameters());
                      }),
                      {"fused_depthwise_conv", "weight", "(3, 3, 8)"});
}
