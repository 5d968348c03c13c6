#include "engine/nn/layers.h"

#include "engine/autograd/functions.h"
#include "support.h"

using namespace engine;

namespace {

std::vector<std::string> names(const State& state) {
  std::vector<std::string> all;
  for (const NamedTensor& n : state) all.push_back(n.name);
  return all;
}

// A network with a member module and a Sequential in a Sequential.
struct Net : nn::Module {
  explicit Net(nn::Init& init) : bn1(init, 4) {
    register_module("bn1", bn1);
    register_module("blocks", blocks);
    blocks.add<nn::Sequential>().add<nn::PointwiseConv2d>(init, 4, 5);
  }
  Tensor forward(const Tensor& x) override { return blocks(bn1(x)); }
  nn::BatchNorm2d bn1;
  nn::Sequential blocks;
};

}  // namespace

TEST_CASE("names, order and layouts of a module's state", "[nn]") {
  if (!test::device_present()) return;
  nn::Init init{test::device(), 1};
  Net net(init);
  CHECK(names(net.state_dict()) ==
        std::vector<std::string>{"bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var", "blocks.0.0.weight"});
  CHECK(names(net.parameters()) == std::vector<std::string>{"bn1.weight", "bn1.bias", "blocks.0.0.weight"});
  CHECK(names(net.buffers()) == std::vector<std::string>{"bn1.running_mean", "bn1.running_var"});
  CHECK(net.parameters()[2].layout == Layout::pointwise);
  for (const NamedTensor& n : net.parameters()) CHECK(n.tensor.requires_grad());
  for (const NamedTensor& n : net.buffers()) CHECK_FALSE(n.tensor.requires_grad());
  CHECK(net.parameters()[0].tensor.shares_memory_with(net.bn1.weight));

  CHECK(net.bn1.training());
  net.eval();
  CHECK_FALSE(net.training());
  CHECK_FALSE(net.bn1.training());
  CHECK_FALSE(net.blocks[0].training());
  net.train();
  CHECK(net.blocks[0].training());
}

TEST_CASE("initial values: bounds, spread, and the same from the same seed", "[nn]") {
  if (!test::device_present()) return;
  nn::Init init{test::device(), 7}, again{test::device(), 7}, other{test::device(), 8};
  const nn::Conv2d a(init, 16, 100), b(again, 16, 100), c(other, 16, 100), d(init, 16, 100);
  const auto values = a.weight.to_host<float>();
  CHECK(values == b.weight.to_host<float>());
  CHECK(values != c.weight.to_host<float>());
  CHECK(values != d.weight.to_host<float>());  // another parameter, another stream

  // Uniform in ±1/√(9·16): 14,400 draws have a mean within 5σ of 0, and a variance within 5σ of bound²/3.
  const double n = static_cast<double>(values.size()), bound = 1 / std::sqrt(9.0 * 16);
  double sum = 0, squares = 0, largest = 0;
  for (const double v : values) sum += v, squares += v * v, largest = std::max(largest, std::fabs(v));
  CHECK(std::fabs(sum / n) < 5 * bound / std::sqrt(3 * n));
  CHECK(std::fabs(squares / n - bound * bound / 3) < 5 * bound * bound * std::sqrt(4.0 / 45 / n));
  CHECK(largest <= bound * (1 + 1e-6));
  CHECK(largest > 0.99 * bound);

  const auto largest_of = [](const Tensor& t) {
    float most = 0;
    for (const float v : t.to_host<float>()) most = std::max(most, std::fabs(v));
    return most;
  };
  const nn::DepthwiseConv2d depthwise(init, 1000);
  const nn::PointwiseConv2d pointwise(init, 64, 100);
  const nn::Linear linear(init, 25, 100);
  CHECK(std::fabs(largest_of(depthwise.weight) - 1.0 / 3) < 0.01);
  CHECK(std::fabs(largest_of(pointwise.weight) - 1.0 / 8) < 0.01);
  CHECK(std::fabs(largest_of(linear.weight) - 1.0 / 5) < 0.01);
  CHECK(std::fabs(largest_of(linear.bias) - 1.0 / 5) < 0.02);
}

TEST_CASE("initial values are the same on every machine", "[nn]") {
  if (!test::device_present()) return;
  nn::Init init{test::device(), 42};
  // In units of 2⁻²²; from another implementation of the definition, in Python.
  const std::vector<float> expected = {-1896257, 7068530, -6994148, 1736284};
  const auto values = init.uniform({4}, 2).to_host<float>();
  for (size_t i = 0; i < 4; ++i) CHECK(values[i] == expected[i] * 0x1p-22f);
}

TEST_CASE("load_state_dict copies all or, naming what is wrong, nothing", "[nn]") {
  if (!test::device_present()) return;
  nn::Init init{test::device(), 1};
  Net net(init), source(init);
  const auto before = net.blocks[0].parameters()[0].tensor.to_host<float>();
  const auto wanted = source.blocks[0].parameters()[0].tensor.to_host<float>();
  REQUIRE(before != wanted);

  State state = source.state_dict();
  state[0].name = "bn1.gamma";
  state[1].tensor = Tensor::zeros({5}, test::device());
  state[2].tensor = Tensor::zeros({4}, test::device(), DType::int32);
  test::check_message(
      test::message_of<InputError>([&] { net.load_state_dict(state); }),
      {"state_dict", "missing: bn1.weight", "unexpected: bn1.gamma", "bn1.bias is float32 (5), expected float32 (4)",
       "bn1.running_mean is int32 (4), expected float32"});
  state = source.state_dict();
  state.push_back(state[0]);
  test::check_message(test::message_of<InputError>([&] { net.load_state_dict(state); }), {"two tensors", "bn1.weight"});
  test::check_message(test::message_of<InputError>([&] { net.load_state_dict({}); }),
                      {"missing: bn1.weight, bn1.bias"});
  CHECK(net.blocks[0].parameters()[0].tensor.to_host<float>() == before);

  net.load_state_dict(source.state_dict());
  CHECK(net.blocks[0].parameters()[0].tensor.to_host<float>() == wanted);
  CHECK_FALSE(net.bn1.weight.shares_memory_with(source.bn1.weight));

  // Many problems are counted, not listed.
  State many = source.state_dict();
  for (int i = 0; i < 9; ++i) many.push_back({"extra" + std::to_string(i), many[0].tensor});
  test::check_message(test::message_of<InputError>([&] { net.load_state_dict(many); }),
                      {"extra0", "extra4 and 4 more"});
}
