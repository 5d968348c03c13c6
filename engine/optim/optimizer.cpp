#include "engine/optim/optimizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "engine/device/run.h"
#include "kernels/adam/adam.h"

namespace engine::optim {

const char* to_string(Method method) {
  switch (method) {
    case Method::adam:
      return "adam";
    case Method::adamw:
      return "adamw";
    case Method::sgd:
      return "sgd";
  }
  return "?";
}

namespace {

template <class T>
std::vector<uint8_t> bytes_of(const T* values, size_t count) {
  std::vector<uint8_t> bytes(count * sizeof(T));
  std::memcpy(bytes.data(), values, bytes.size());
  return bytes;
}

}  // namespace

Optimizer::Optimizer(State parameters, const Options& options, const State& buffers)
    : lr(options.lr), options_(options), parameters_(std::move(parameters)) {
  if (parameters_.empty()) throw Error("optimizer", "there are no parameters");
  if (!(options_.max_norm >= 0)) throw Error("optimizer", fmt::format("max_norm {} is below 0", options_.max_norm));
  if (!(options_.ema_decay >= 0 && options_.ema_decay < 1))
    throw Error("optimizer", fmt::format("ema_decay {} is not in [0, 1)", options_.ema_decay));
  const DeviceType device = parameters_[0].tensor.device();
  std::vector<kernels::OptimizerChunk> chunks;
  const auto moment = [&](const NamedTensor& of, const char* which) {
    moments_.push_back({of.name + which, Tensor::zeros(of.tensor.shape(), device), of.layout});
    return moments_.back().tensor.data<float>();
  };
  const auto average = [&](const NamedTensor& of) -> float* {
    if (options_.ema_decay == 0) return nullptr;
    averaged_.push_back(of);
    averages_.push_back({of.name, of.tensor.copy_to(device), of.layout});
    return averages_.back().tensor.data<float>();
  };
  // Cuts what `whole` points to, `count` elements, into chunks.
  const auto cut = [&](const kernels::OptimizerChunk& whole, int64_t count) {
    for (int64_t at = 0; at < count; at += kernels::optimizer_chunk) {
      const auto part = [&](auto* p) { return p == nullptr ? p : p + at; };
      chunks.push_back({.value = part(whole.value),
                        .gradient = part(whole.gradient),
                        .first_moment = part(whole.first_moment),
                        .second_moment = part(whole.second_moment),
                        .average = part(whole.average),
                        .count = static_cast<int>(std::min<int64_t>(kernels::optimizer_chunk, count - at)),
                        .weight_decay = whole.weight_decay});
    }
  };
  for (const NamedTensor& p : parameters_) {
    const Tensor& value = p.tensor;
    if (!value.requires_grad() || value.device() != device)
      throw Error("optimizer", fmt::format("{} requires no gradient, or is on another device", p.name));
    const bool decays = options_.decay_vectors || value.shape().size() > 1;
    float* first = moment(p, ".first_moment");
    float* second = options_.method == Method::sgd ? nullptr : moment(p, ".second_moment");
    cut({value.data<float>(), value.grad_buffer().data<float>(), first, second, average(p), 0,
         decays ? options_.weight_decay : 0},
        value.count());
  }
  if (options_.ema_decay != 0)
    for (const NamedTensor& b : buffers) {
      if (b.tensor.device() != device) throw Error("optimizer", b.name + " is on another device");
      cut({b.tensor.data<float>(), nullptr, nullptr, nullptr, average(b), 0, 0}, b.tensor.count());
    }
  chunk_count_ = static_cast<int>(chunks.size());
  const auto size = static_cast<int64_t>(chunks.size() * sizeof chunks[0]);
  chunks_ = Tensor::from_host(bytes_of(chunks.data(), chunks.size()), {size}, device);
  step_ = Tensor::empty({sizeof(kernels::OptimizerStep)}, device, DType::uint8);
  if (options_.max_norm > 0) norm_ = Tensor::zeros({sizeof(kernels::GradientNorm) / sizeof(float)}, device);
}

void Optimizer::begin_step() {
  ++steps_;
  const auto t = static_cast<double>(steps_);
  const double decay = std::min<double>(options_.ema_decay, (1 + t) / (10 + t));
  const auto average_weight = static_cast<float>(1 - decay);
  const kernels::OptimizerStep step =
      options_.method == Method::sgd
          ? kernels::optimizer_step(kernels::SgdOptions{}, lr, steps_, average_weight)
          : kernels::optimizer_step(kernels::AdamOptions{.beta1 = options_.beta1, .beta2 = options_.beta2}, lr, steps_,
                                    average_weight);
  step_.write<uint8_t>(bytes_of(&step, 1));
}

void Optimizer::step(const Tensor& loss) {
  check(loss);  // a step that cannot be taken does not count
  begin_step();
  apply_step(loss);
}

void Optimizer::check(const Tensor& loss) const {
  if (averages_in_use_) throw Error("optimizer", "the weights are the averages now: no step can be taken");
  for (const NamedTensor& p : parameters_)
    if (!p.tensor.grad().defined())
      throw Error("optimizer", fmt::format("{} {} has no gradient: backward() did not reach it since zero_grad()",
                                           p.name, engine::to_string(p.tensor.shape())));
  if (loss.defined() && (loss.count() != 1 || loss.device() != chunks_.device()))
    throw Error("optimizer",
                fmt::format("the loss is {} on {}; expected one number on {}", engine::to_string(loss.shape()),
                            engine::to_string(loss.device()), engine::to_string(chunks_.device())));
}

void Optimizer::apply_step(const Tensor& loss) {
  check(loss);
  if (steps_ == 0) throw Error("optimizer", "apply_step() needs a begin_step() before it");
  Device& d = device(chunks_.device());
  const auto* chunks = static_cast<const kernels::OptimizerChunk*>(chunks_.data());
  const kernels::OptimizerShape shape = {chunk_count_};
  auto* norm = norm_.defined() ? static_cast<kernels::GradientNorm*>(norm_.data()) : nullptr;
  if (norm != nullptr) run(d, &kernels::Adam::gradient_norm, shape, chunks, options_.max_norm, norm);
  const kernels::OptimizerInputs inputs = {.step = static_cast<const kernels::OptimizerStep*>(step_.data()),
                                           .loss = loss.defined() ? loss.data<float>() : nullptr,
                                           .norm = norm};
  if (options_.method == Method::sgd) {
    const kernels::SgdOptions o = {.momentum = options_.momentum, .nesterov = options_.nesterov};
    run(d, &kernels::Adam::sgd, shape, chunks, o, inputs);
  } else {
    const kernels::AdamOptions o = {.beta1 = options_.beta1,
                                    .beta2 = options_.beta2,
                                    .eps = options_.eps,
                                    .decoupled_weight_decay = options_.method == Method::adamw};
    run(d, &kernels::Adam::adam, shape, chunks, o, inputs);
  }
}

float Optimizer::gradient_norm() const {
  if (!norm_.defined()) throw Error("optimizer", "the gradient's norm is not measured: max_norm is 0");
  return norm_.to_host<float>()[0];
}

void Optimizer::zero_grad() {
  for (const NamedTensor& p : parameters_) p.tensor.zero_grad();
}

State Optimizer::state_dict() const {
  State all = moments_;
  for (const NamedTensor& n : averages_) all.push_back({n.name + ".average", n.tensor, n.layout});
  return all;
}

void Optimizer::load_state_dict(const State& state, int64_t steps) {
  copy_state(state_dict(), state, "optimizer");
  steps_ = steps;
}

UseAverages::UseAverages(Optimizer& optimizer) : optimizer_(optimizer) {
  if (optimizer.averages_in_use_) throw Error("optimizer", "the averages are in use already");
  for (const NamedTensor& n : optimizer.averaged_) own_.push_back(n.tensor.copy_to(n.tensor.device()));
  optimizer.averages_in_use_ = true;
  copy_state(optimizer.averaged_, optimizer.averages_, "optimizer");
}

UseAverages::~UseAverages() {
  optimizer_.averages_in_use_ = false;
  try {
    for (size_t i = 0; i < own_.size(); ++i) Tensor(optimizer_.averaged_[i].tensor).copy_from(own_[i]);
  } catch (const std::exception&) {
    // A copy within a device fails only where the device itself has; whatever is asked of it next says so.
  }
}

}  // namespace engine::optim
