// Modules: layers and networks as trees of named parameters.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/nn/state.h"

namespace engine::nn {

// Where a new layer's parameters live and how they start: uniform in ±1/√fan_in for the weights of convolutions and
// linear layers (and the latter's bias), which is PyTorch's default, so that training curves can be compared with its;
// ones and zeros for batch norm. fan_in is the number of inputs that one output sums: 9, Cin, 9·Cin, In. The n-th
// parameter made gets its own stream of random numbers from the seed; values are the same on every machine.
struct Init {
  DeviceType device = DeviceType::cpu;
  uint64_t seed = 0;
  uint64_t streams = 0;  // handed out so far

  Tensor uniform(Shape, float bound);  // in [-bound, bound)
  Tensor constant(Shape, float value);
};

// Derive, register parameters, buffers and children in the constructor, and define forward. Children are usually
// members; since they are registered by address, a module is neither copied nor moved.
class Module {
 public:
  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  virtual Tensor forward(const Tensor& x) = 0;
  Tensor operator()(const Tensor& x) { return forward(x); }

  // Training or inference, for this module and all below it; a new module is training.
  void train(bool on = true);
  void eval() { train(false); }
  bool training() const { return training_; }

  // Everything in this module and below it, names joined by dots, in the order of registration (a module's own
  // parameters and buffers before its children). The tensors share the module's memory.
  State parameters() const;  // what an optimiser trains
  State buffers() const;     // running statistics
  State state_dict() const;  // both, module by module

  // Copies values in. Throws InputError that names every tensor that is missing, unexpected, or of another shape,
  // before anything is changed.
  void load_state_dict(const State&);

 protected:
  // Each returns its argument. Names hold no dots.
  Tensor register_parameter(std::string name, Tensor, Layout = Layout::same);  // sets requires_grad
  Tensor register_buffer(std::string name, Tensor);
  template <class M>
  M& register_module(std::string name, M& child) {  // child must live as long as this module
    children_.push_back({std::move(name), &child});
    return child;
  }

 private:
  struct Child {
    std::string name;
    Module* module;
  };
  enum class Kind { parameter, buffer, any };
  void collect(Kind, const std::string& prefix, State&) const;
  State parameters_, buffers_;
  std::vector<Child> children_;
  bool training_ = true;
};

// Layers one after the other, named "0", "1", …
class Sequential : public Module {
 public:
  // Makes the next layer: net.add<Conv2d>(init, 3, 32, 1).
  template <class M, class... Arguments>
  M& add(Arguments&&... arguments) {
    auto layer = std::make_unique<M>(std::forward<Arguments>(arguments)...);
    M& made = register_module(std::to_string(layers_.size()), *layer);
    layers_.push_back(std::move(layer));
    return made;
  }
  size_t size() const { return layers_.size(); }
  Module& operator[](size_t i) { return *layers_.at(i); }
  const Module& operator[](size_t i) const { return *layers_.at(i); }
  Tensor forward(const Tensor& x) override;

 private:
  std::vector<std::unique_ptr<Module>> layers_;
};

}  // namespace engine::nn
