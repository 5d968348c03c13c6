#include "engine/autograd/autograd.h"

#include "engine/autograd/functions.h"
#include "engine/nn/layers.h"
#include "support.h"

using namespace engine;

namespace {

Tensor leaf(const std::vector<float>& values) {
  return Tensor::from_host(values, {static_cast<int64_t>(values.size())}, test::device()).set_requires_grad(true);
}
Tensor constant(const std::vector<float>& values) {
  return Tensor::from_host(values, {static_cast<int64_t>(values.size())}, test::device());
}

using Values = std::vector<float>;

}  // namespace

TEST_CASE("gradients add up over several uses", "[autograd]") {
  if (!test::device_present()) return;
  const Tensor x = leaf({1, 2, 7}), seed = constant({1, 10, 100});
  SECTION("twice in one function") {
    backward(add(x, x), seed);
    CHECK(x.grad().to_host<float>() == Values{2, 20, 200});
  }
  SECTION("in functions of different depth") {
    const Tensor y = relu6(x);                         // slope 1, 1, 0
    backward(add(add(y, relu6(y)), add(x, y)), seed);  // 3 times y (at y = 6 the second relu6 has slope 0) and once x
    CHECK(x.grad().to_host<float>() == Values{4, 40, 100});
  }
  SECTION("over a diamond of 2^20 paths, each function once") {
    Tensor y = x;
    for (int i = 0; i < 20; ++i) y = add(y, y);
    backward(y, seed);
    const float paths = 1 << 20;
    CHECK(x.grad().to_host<float>() == Values{paths, 10 * paths, 100 * paths});
  }
  SECTION("over several backward passes, until zero_grad") {
    backward(relu6(x), seed);
    const void* memory = x.grad().data();
    backward(relu6(x), seed);
    CHECK(x.grad().to_host<float>() == Values{2, 20, 0});
    x.zero_grad();
    CHECK_FALSE(x.grad().defined());
    backward(relu6(x), seed);
    CHECK(x.grad().to_host<float>() == Values{1, 10, 0});  // overwritten, not added to what was there
    x.zero_grad();
    backward(add(x, x), seed);  // a gradient that is handed over, not written: copied into the leaf's memory
    CHECK(x.grad().to_host<float>() == Values{2, 20, 200});
    CHECK(x.grad().data() == memory);  // one address for the leaf's life
    CHECK(seed.to_host<float>() == Values{1, 10, 100});
  }
}

TEST_CASE("what is not recorded", "[autograd]") {
  if (!test::device_present()) return;
  const Tensor x = leaf({1, 2}), c = constant({3, 4});
  CHECK_FALSE(relu6(c).requires_grad());
  CHECK(relu6(c).creator() == nullptr);
  CHECK(add(c, x).requires_grad());
  {
    const NoGrad outer;
    CHECK_FALSE(grad_enabled());
    CHECK(relu6(x).creator() == nullptr);
    { const NoGrad inner; }
    CHECK_FALSE(grad_enabled());
  }
  CHECK(grad_enabled());
  CHECK(relu6(x).creator() != nullptr);
  backward(add(x, c), constant({1, 1}));
  CHECK_FALSE(c.grad().defined());
}

TEST_CASE("misuse of backward says what is wrong", "[autograd]") {
  if (!test::device_present()) return;
  Tensor x = leaf({1, 2});
  test::check_message(test::message_of([&] { backward(relu6(x)); }), {"backward", "(2)", "seed"});
  test::check_message(test::message_of([&] { backward(relu6(x), constant({1, 2, 3})); }), {"seed (3)", "(2)"});
  test::check_message(test::message_of([&] { backward(x, constant({1, 1})); }), {"no graph"});
  test::check_message(test::message_of([&] { backward(relu6(constant({1})), constant({1})); }), {"no graph"});

  const Tensor y = relu6(x);
  backward(y, constant({1, 1}));
  test::check_message(test::message_of([&] {
                        backward(y, constant({1, 1}));
                      }),
                      {"relu6", "run the forward pass again"});
  const Tensor trunk = relu6(x), a = add(trunk, x), b = add(trunk, x);
  backward(a, constant({1, 1}));
  test::check_message(test::message_of([&] {
                        backward(b, constant({1, 1}));
                      }),
                      {"relu6", "run the forward pass again"});
  Tensor made = relu6(x);
  test::check_message(test::message_of([&] { made.set_requires_grad(false); }), {"only leaves"});
}

TEST_CASE("a function that forgets a gradient is found out", "[autograd]") {
  if (!test::device_present()) return;
  struct Forgetful : Function {
    const char* name() const override { return "forgetful"; }
    Tensor forward(const std::vector<Tensor>& in) override { return in[0].copy_to(in[0].device()); }
    void backward(const Tensor&, Gradients&) override {}
  };
  struct Misshapen : Forgetful {
    void backward(const Tensor&, Gradients& dx) override { dx.set(0, constant({1, 2, 3})); }
  };
  const Tensor y = Function::apply(std::make_shared<Forgetful>(), {leaf({1, 2})});
  test::check_message(test::message_of([&] {
                        backward(y, constant({1, 1}));
                      }),
                      {"forgetful", "no gradient for input 0"});
  const Tensor z = Function::apply(std::make_shared<Misshapen>(), {leaf({1, 2})});
  test::check_message(test::message_of([&] { backward(z, constant({1, 1})); }), {"(3)", "input 0 of shape (2)"});
}

TEST_CASE("backward frees the graph as it goes", "[autograd]") {
  if (!test::device_present()) return;
  const MemoryStats& memory = device(test::device()).allocator().stats();
  constexpr int64_t n = 100'000, depth = 50;
  const Tensor x = leaf(Values(n, 1)), seed = constant(Values(n, 1));
  x.grad_buffer();
  const size_t one = Allocator::size_class(n * sizeof(float)), before = memory.in_use;
  Tensor y = x;
  for (int i = 0; i < depth; ++i) y = relu6(y);
  CHECK(memory.in_use == before + depth * one);
  device(test::device()).allocator().reset_peak();
  backward(y, seed);
  CHECK(memory.peak <= before + (depth + 2) * one);
  CHECK(memory.in_use == before + 2 * one);  // y, and what its own function saved, which y still holds
  CHECK(x.grad().to_host<float>()[n - 1] == 1);
}

TEST_CASE("no gradient is computed for an input that wants none", "[autograd]") {
  if (!test::device_present()) return;
  // The images: were their gradient computed, it would need as much memory as they do.
  Device& d = device(test::device());
  const Tensor images = Tensor::zeros({16, 32, 32, 3}, test::device());
  const Tensor weight = Tensor::zeros({4, 3, 3, 3}, test::device()).set_requires_grad(true);
  weight.grad_buffer();
  const Tensor y = conv2d(images, weight, 2), seed = Tensor::zeros(y.shape(), test::device());
  d.context(8 << 20);  // enough for every row: its growth is not what is measured
  const size_t before = d.allocator().stats().in_use;
  d.allocator().reset_peak();
  backward(y, seed);
  CHECK(weight.grad().defined());
  CHECK(d.allocator().stats().peak == before);
}

TEST_CASE("cross-entropy: what it returns, and where backward may start", "[autograd]") {
  if (!test::device_present()) return;
  const Tensor logits = Tensor::from_host<float>({0, 0, 9, 1, 5, 5}, {3, 2}, test::device()).set_requires_grad(true);
  const Tensor labels = Tensor::from_host<int32_t>({1, 0, 0}, {3}, test::device());
  const CrossEntropyResult result = cross_entropy(logits, labels);
  const Values losses = result.losses.to_host<float>();
  CHECK(test::near(losses[0], std::log(2.0)));
  CHECK(test::near(result.loss.item<float>(), (2 * std::log(2.0) + std::log(1 + std::exp(-8.0))) / 3));
  CHECK(result.correct.to_host<int32_t>() == std::vector<int32_t>{0, 1, 1});  // of equals the first counts

  backward(result.loss);
  const Values once = logits.grad().to_host<float>();
  CHECK(test::near(once[0], 0.5 / 3));
  CHECK(test::near(once[1], -0.5 / 3));
  logits.zero_grad();
  backward(add(cross_entropy(logits, labels).loss, cross_entropy(logits, labels).loss));
  const Values twice = logits.grad().to_host<float>();
  for (size_t i = 0; i < once.size(); ++i) CHECK(twice[i] == 2 * once[i]);

  const Tensor loss = cross_entropy(logits, labels).loss;
  test::check_message(test::message_of([&] { backward(loss, constant({2})); }), {"cross_entropy", "cannot be scaled"});
  const Tensor other = cross_entropy(logits, labels).loss;
  test::check_message(test::message_of([&] { backward(add(other, other)); }), {"cannot be scaled"});
  const NoGrad guard;  // no gradient is computed: there is no memory for it
  CHECK(cross_entropy(logits, labels).loss.item<float>() == result.loss.item<float>());
  const Tensor many = Tensor::zeros({1000, 1000}, test::device()).set_requires_grad(true);
  const Tensor zeros = Tensor::zeros({1000}, test::device(), DType::int32);
  Allocator& allocator = device(test::device()).allocator();
  allocator.reset_peak();
  cross_entropy(many, zeros);
  CHECK(allocator.stats().peak < allocator.stats().in_use + many.bytes());
}

TEST_CASE("batch norm: running statistics as PyTorch's, inference, and its limits", "[autograd]") {
  if (!test::device_present()) return;
  nn::Init init{test::device(), 1};
  nn::BatchNorm2d norm(init, 2);
  // Channel 0 holds 1, 2, 3, 6: mean 3, unbiased variance 14/3. Channel 1 holds 0.
  const Tensor x = Tensor::from_host<float>({1, 0, 2, 0, 3, 0, 6, 0}, {1, 2, 2, 2}, test::device());
  const Values y = norm(x).to_host<float>();
  CHECK(test::near(y[0], -2 / std::sqrt(3.5 + 1e-5)));
  CHECK(y[1] == 0);
  CHECK(test::near(norm.running_mean.to_host<float>()[0], 0.3));
  CHECK(test::near(norm.running_var.to_host<float>()[0], 0.9 + 0.1 * 14 / 3));
  CHECK(test::near(norm.running_var.to_host<float>()[1], 0.9));

  norm.eval();
  const Values running = norm.running_var.to_host<float>();
  const Tensor inference = norm(x);
  CHECK(test::near(inference.to_host<float>()[0], (1 - 0.3) / std::sqrt(running[0] + 1e-5)));
  CHECK(norm.running_var.to_host<float>() == running);
  test::check_message(test::message_of([&] { backward(inference, x); }), {"batchnorm", "inference", "train()"});
  norm.train();
  test::check_message(test::message_of([&] {
                        norm(Tensor::zeros({1, 1, 1, 2}, test::device()));
                      }),
                      {"batchnorm", "two values a channel", "(1, 1, 1, 2)"});
}

TEST_CASE("shapes that do not fit are told, both of them", "[autograd]") {
  if (!test::device_present()) return;
  const auto zeros = [](Shape shape) { return Tensor::zeros(std::move(shape), test::device()); };
  const Tensor x = zeros({2, 4, 4, 3});
  const auto message = [](auto action) { return test::message_of(action); };
  test::check_message(message([&] {
                        depthwise_conv(x, zeros({3, 3, 4}), 1);
                      }),
                      {"depthwise_conv", "weight is float32 (3, 3, 4)", "x (2, 4, 4, 3)", "(3, 3, 3)"});
  test::check_message(message([&] {
                        depthwise_conv(zeros({4, 4, 3}), zeros({3, 3, 3}), 1);
                      }),
                      {"(4, 4, 3)", "(*, *, *, *)"});
  test::check_message(message([&] { depthwise_conv(x, zeros({3, 3, 3}), 3); }), {"depthwise_conv", "stride 3"});
  test::check_message(message([&] { conv2d(x, zeros({8, 3, 3, 4}), 1); }), {"conv2d", "(8, 3, 3, 4)", "(*, 3, 3, 3)"});
  test::check_message(message([&] { conv2d(x, zeros({8, 3, 3, 3}), 0); }), {"conv2d", "stride 0"});
  test::check_message(message([&] {
                        conv2d(zeros({0, 4, 4, 3}), zeros({8, 3, 3, 3}), 1);
                      }),
                      {"conv2d", "(0, 4, 4, 3)"});
  test::check_message(message([&] { pointwise_conv(x, zeros({8, 4})); }), {"pointwise_conv", "(8, 4)", "(*, 3)"});
  test::check_message(message([&] { pointwise_conv(zeros({}), zeros({8, 4})); }), {"pointwise_conv", "()"});
  test::check_message(message([&] { batchnorm(x, zeros({3}), zeros({4}), zeros({3}), zeros({3}), {}); }),
                      {"batchnorm", "bias is float32 (4)", "(2, 4, 4, 3)"});
  test::check_message(message([&] { global_avg_pool(zeros({2, 3})); }), {"global_avg_pool", "(2, 3)"});
  test::check_message(message([&] { linear(x, zeros({3, 3}), zeros({3})); }), {"linear", "(2, 4, 4, 3)", "(*, *)"});
  test::check_message(message([&] {
                        linear(zeros({2, 3}), zeros({5, 4}), zeros({5}));
                      }),
                      {"(5, 4)", "(2, 3)", "(*, 3)"});
  test::check_message(message([&] { linear(zeros({2, 3}), zeros({5, 3}), zeros({4})); }), {"bias", "(4)", "(5)"});
  test::check_message(message([&] { add(x, zeros({2, 4, 4, 1})); }), {"add", "(2, 4, 4, 3)", "(2, 4, 4, 1)"});
  test::check_message(message([&] { reshape(x, {7}); }), {"(2, 4, 4, 3)", "(7)"});
  test::check_message(message([&] {
                        cross_entropy(zeros({2, 3}), zeros({2}));
                      }),
                      {"cross_entropy", "labels are float32 (2)", "logits (2, 3)", "int32 (2)"});
  const Tensor labels = Tensor::zeros({2}, test::device(), DType::int32);
  for (const float smoothing : {-0.1f, 1.0f, NAN})
    test::check_message(message([&] { cross_entropy(zeros({2, 3}), labels, smoothing); }), {"from 0 to below 1"});
  const Tensor bytes = Tensor::zeros({2, 4, 4, 3}, test::device(), DType::uint8);
  test::check_message(message([&] { conv2d(bytes, zeros({8, 3, 3, 3}), 1); }), {"conv2d", "uint8", "expected float32"});
  test::check_message(message([&] { relu6(bytes); }), {"uint8"});
}
