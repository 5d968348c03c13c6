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

Optimizer::Optimizer(State parameters, const Options& options)
    : lr(options.lr), options_(options), parameters_(std::move(parameters)) {
  if (parameters_.empty()) throw Error("optimizer", "there are no parameters");
  std::vector<kernels::OptimizerChunk> chunks;
  for (const NamedTensor& p : parameters_) {
    const Tensor& value = p.tensor;
    if (!value.requires_grad() || value.device() != parameters_[0].tensor.device())
      throw Error("optimizer", fmt::format("{} requires no gradient, or is on another device", p.name));
    const auto moment = [&](const char* which) {
      moments_.push_back({p.name + which, Tensor::zeros(value.shape(), value.device()), p.layout});
      return moments_.back().tensor.data<float>();
    };
    float* first = moment(".first_moment");
    float* second = options_.method == Method::sgd ? nullptr : moment(".second_moment");
    const bool decays = options_.decay_vectors || value.shape().size() > 1;
    for (int64_t at = 0; at < value.count(); at += kernels::optimizer_chunk)
      chunks.push_back({.value = value.data<float>() + at,
                        .gradient = value.grad_buffer().data<float>() + at,
                        .first_moment = first + at,
                        .second_moment = second == nullptr ? nullptr : second + at,
                        .count = static_cast<int>(std::min<int64_t>(kernels::optimizer_chunk, value.count() - at)),
                        .weight_decay = decays ? options_.weight_decay : 0});
  }
  chunk_count_ = static_cast<int>(chunks.size());
  std::vector<uint8_t> bytes(chunks.size() * sizeof chunks[0]);
  std::memcpy(bytes.data(), chunks.data(), bytes.size());
  const auto size = static_cast<int64_t>(bytes.size());
  chunks_ = Tensor::from_host(bytes, {size}, parameters_[0].tensor.device());
}

void Optimizer::step() {
  for (const NamedTensor& p : parameters_)
    if (!p.tensor.grad().defined())
      throw Error("optimizer", fmt::format("{} {} has no gradient: backward() did not reach it since zero_grad()",
                                           p.name, engine::to_string(p.tensor.shape())));
  ++steps_;
  Device& d = device(chunks_.device());
  const auto* chunks = static_cast<const kernels::OptimizerChunk*>(chunks_.data());
  const kernels::OptimizerShape shape = {chunk_count_};
  if (options_.method == Method::sgd) {
    const kernels::SgdOptions o = {
        .lr = lr, .momentum = options_.momentum, .nesterov = options_.nesterov, .step = steps_};
    run(d, &kernels::Adam::sgd, shape, chunks, o);
  } else {
    const kernels::AdamOptions o = {.lr = lr,
                                    .beta1 = options_.beta1,
                                    .beta2 = options_.beta2,
                                    .eps = options_.eps,
                                    .decoupled_weight_decay = options_.method == Method::adamw,
                                    .step = steps_};
    run(d, &kernels::Adam::adam, shape, chunks, o);
  }
}

void Optimizer::zero_grad() {
  for (const NamedTensor& p : parameters_) p.tensor.zero_grad();
}

State Optimizer::state_dict() const { return moments_; }

void Optimizer::load_state_dict(const State& state, int64_t steps) {
  copy_state(moments_, state, "optimizer");
  steps_ = steps;
}

}  // namespace engine::optim
