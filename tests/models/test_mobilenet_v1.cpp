#include "models/mobilenet_v1.h"

#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <set>

#include "catch.h"
#include "engine/autograd/functions.h"
#include "engine/device/device.h"
#include "engine/error.h"
#include "engine/io/checkpoint.h"
#include "engine/support.h"

using namespace models;
using engine::DeviceType;
using engine::Shape;
using engine::Tensor;

namespace {

struct Totals {
  int64_t parameters = 0, multiply_adds = 0;
};

Totals totals(const MobileNetV1Config& config) {
  Totals t;
  for (const Layer& layer : layers(config)) {
    t.parameters += layer.parameters + layer.norm_parameters;
    t.multiply_adds += layer.multiply_adds;
  }
  return t;
}

// The share of one kind of layer in the multiply-adds and in the parameters of convolutions and linear layers.
std::pair<double, double> shares(const MobileNetV1Config& config, LayerKind kind) {
  int64_t multiply_adds = 0, parameters = 0, all_parameters = 0;
  for (const Layer& layer : layers(config)) {
    all_parameters += layer.parameters;
    if (layer.kind != kind) continue;
    multiply_adds += layer.multiply_adds;
    parameters += layer.parameters;
  }
  return {100.0 * multiply_adds / totals(config).multiply_adds, 100.0 * parameters / all_parameters};
}

int64_t count(const engine::State& state) {
  int64_t sum = 0;
  for (const auto& n : state) sum += n.tensor.count();
  return sum;
}

// A file that is gone when the test is.
struct TemporaryFile {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("models_test_" + std::to_string(::getpid()) + ".safetensors");
  ~TemporaryFile() { std::filesystem::remove(path); }
};

Tensor image_batch(int64_t batch, int64_t resolution, DeviceType device = DeviceType::cpu) {
  std::vector<float> values(batch * resolution * resolution * 3);
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(0.37f * static_cast<float>(i % 9973));
  return Tensor::from_host(values, {batch, resolution, resolution, 3}, device);
}

}  // namespace

TEST_CASE("parameters and multiply-adds are those of the paper") {
  const auto check_totals = [](const MobileNetV1Config& config, int64_t parameters, int64_t multiply_adds) {
    CAPTURE(config.width, config.resolution, config.classes);
    CHECK(totals(config).parameters == parameters);
    CHECK(totals(config).multiply_adds == multiply_adds);
  };
  check_totals({1, 32, 10}, 3'217'226, 46'354'432);
  check_totals({1, 224, 1000}, 4'231'976, 568'740'352);
  check_totals({0.25, 224, 1000}, 470'072, 41'030'272);
  // The paper's tables 6 and 7, in millions: (0.75, 224) 325 and 2.6, (0.5, 224) 149 and 1.3, (1, 128) 186 and 4.2.
  const auto in_millions = [](int64_t n) { return std::round(n / 1e5) / 10; };
  CHECK(std::round(totals({0.75, 224, 1000}).multiply_adds / 1e6) == 325);
  CHECK(in_millions(totals({0.75, 224, 1000}).parameters) == 2.6);
  CHECK(std::round(totals({0.5, 224, 1000}).multiply_adds / 1e6) == 149);
  CHECK(in_millions(totals({0.5, 224, 1000}).parameters) == 1.3);
  CHECK(std::round(totals({1, 128, 1000}).multiply_adds / 1e6) == 186);
}

TEST_CASE("standard convolutions cost what the paper's table 4 says") {
  const MobileNetV1Config full = {1, 224, 1000, Convolutions::standard};
  CHECK(totals(full).parameters == 29'294'088);        // it prints 29.3 million
  CHECK(totals(full).multiply_adds == 4'867'293'184);  // it prints 4866 million; without the linear layer, 4866.3
  CHECK(layers(full).size() == 16);                    // 14 convolutions, the pooling, the linear layer
}

TEST_CASE("the share of each kind of layer is that of the paper's table 2") {
  const MobileNetV1Config config{1, 224, 1000};
  // The paper rounds to 0.01 and leaves the linear layer's bias out, which moves the shares of parameters by 0.02.
  const auto near = [](double percent) { return Approx(percent).margin(0.02); };
  CHECK(shares(config, LayerKind::pointwise).first == near(94.86));
  CHECK(shares(config, LayerKind::pointwise).second == near(74.59));
  CHECK(shares(config, LayerKind::depthwise).first == near(3.06));
  CHECK(shares(config, LayerKind::depthwise).second == near(1.06));
  CHECK(shares(config, LayerKind::stem).first == near(1.91));  // it prints 1.19, with which the column sums to 99.29
  CHECK(shares(config, LayerKind::stem).second == near(0.02));
  CHECK(shares(config, LayerKind::linear).first == near(0.18));
  CHECK(shares(config, LayerKind::linear).second == near(24.33));
}

TEST_CASE("layer shapes follow each other down to the last map") {
  const auto check_chain = [](int resolution, int last) {
    const auto all = layers({1, resolution, 10});
    REQUIRE(all.size() == 29);  // the paper's 28, and the pooling
    CHECK(all.front().input == Shape{resolution, resolution, 3});
    for (size_t i = 1; i < all.size(); ++i) CHECK(all[i].input == all[i - 1].output);
    CHECK(all[26].output == Shape{last, last, 1024});
    CHECK(all[27].output == Shape{1024});
    CHECK(all[28].output == Shape{10});
  };
  check_chain(32, 2);
  check_chain(64, 2);
  check_chain(96, 3);
  check_chain(224, 7);
}

TEST_CASE("the state has timm's names and PyTorch's shapes") {
  const double width = GENERATE(1.0, 0.25);
  engine::nn::Init init;
  const MobileNetV1 model(init, {width, 32, 7});
  std::map<std::string, Shape> expected;
  const auto norm = [&](const std::string& name, int64_t channels) {
    for (const char* part : {"weight", "bias", "running_mean", "running_var"}) expected[name + "." + part] = {channels};
  };
  const auto c = [&](int channels) { return static_cast<int64_t>(channels * width); };
  expected["conv_stem.weight"] = {c(32), 3, 3, 3};
  norm("bn1", c(32));
  // In and out channels of the 13 blocks, with their stage and place, written out as timm's state_dict lists them.
  const int blocks[13][4] = {{0, 0, 32, 64},   {1, 0, 64, 128},   {1, 1, 128, 128},  {2, 0, 128, 256}, {2, 1, 256, 256},
                             {3, 0, 256, 512}, {3, 1, 512, 512},  {3, 2, 512, 512},  {3, 3, 512, 512}, {3, 4, 512, 512},
                             {3, 5, 512, 512}, {4, 0, 512, 1024}, {4, 1, 1024, 1024}};
  for (const auto& b : blocks) {
    const std::string name = "blocks." + std::to_string(b[0]) + "." + std::to_string(b[1]);
    expected[name + ".conv_dw.weight"] = {c(b[2]), 1, 3, 3};
    norm(name + ".bn1", c(b[2]));
    expected[name + ".conv_pw.weight"] = {c(b[3]), c(b[2]), 1, 1};
    norm(name + ".bn2", c(b[3]));
  }
  expected["classifier.weight"] = {7, c(1024)};
  expected["classifier.bias"] = {7};
  REQUIRE(expected.size() == 137);

  std::map<std::string, Shape> found;
  for (const auto& n : model.state_dict()) found[n.name] = engine::io::to_array(n).shape;
  CHECK(found == expected);
}

TEST_CASE("the modules hold the parameters that the arithmetic counts") {
  const MobileNetV1Config config =
      GENERATE(MobileNetV1Config{1, 32, 10}, MobileNetV1Config{0.25, 224, 1000}, MobileNetV1Config{0.4, 64, 3},
               MobileNetV1Config{0.01, 32, 2}, MobileNetV1Config{0.25, 224, 7, Convolutions::standard});
  CAPTURE(config.width, config.classes);
  engine::nn::Init init;
  const MobileNetV1 model(init, config);
  CHECK(count(model.parameters()) == totals(config).parameters);
}

TEST_CASE("channels are rounded down, and never below 8") {
  CHECK(scaled(32, 1) == 32);
  CHECK(scaled(32, 0.25) == 8);
  CHECK(scaled(32, 0.1) == 8);
  CHECK(scaled(1024, 0.75) == 768);
  CHECK(scaled(64, 0.3) == 19);
}

TEST_CASE("a seed fixes the weights") {
  const auto first_weights = [](uint64_t seed) {
    engine::nn::Init init{.seed = seed};
    const MobileNetV1 model(init, {0.25, 32, 10});
    std::vector<float> all;
    for (const auto& n : model.parameters())
      for (const float v : n.tensor.to_host<float>()) all.push_back(v);
    return all;
  };
  CHECK(first_weights(1) == first_weights(1));
  CHECK(first_weights(1) != first_weights(2));
}

TEST_CASE("a file brings the state back, bit by bit") {
  const TemporaryFile file;
  const Convolutions convolutions = GENERATE(Convolutions::separable, Convolutions::standard);
  const MobileNetV1Config config{0.25, 32, 5, convolutions};
  engine::nn::Init init{.seed = 3}, other_init{.seed = 4};
  MobileNetV1 model(init, config), other(other_init, config);
  // Running statistics other than those of a new model.
  model.forward(image_batch(2, 32));
  engine::io::save_weights(file.path, model, to_metadata(config));
  const auto read = engine::io::read_safetensors(file.path);
  engine::io::load_weights(read, other);
  const auto before = model.state_dict(), after = other.state_dict();
  REQUIRE(before.size() == after.size());
  for (size_t i = 0; i < before.size(); ++i) {
    CAPTURE(before[i].name);
    CHECK(before[i].tensor.to_host<float>() == after[i].tensor.to_host<float>());
  }
  const auto found = from_metadata(read.metadata, "file");
  CHECK(found.width == config.width);
  CHECK(found.resolution == config.resolution);
  CHECK(found.classes == config.classes);
  CHECK(found.convolutions == config.convolutions);
}

TEST_CASE("weights of another width are refused, with file, tensor and both shapes, and change nothing") {
  const TemporaryFile file;
  engine::nn::Init init;
  MobileNetV1 narrow(init, {0.25, 32, 10}), wide(init, {0.5, 32, 10});
  engine::io::save_weights(file.path, narrow, {});
  const auto before = wide.state_dict()[0].tensor.to_host<float>();
  std::string message;
  try {
    engine::io::load_weights(engine::io::read_safetensors(file.path), wide);
  } catch (const engine::InputError& error) {
    message = error.what();
  }
  CAPTURE(message);
  CHECK(message.find(file.path.string()) != std::string::npos);
  CHECK(message.find("conv_stem.weight") != std::string::npos);
  CHECK(message.find("(8, 3, 3, 3)") != std::string::npos);
  CHECK(message.find("(16, 3, 3, 3)") != std::string::npos);
  CHECK(wide.state_dict()[0].tensor.to_host<float>() == before);
}

TEST_CASE("impossible networks and metadata are refused") {
  const auto refused = [](const MobileNetV1Config& config) {
    CAPTURE(config.width, config.resolution, config.classes);
    CHECK_THROWS_AS(layers(config), engine::InputError);
    engine::nn::Init init;
    CHECK_THROWS_AS(MobileNetV1(init, config), engine::InputError);
  };
  refused({0, 32, 10});
  refused({1.5, 32, 10});
  refused({std::nan(""), 32, 10});
  refused({1, 0, 10});
  refused({1, 33, 10});
  refused({1, 256, 10});
  refused({1, 32, 0});
  refused({1, 32, 2'000'000'000});
  const auto good = to_metadata({0.5, 64, 3});
  CHECK(from_metadata(good, "file").resolution == 64);
  for (const auto& [key, bad] : std::vector<std::pair<std::string, std::string>>{{"width", "wide"},
                                                                                 {"width", "0.5x"},
                                                                                 {"resolution", "99999999999999999999"},
                                                                                 {"classes", ""},
                                                                                 {"classes", "-1"},
                                                                                 {"model", "resnet"}}) {
    CAPTURE(key, bad);
    auto metadata = good;
    metadata[key] = bad;
    CHECK_THROWS_AS(from_metadata(metadata, "file"), engine::InputError);
    metadata.erase(key);
    CHECK_THROWS_AS(from_metadata(metadata, "file"), engine::InputError);
  }
}

TEST_CASE("images of either stem become logits, and every parameter gets a gradient") {
  const int resolution = GENERATE(32, 64);
  const Convolutions convolutions = GENERATE(Convolutions::separable, Convolutions::standard);
  engine::nn::Init init{.seed = 1};
  MobileNetV1 model(init, {0.25, resolution, 10, convolutions});
  const Tensor x = image_batch(3, resolution);
  const Tensor logits = model(x);
  REQUIRE(logits.shape() == Shape{3, 10});
  for (const float v : logits.to_host<float>()) CHECK(std::isfinite(v));

  const Tensor labels = Tensor::from_host<int32_t>({1, 5, 9}, {3}, DeviceType::cpu);
  engine::backward(engine::cross_entropy(logits, labels).loss);
  for (const auto& n : model.parameters()) {
    CAPTURE(n.name);
    REQUIRE(n.tensor.grad().defined());
    double sum = 0;
    for (const float g : n.tensor.grad().to_host<float>()) {
      REQUIRE(std::isfinite(g));
      sum += std::abs(g);
    }
    CHECK(sum > 0);
  }
}

TEST_CASE("in inference an image's logits do not depend on the rest of the batch") {
  engine::nn::Init init{.seed = 1};
  MobileNetV1 model(init, {0.25, 32, 10});
  model.forward(image_batch(4, 32));  // running statistics that are not those of a new model
  model.eval();
  const engine::NoGrad no_grad;
  const Tensor batch = image_batch(4, 32);
  const std::vector<float> together = model(batch).to_host<float>();
  const std::vector<float> pixels = batch.to_host<float>();
  const std::vector<float> third(pixels.begin() + 2 * 32 * 32 * 3, pixels.begin() + 3 * 32 * 32 * 3);
  const std::vector<float> alone = model(Tensor::from_host(third, {1, 32, 32, 3}, DeviceType::cpu)).to_host<float>();
  for (size_t k = 0; k < 10; ++k) {
    // Other tiles may add in another order: 1e-5 of the logits' size is far above that, and far below a mix-up.
    CHECK(alone[k] == Approx(together[20 + k]).epsilon(1e-5).margin(1e-5));
  }
}

namespace {

// A model that is not new: weights of batch norm and running statistics of all kinds.
void age(MobileNetV1& model) {
  uint32_t state = 1;
  for (const auto& list : {model.parameters(), model.buffers()})
    for (const auto& n : list) {
      if (n.tensor.shape().size() > 1) continue;
      std::vector<float> values = n.tensor.to_host<float>();
      for (float& v : values) {
        state = state * 1664525u + 1013904223u;
        v += static_cast<float>(state >> 8) * 0x1p-24f;  // a variance stays positive
      }
      engine::Tensor(n.tensor).write<float>(values);
    }
}

// By the length of the difference.
void check_near(const std::vector<float>& a, const std::vector<float>& b, double relative) {
  REQUIRE(a.size() == b.size());
  double difference = 0, length = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(double{a[i]} - b[i], 2);
    length += std::pow(double{b[i]}, 2);
  }
  CHECK(std::sqrt(difference) <= relative * std::sqrt(length));
}

}  // namespace

TEST_CASE("the folded network computes what the model does in inference") {
  const int resolution = GENERATE(32, 96);
  const double width = GENERATE(0.25, 0.1);
  const Convolutions convolutions = GENERATE(Convolutions::separable, Convolutions::standard);
  engine::nn::Init init{.seed = 3};
  MobileNetV1 model(init, {width, resolution, 7, convolutions});
  age(model);
  model.eval();
  const engine::NoGrad no_grad;
  const Tensor x = image_batch(2, resolution);
  // Each of 28 layers rounds by some 1e-7 of its size.
  check_near(FoldedMobileNetV1(model)(x).to_host<float>(), model(x).to_host<float>(), 1e-5);
}

TEST_CASE("the folded network in bfloat16 computes what the model does, within its rounding") {
  engine::nn::Init init{.seed = 3};
  MobileNetV1 model(init, {0.25, 32, 7});
  age(model);
  model.eval();
  const engine::NoGrad no_grad;
  const Tensor x = image_batch(2, 32);
  const std::vector<float> exact = model(x).to_host<float>();
  engine::Device& device = engine::device(DeviceType::cpu);
  device.policy.precision = kernels::Precision::bf16;
  const std::vector<float> folded = FoldedMobileNetV1(model)(x).to_host<float>(), plain = model(x).to_host<float>();
  device.policy = {};
  // Each of 27 layers rounds its outputs by up to 2⁻⁹ of themselves in the mean, and its weights where they meet tensor
  // cores; independent, they add up to some √54 · 2⁻⁹ = 0.014 of what comes out.
  check_near(folded, exact, 0.05);
  check_near(plain, exact, 0.05);
  CHECK(folded != exact);
}

TEST_CASE("fused and plain training passes agree: loss, gradients, running statistics", "[gpu]") {
  if (!test::device_present()) return;
  const char* const kernels = GENERATE("native", "auto");
  const int resolution = GENERATE(32, 64);
  const double width = GENERATE(0.25, 0.1);
  engine::Device& device = engine::device(test::device());
  device.policy = kernels::parse_policy(kernels, device.type());
  std::vector<std::vector<float>> results[2];
  for (const bool fused : {false, true}) {
    engine::nn::Init init{.device = device.type(), .seed = 5};
    MobileNetV1 model(init, {width, resolution, 10});
    age(model);
    model.fused = fused;
    std::vector<int32_t> labels(24);
    for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int32_t>(i * 7 % 10);
    const Tensor loss = engine::cross_entropy(model(image_batch(24, resolution, device.type())),
                                              Tensor::from_host<int32_t>(labels, {24}, device.type()))
                            .loss;
    engine::backward(loss);
    results[fused].push_back(loss.to_host<float>());
    for (const auto& n : model.parameters()) results[fused].push_back(n.tensor.grad().to_host<float>());
    for (const auto& n : model.buffers()) results[fused].push_back(n.tensor.to_host<float>());
  }
  device.policy = {};
  INFO("kernels " << kernels << ", resolution " << resolution << ", width " << width);
  check_near(results[1][0], results[0][0], 1e-5);
  for (size_t i = 1; i < results[0].size(); ++i) {
    INFO("tensor " << i);
    // Where a rounding tips an element over a corner of ReLU6, all gradients behind it move: up to 0.03 measured, also
    // between two ways to run plain. Else they agree to 2e-5. A gradient that is wrong is so by about 1.
    check_near(results[1][i], results[0][i], 0.1);
  }
}

TEST_CASE("the twin of standard convolutions has names like the separable one's") {
  engine::nn::Init init;
  const MobileNetV1 model(init, {0.25, 32, 3, Convolutions::standard});
  std::map<std::string, Shape> found;
  for (const auto& n : model.state_dict()) found[n.name] = engine::io::to_array(n).shape;
  CHECK(found.size() == 14 * 5 + 2);
  CHECK(found.at("conv_stem.weight") == Shape{8, 3, 3, 3});
  CHECK(found.at("blocks.0.0.conv.weight") == Shape{16, 8, 3, 3});
  CHECK(found.at("blocks.3.0.conv.weight") == Shape{128, 64, 3, 3});
  CHECK(found.at("blocks.4.1.bn1.running_var") == Shape{256});
  CHECK(found.at("classifier.weight") == Shape{3, 256});
}

TEST_CASE("the first place that is not finite is named in bfloat16 too") {
  engine::nn::Init init{.seed = 2};
  MobileNetV1 model(init, {0.05, 32, 4});
  const Tensor images = image_batch(3, 32), labels = Tensor::from_host<int32_t>({0, 3, 1}, {3}, DeviceType::cpu);
  engine::Device& device = engine::device(DeviceType::cpu);
  device.policy.precision = kernels::Precision::bf16;
  const std::string none = first_not_finite(model, images, labels);
  for (const auto& n : model.state_dict())
    if (n.name == "blocks.1.0.bn2.weight") Tensor(n.tensor).fill(3e38f);
  const std::string found = first_not_finite(model, images, labels);
  device.policy = {};
  CHECK(none == "");
  CHECK(found == "the output of blocks.1.0.bn2");
}

TEST_CASE("the first place that is not finite is named, and nothing is changed by looking") {
  const float bad = GENERATE(NAN, INFINITY, -INFINITY);
  engine::nn::Init init{.seed = 2};
  MobileNetV1 model(init, {0.05, 32, 4});
  const Tensor images = image_batch(3, 32), labels = Tensor::from_host<int32_t>({0, 3, 1}, {3}, DeviceType::cpu);
  const auto values = [&] {
    std::vector<std::vector<float>> all;
    for (const auto& n : model.state_dict()) all.push_back(n.tensor.to_host<float>());
    return all;
  };
  const auto tensor = [&](const std::string& name) {
    for (const auto& n : model.state_dict())
      if (n.name == name) return n.tensor;
    throw std::logic_error(name);
  };
  const auto set = [&](Tensor t, size_t at, float value) {
    auto v = t.to_host<float>();
    v.at(at) = value;
    t.write<float>(v);
  };
  model.eval();
  const auto before = values();
  CHECK(first_not_finite(model, images, labels) == "");
  CHECK(values() == before);
  CHECK(!model.training());
  model.train();

  Tensor planted = image_batch(3, 32);
  set(planted, 5000, bad);
  CHECK(first_not_finite(model, planted, labels) == "the input");

  const Tensor weight = tensor("blocks.3.2.conv_pw.weight");
  const float own = weight.to_host<float>()[7];
  set(weight, 7, bad);
  CHECK(first_not_finite(model, images, labels) == "the weights blocks.3.2.conv_pw.weight");
  set(weight, 7, own);
  CHECK(values() == before);

  // Finite weights so large that the layer's sums are not; batch norm's own outputs by its weight.
  const auto overflow = [&](const std::string& parameter, float value) {
    const Tensor t = tensor(parameter);
    const auto kept = t.to_host<float>();
    Tensor(t).write<float>(std::vector<float>(kept.size(), value));
    const auto huge = values();
    const std::string first = first_not_finite(model, images, labels);
    const auto after = values();
    Tensor(t).write<float>(kept);
    CHECK(after == huge);
    return first;
  };
  CHECK(overflow("conv_stem.weight", 3e38f) == "the output of conv_stem");
  CHECK(overflow("blocks.1.0.bn2.weight", 3e38f) == "the output of blocks.1.0.bn2");
  CHECK(overflow("classifier.weight", 3e38f) == "the output of classifier");
  // Running statistics that are no numbers do not matter in training.
  set(tensor("bn1.running_mean"), 0, bad);
  CHECK(first_not_finite(model, images, labels) == "");
  // Logits that are finite, but 6e38 apart.
  const Tensor classifier = tensor("classifier.weight"), bias = tensor("classifier.bias");
  Tensor(classifier).fill(0);
  Tensor(bias).write<float>(std::vector<float>{-3e38f, 3e38f, 0, 0});
  CHECK(first_not_finite(model, images, labels) == "the loss");
}
