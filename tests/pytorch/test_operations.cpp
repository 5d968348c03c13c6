// Single operations and optimisers against PyTorch's, at odd sizes.
#include "engine/autograd/functions.h"
#include "pytorch/fixture.h"

using namespace engine;

namespace {

const test::Fixture& operations() {
  static const test::Fixture fixture("operations.safetensors");
  return fixture;
}

// `apply` of the case's x and w; y and both gradients.
template <class Apply>
void compare_convolution(const std::string& name, Layout layout, Apply apply) {
  if (!test::device_present()) return;
  const test::Fixture& f = operations();
  const Tensor x = f.leaf(name + ".x"), w = f.leaf(name + ".w", layout);
  const Tensor y = apply(x, w);
  f.check(name + ".y", y);
  backward(y, f.tensor(name + ".dy"));
  f.check(name + ".dx", x.grad());
  f.check(name + ".dw", w.grad(), layout);
}

void compare_batchnorm(const std::string& name) {
  const test::Fixture& f = operations();
  const Tensor x = f.leaf(name + ".x"), weight = f.leaf(name + ".weight"), bias = f.leaf(name + ".bias");
  const Tensor mean = f.tensor(name + ".mean"), var = f.tensor(name + ".var");
  {
    const NoGrad off;
    f.check(name + ".inference", batchnorm(x, weight, bias, mean, var, {.training = false}));
  }
  const Tensor y = batchnorm(x, weight, bias, mean, var, {});
  f.check(name + ".y", y);
  f.check(name + ".new_mean", mean);
  f.check(name + ".new_var", var);
  backward(y, f.tensor(name + ".dy"));
  f.check(name + ".dx", x.grad());
  f.check(name + ".dweight", weight.grad());
  f.check(name + ".dbias", bias.grad());
}

void compare_cross_entropy(const std::string& name, float label_smoothing = 0) {
  const test::Fixture& f = operations();
  const Tensor logits = f.leaf(name + ".logits");
  const CrossEntropyResult result = cross_entropy(logits, f.tensor(name + ".labels"), label_smoothing);
  f.check(name + ".losses", result.losses);
  f.check(name + ".loss", result.loss);
  backward(result.loss);
  f.check(name + ".dlogits", logits.grad());
}

// Three steps with the case's gradients, for two parameters.
void compare_optimizer(const std::string& name, const optim::Options& options) {
  if (!test::device_present()) return;
  const test::Fixture& f = operations();
  const State parameters = {{"0", f.leaf(name + ".start.0")}, {"1", f.leaf(name + ".start.1")}};
  optim::Optimizer optimizer(parameters, options);
  for (int step = 0; step < 3; ++step) {
    optimizer.zero_grad();
    for (const NamedTensor& n : parameters) {
      const Tensor gradient = f.tensor(name + ".gradient." + std::to_string(step) + "." + n.name);
      backward(reshape(n.tensor, n.tensor.shape()), gradient);  // the gradient of a copy is the copy's gradient
    }
    optimizer.step();
  }
  for (const NamedTensor& n : parameters) f.check(name + ".trained." + n.name, n.tensor);
}

}  // namespace

TEST_CASE("depthwise convolution agrees with PyTorch", "[pytorch]") {
  for (const char* name : {"stride1", "stride2", "even_stride2", "one_pixel"}) {
    const int stride = std::string(name) == "stride1" ? 1 : 2;
    compare_convolution(std::string("depthwise_conv.") + name, Layout::depthwise,
                        [&](const Tensor& x, const Tensor& w) { return depthwise_conv(x, w, stride); });
  }
}

TEST_CASE("3×3 convolution agrees with PyTorch", "[pytorch]") {
  for (const int stride : {1, 2})
    compare_convolution("conv2d.stride" + std::to_string(stride), Layout::conv,
                        [&](const Tensor& x, const Tensor& w) { return conv2d(x, w, stride); });
}

TEST_CASE("pointwise convolution agrees with PyTorch", "[pytorch]") {
  compare_convolution("pointwise_conv", Layout::pointwise,
                      [](const Tensor& x, const Tensor& w) { return pointwise_conv(x, w); });
}

TEST_CASE("linear agrees with PyTorch", "[pytorch]") {
  Tensor b;
  compare_convolution("linear", Layout::same, [&](const Tensor& x, const Tensor& w) {
    b = operations().leaf("linear.b");
    return linear(x, w, b);
  });
  if (b.defined()) operations().check("linear.db", b.grad());
}

TEST_CASE("batch norm agrees with PyTorch", "[pytorch]") {
  if (!test::device_present()) return;
  compare_batchnorm("batchnorm");
  compare_batchnorm("batchnorm.three_rows");
}

TEST_CASE("cross-entropy agrees with PyTorch", "[pytorch]") {
  if (!test::device_present()) return;
  compare_cross_entropy("cross_entropy");
  compare_cross_entropy("cross_entropy.large");
  compare_cross_entropy("cross_entropy.smooth", 0.1f);
  compare_cross_entropy("cross_entropy.smooth_large", 0.5f);
}

TEST_CASE("optimisers agree with PyTorch", "[pytorch]") {
  using optim::Method;
  compare_optimizer("adam", {.method = Method::adam, .lr = 1e-2f});
  compare_optimizer("adam.decay", {.method = Method::adam, .lr = 1e-2f, .weight_decay = 0.1f});
  compare_optimizer("adamw.decay", {.method = Method::adamw, .lr = 1e-2f, .weight_decay = 0.1f});
  compare_optimizer("sgd", {.method = Method::sgd, .lr = 0.1f, .momentum = 0.9f});
  compare_optimizer("sgd.nesterov_decay",
                    {.method = Method::sgd, .lr = 0.1f, .momentum = 0.9f, .nesterov = true, .weight_decay = 0.1f});
}
