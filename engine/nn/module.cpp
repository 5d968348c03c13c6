#include "engine/nn/module.h"

#include <fmt/format.h>

#include "engine/error.h"

namespace engine::nn {
namespace {

// splitmix64 (Steele, Lea & Flood 2014): the finaliser of a counter.
uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}
constexpr uint64_t golden = 0x9e3779b97f4a7c15u;

}  // namespace

Tensor Init::uniform(Shape shape, float bound) {
  const uint64_t stream = mix(mix(seed + golden) + ++streams * golden);
  std::vector<float> values(count(shape));
  for (size_t i = 0; i < values.size(); ++i) {
    const int32_t bits = static_cast<int32_t>(mix(stream + (i + 1) * golden) >> 40) - (1 << 23);  // ±2²³: exact
    values[i] = static_cast<float>(bits) * 0x1p-23f * bound;
  }
  return Tensor::from_host(values, std::move(shape), device);
}

Tensor Init::constant(Shape shape, float value) {
  Tensor tensor = Tensor::empty(std::move(shape), device);
  tensor.fill(value);
  return tensor;
}

void Module::train(bool on) {
  training_ = on;
  for (const Child& child : children_) child.module->train(on);
}

void Module::collect(Kind kind, const std::string& prefix, State& all) const {
  const auto append = [&](const State& own) {
    for (const NamedTensor& n : own) all.push_back({prefix + n.name, n.tensor, n.layout});
  };
  if (kind != Kind::buffer) append(parameters_);
  if (kind != Kind::parameter) append(buffers_);
  for (const Child& child : children_) child.module->collect(kind, prefix + child.name + ".", all);
}

State Module::parameters() const {
  State all;
  collect(Kind::parameter, "", all);
  return all;
}

State Module::buffers() const {
  State all;
  collect(Kind::buffer, "", all);
  return all;
}

State Module::state_dict() const {
  State all;
  collect(Kind::any, "", all);
  return all;
}

void Module::load_state_dict(const State& state) { copy_state(state_dict(), state, "state_dict"); }

Tensor Module::register_parameter(std::string name, Tensor tensor, Layout layout) {
  tensor.set_requires_grad(true);
  parameters_.push_back({std::move(name), tensor, layout});
  return tensor;
}

Tensor Module::register_buffer(std::string name, Tensor tensor) {
  buffers_.push_back({std::move(name), tensor});
  return tensor;
}

Tensor Sequential::forward(const Tensor& x) {
  Tensor y = x;
  for (const auto& layer : layers_) y = layer->forward(y);
  return y;
}

}  // namespace engine::nn
