#include "engine/io/checkpoint.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/autograd/functions.h"
#include "engine/io/file.h"
#include "engine/nn/layers.h"
#include "support.h"

using namespace engine;
using namespace engine::io;

namespace {

struct Net : nn::Sequential {
  explicit Net(uint64_t seed, int width = 8) {
    nn::Init init{test::device(), seed};
    add<nn::Conv2d>(init, 3, width);
    add<nn::BatchNorm2d>(init, width);
    add<nn::ReLU6>();
    add<nn::DepthwiseConv2d>(init, width, 2);
    add<nn::PointwiseConv2d>(init, width, 6);
    add<nn::BatchNorm2d>(init, 6);
    add<nn::GlobalAvgPool>();
    add<nn::Linear>(init, 6, 4);
  }
};

// Trains steps [from, to) on batches that depend on the step alone; the last loss.
float train(Net& net, optim::Optimizer& optimizer, int from, int to) {
  float loss = 0;
  for (int step = from; step < to; ++step) {
    test::Random random{static_cast<uint64_t>(step) + 100};
    const Tensor images = Tensor::from_host(random.floats(8 * 6 * 6 * 3), {8, 6, 6, 3}, test::device());
    const Tensor labels = Tensor::from_host<int32_t>({0, 1, 2, 3, 3, 2, 1, 0}, {8}, test::device());
    const CrossEntropyResult result = cross_entropy(net(images), labels);
    backward(result.loss);
    optimizer.step();
    optimizer.zero_grad();
    loss = result.loss.item<float>();
  }
  return loss;
}

std::vector<std::vector<float>> values(const State& state) {
  std::vector<std::vector<float>> all;
  for (const NamedTensor& n : state) all.push_back(n.tensor.to_host<float>());
  return all;
}

const Array& find(const Safetensors& file, const char* name) {
  REQUIRE(file.find(name) != nullptr);
  return *file.find(name);
}

std::vector<float> floats_of(const Array& a) {
  std::vector<float> v(a.data.size() / 4);
  std::memcpy(v.data(), a.data.data(), a.data.size());
  return v;
}

}  // namespace

TEST_CASE("layouts: memory has the kernels', files have PyTorch's", "[checkpoint]") {
  if (!test::device_present()) return;
  // Each element's value tells its place in memory.
  const auto numbered = [](Shape shape) {
    std::vector<float> v(count(shape));
    for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(i);
    return Tensor::from_host(v, shape, test::device());
  };
  const auto check = [](const NamedTensor& n, const Shape& file_shape, auto place) {
    const Array array = to_array(n);
    CHECK(array.dtype == "F32");
    REQUIRE(array.shape == file_shape);
    const std::vector<float> v = floats_of(array);
    size_t i = 0;
    for (int a = 0; a < file_shape[0]; ++a)
      for (int b = 0; b < file_shape[1]; ++b)
        for (int r = 0; r < file_shape[2]; ++r)
          for (int s = 0; s < file_shape[3]; ++s) CHECK(v[i++] == place(a, b, r, s));
    const NamedTensor back = from_array(array, n.layout, test::device());
    CHECK(back.tensor.shape() == n.tensor.shape());
    CHECK(back.tensor.to_host<float>() == n.tensor.to_host<float>());
  };
  check({"dw", numbered({3, 3, 5}), Layout::depthwise}, {5, 1, 3, 3},
        [](int c, int, int r, int s) { return (r * 3 + s) * 5 + c; });
  check({"pw", numbered({4, 5}), Layout::pointwise}, {4, 5, 1, 1}, [](int o, int i, int, int) { return o * 5 + i; });
  check({"conv", numbered({4, 3, 3, 2}), Layout::conv}, {4, 2, 3, 3},
        [](int o, int i, int r, int s) { return ((o * 3 + r) * 3 + s) * 2 + i; });

  const NamedTensor labels = {"l", Tensor::from_host<int32_t>({1, -2}, {2}, test::device())};
  CHECK(from_array(to_array(labels), Layout::same, test::device()).tensor.to_host<int32_t>() ==
        std::vector<int32_t>{1, -2});
  Array wrong = to_array(labels);
  test::check_message(test::message_of<InputError>([&] { from_array(wrong, Layout::conv, test::device()); }),
                      {"l", "(2)"});
  wrong.dtype = "I64";
  test::check_message(test::message_of<InputError>([&] { from_array(wrong, Layout::same, test::device()); }), {"I64"});
}

TEST_CASE("weights go to a file and back", "[checkpoint]") {
  if (!test::device_present()) return;
  const test::Folder folder;
  Net net(1), other(2);
  save_weights(folder / "w", net, {{"width", "8"}});
  const Safetensors file = read_safetensors(folder / "w");
  CHECK(file.metadata == std::map<std::string, std::string>{{"width", "8"}});
  CHECK(find(file, "0.weight").shape == Shape{8, 3, 3, 3});
  CHECK(find(file, "3.weight").shape == Shape{8, 1, 3, 3});
  CHECK(find(file, "4.weight").shape == Shape{6, 8, 1, 1});
  CHECK(find(file, "1.running_var").shape == Shape{8});
  CHECK(values(net.state_dict()) != values(other.state_dict()));
  load_weights(file, other);
  CHECK(values(net.state_dict()) == values(other.state_dict()));
  save_weights(folder / "v", other, {{"width", "8"}});
  CHECK(read_file(folder / "v") == read_file(folder / "w"));

  // As PyTorch saves it.
  Safetensors torch = file;
  torch.arrays.push_back({"1.num_batches_tracked", "I64", {}, std::vector<unsigned char>(8)});
  load_weights(torch, other);
}

TEST_CASE("weights that do not fit change nothing", "[checkpoint]") {
  if (!test::device_present()) return;
  const test::Folder folder;
  Net net(1), wide(2, 12);
  const auto before = values(net.state_dict());
  save_weights(folder / "wide", wide, {});
  test::check_message(test::message_of<InputError>([&] { load_weights(read_safetensors(folder / "wide"), net); }),
                      {(folder / "wide").c_str(), "0.weight is F32 (12, 3, 3, 3), expected F32 (8, 3, 3, 3)",
                       "1.bias is F32 (12)", " and 2 more"});
  save_weights(folder / "w", Net(3), {});
  Safetensors file = read_safetensors(folder / "w");
  file.arrays.pop_back();
  file.arrays.push_back({"extra", "F32", {}, std::vector<unsigned char>(4)});
  test::check_message(test::message_of<InputError>([&] { load_weights(file, net); }),
                      {"missing: 7.weight", "unexpected: extra"});
  file = read_safetensors(folder / "w");
  file.arrays[0].dtype = "I32";
  test::check_message(test::message_of<InputError>([&] { load_weights(file, net); }),
                      {"0.weight is I32", "expected F32"});
  CHECK(values(net.state_dict()) == before);
}

TEST_CASE("training that stops and resumes from its checkpoint ends with the same bytes", "[checkpoint]") {
  if (!test::device_present()) return;
  const test::Folder folder;
  for (const optim::Method method : {optim::Method::adam, optim::Method::adamw, optim::Method::sgd}) {
    const optim::Options options = {.method = method, .lr = 0.01f, .weight_decay = 0.01f};
    Net straight(1);
    optim::Optimizer straight_optimizer(straight.parameters(), options);
    train(straight, straight_optimizer, 0, 3);
    const nlohmann::json state = {{"epoch", 2}, {"best", 0.1}, {"config", {{"width", 0.25}}}};
    save_checkpoint(folder / "half", straight, straight_optimizer, state);
    const float expected = train(straight, straight_optimizer, 3, 6);
    save_checkpoint(folder / "straight", straight, straight_optimizer, state);

    Net resumed(99);
    optim::Optimizer resumed_optimizer(resumed.parameters(), options);
    const Safetensors file = read_safetensors(folder / "half");
    CHECK(checkpoint_state(file) == state);
    load_checkpoint(file, resumed, resumed_optimizer);
    CHECK(resumed_optimizer.steps() == 3);
    CHECK(train(resumed, resumed_optimizer, 3, 6) == expected);
    save_checkpoint(folder / "resumed", resumed, resumed_optimizer, state);
    CHECK(read_file(folder / "resumed") == read_file(folder / "straight"));
  }
}

TEST_CASE("checkpoints of later versions load, others are refused", "[checkpoint]") {
  if (!test::device_present()) return;
  const test::Folder folder;
  Net net(1), target(2);
  optim::Optimizer optimizer(net.parameters(), {}), target_optimizer(target.parameters(), {});
  train(net, optimizer, 0, 1);
  save_checkpoint(folder / "c", net, optimizer, {});
  const Safetensors file = read_safetensors(folder / "c");

  Safetensors later = file;
  later.arrays.push_back({"ema.0.weight", "F64", {1}, std::vector<unsigned char>(8)});
  later.metadata["ema_decay"] = "0.999";
  load_checkpoint(later, target, target_optimizer);
  CHECK(values(target.state_dict()) == values(net.state_dict()));

  const auto refused = [&](auto change, std::initializer_list<const char*> parts) {
    Safetensors changed = file;
    change(changed);
    Net fresh(5);
    optim::Optimizer fresh_optimizer(fresh.parameters(), {});
    const auto before = values(fresh.state_dict());
    test::check_message(test::message_of<InputError>([&] { load_checkpoint(changed, fresh, fresh_optimizer); }), parts);
    CHECK(values(fresh.state_dict()) == before);
    CHECK(fresh_optimizer.steps() == 0);
  };
  refused([](Safetensors& f) { f.metadata.clear(); }, {"is no checkpoint", "\"optimizer\""});
  refused([](Safetensors& f) { f.metadata["optimizer"] = "sgd"; }, {"written by optimizer sgd, not adam"});
  for (const char* steps : {"", "-1", "1.5", "7 ", "99999999999999999999"})
    refused([&](Safetensors& f) { f.metadata["optimizer_steps"] = steps; }, {"optimizer_steps"});
  refused([](Safetensors& f) { f.arrays.erase(f.arrays.begin()); }, {"model", "missing: 0.weight"});
  refused([](Safetensors& f) { f.arrays.pop_back(); }, {"optimizer", "missing: 7.weight.second_moment"});
  Safetensors damaged = file;
  damaged.metadata["state"] = "{";
  test::check_message(test::message_of<InputError>([&] { checkpoint_state(damaged); }), {"no valid JSON"});
  save_weights(folder / "w", net, {});
  test::check_message(test::message_of<InputError>([&] { checkpoint_state(read_safetensors(folder / "w")); }),
                      {(folder / "w").c_str(), "is no checkpoint"});
}

TEST_CASE("after the first step, training asks the runtime for no memory", "[checkpoint]") {
  if (!test::device_present()) return;
  Net net(1);
  optim::Optimizer optimizer(net.parameters(), {});
  train(net, optimizer, 0, 2);
  const MemoryStats& memory = device(test::device()).allocator().stats();
  const int64_t before = memory.runtime_allocations;
  const size_t in_use = memory.in_use;
  train(net, optimizer, 2, 6);
  CHECK(memory.runtime_allocations == before);
  CHECK(memory.in_use == in_use);
}
