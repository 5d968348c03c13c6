// The tape: reverse-mode automatic differentiation over tensors.
//
// A Function computes one tensor from several and knows the gradient of that. apply() runs it forward and, where a
// gradient will be wanted, leaves it in the result as its creator, with an edge to each input: to the function that
// made the input, or to the leaf itself. backward() follows those edges from the loss, newest function first: a
// function is newer than all that it depends on, so when its turn comes its gradient is complete.
//
// engine/autograd/functions.h has the functions; a new one is a struct with forward and backward, and a line that
// applies it:
//   struct Relu6 : Function {
//     Tensor x;
//     const char* name() const override { return "relu6"; }
//     Tensor forward(const std::vector<Tensor>& in) override { x = in[0]; … return y; }
//     void backward(const Tensor& dy, Gradients& dx) override { … write dx[0] … }
//   };
//   Tensor relu6(const Tensor& x) { return Function::apply(std::make_shared<Relu6>(), {x}); }
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "engine/tensor/tensor.h"

namespace engine {

class Gradients;

class Function {
 public:
  virtual ~Function() = default;
  virtual const char* name() const = 0;

  // Computes the output. Keeps what backward needs in members, but not the output itself (that would be a cycle). The
  // inputs come without history: nothing that forward does is recorded.
  virtual Tensor forward(const std::vector<Tensor>& inputs) = 0;

  // dy has the output's shape. Writes the gradients of those inputs for which dx.wanted(i), and spares the work for
  // others.
  virtual void backward(const Tensor& dy, Gradients& dx) = 0;

  static Tensor apply(std::shared_ptr<Function>, const std::vector<Tensor>& inputs);

 private:
  friend class Gradients;
  friend void backward(const Tensor&, const Tensor&);
  struct Edge {                          // where the gradient of an input goes
    std::shared_ptr<Function> function;  // to the function that made the input, or
    Tensor leaf;                         // to this leaf, or (neither) nowhere
    Shape shape;                         // of the input
    DType dtype;
    DeviceType device;
  };
  std::vector<Edge> edges_;
  uint64_t order_ = 0;  // functions are numbered as they are applied
  bool used_ = false;   // backward has been here
};

// The gradients of a function's inputs, to be written by Function::backward.
class Gradients {
 public:
  // Whether anyone wants the gradient of input i.
  bool wanted(size_t i) const;

  // A tensor of input i's shape, contents undefined, to be overwritten as a whole. It is the leaf's own gradient memory
  // where nothing has been written there since zero_grad(), and scratch memory where the gradient is not wanted (a
  // kernel that computes several gradients at once needs a place for each).
  Tensor operator[](size_t i);

  // Hands over a gradient that exists already, instead of writing one. Nobody will write to it.
  void set(size_t i, const Tensor& gradient);

 private:
  friend void backward(const Tensor&, const Tensor&);
  explicit Gradients(Function& function)
      : function_(function), written_(function.edges_.size()), in_place_(function.edges_.size()) {}
  static void add_to_leaf(const Tensor& leaf, const Tensor& gradient);
  Function& function_;
  std::vector<Tensor> written_;  // undefined where not yet written
  std::vector<bool> in_place_;   // written to the leaf's own memory
};

// Adds to every leaf that requires one its gradient of `loss`, and frees the graph behind `loss` as it goes. `loss` has
// one element, or else `seed` is the gradient to start from, of loss's shape. Throws Error where loss has no graph, was
// used before, or has several elements and no seed.
void backward(const Tensor& loss, const Tensor& seed = {});

// The gradient 1 with which backward(loss) starts. A function whose gradient cannot be scaled (cross_entropy computes
// it in its forward pass) asks whether it got this one.
bool is_unit_seed(const Tensor&);

// Whether functions are being recorded, in this thread.
bool grad_enabled();

// While one lives, nothing is recorded: for evaluation and inference.
class NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;

 private:
  bool before_;
};

}  // namespace engine
