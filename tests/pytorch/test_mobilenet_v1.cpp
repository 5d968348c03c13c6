// A narrow MobileNetV1 from the same weights on the same batch as PyTorch's: logits, loss, every gradient, running
// statistics, and every parameter after five Adam steps, with our kernels and with the vendors'.
#include "engine/autograd/functions.h"
#include "models/mobilenet_v1.h"
#include "pytorch/fixture.h"

using namespace engine;

namespace {

// The file's arrays "initial.NAME", as a file of weights.
io::Safetensors initial_weights(const io::Safetensors& file) {
  const std::string prefix = "initial.";
  io::Safetensors weights;
  weights.path = file.path;
  for (const io::Array& array : file.arrays)
    if (array.name.starts_with(prefix)) {
      weights.arrays.push_back(array);
      weights.arrays.back().name.erase(0, prefix.size());
    }
  return weights;
}

Tensor images(const test::Fixture& fixture) {
  const Tensor bytes = fixture.tensor("images");  // (N, 32, 32, 3)
  std::vector<float> values;
  for (const uint8_t byte : bytes.to_host<uint8_t>()) values.push_back(byte / 64.0f - 2);
  return Tensor::from_host(values, bytes.shape(), test::device());
}

// The tensor that is farthest from the fixture's "PREFIX.NAME".
void check_all(const test::Fixture& fixture, const std::string& prefix, const State& state) {
  double worst = 0;
  std::string name;
  for (const NamedTensor& n : state) {
    const double distance = fixture.distance(prefix + "." + n.name, n.tensor, n.layout);
    if (distance >= worst) worst = distance, name = n.name;
  }
  INFO(prefix << ": " << name << " is the farthest of " << state.size());
  CHECK(worst <= test::tolerance);
}

void compare(const std::string& kernels) {
  INFO("--kernels " << kernels);
  Device& device = engine::device(test::device());
  device.policy = kernels::parse_policy(kernels, device.type());
  const test::Fixture fixture("mobilenet_v1.safetensors");
  nn::Init init{device.type()};
  models::MobileNetV1 net(init, {std::stod(fixture.file.metadata.at("width"))});
  io::load_weights(initial_weights(fixture.file), net);
  optim::Optimizer adam(net.parameters(), {.method = optim::Method::adam, .lr = 1e-3f});
  const Tensor x = images(fixture), labels = fixture.tensor("labels");

  for (int step = 0; step < 5; ++step) {
    const Tensor logits = net(x), loss = cross_entropy(logits, labels).loss;
    fixture.check("loss." + std::to_string(step), loss);
    adam.zero_grad();
    backward(loss);
    if (step == 0) {
      fixture.check("logits", logits);
      State gradients = net.parameters();
      for (NamedTensor& n : gradients) n.tensor = n.tensor.grad();
      check_all(fixture, "gradient", gradients);
      check_all(fixture, "running", net.buffers());
    }
    adam.step();
  }
  check_all(fixture, "trained", net.parameters());
  device.policy = {};
}

}  // namespace

TEST_CASE("a training step and five Adam steps agree with PyTorch, native kernels", "[pytorch]") {
  if (test::device_present()) compare("native");
}

TEST_CASE("a training step and five Adam steps agree with PyTorch, vendor kernels", "[pytorch]") {
  if (test::device_present()) compare("vendor");
}
