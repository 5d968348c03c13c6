#include "engine/autograd/autograd.h"

#include <fmt/format.h>

#include <functional>
#include <map>

#include "engine/device/run.h"
#include "engine/tensor/impl.h"
#include "kernels/add/add.h"

namespace engine {
namespace {

thread_local bool recording = true;
thread_local uint64_t applied = 0;

// y = a + b; y may be a or b.
void add_into(const Tensor& y, const Tensor& a, const Tensor& b) {
  run(device(y.device()), &kernels::Add::forward, kernels::AddShape{y.count()}, a.data<float>(), b.data<float>(),
      y.data<float>());
}

// One for each device, made on first use and never destroyed.
Tensor& unit_seed(DeviceType type) {
  static Tensor* seeds = new Tensor[2];
  Tensor& seed = seeds[static_cast<int>(type)];
  if (!seed.defined()) seed = Tensor::from_host<float>({1}, {1}, type);
  return seed;
}

}  // namespace

bool grad_enabled() { return recording; }
NoGrad::NoGrad() : before_(recording) { recording = false; }
NoGrad::~NoGrad() { recording = before_; }

bool is_unit_seed(const Tensor& t) { return t.shares_memory_with(unit_seed(t.device())); }

Tensor Function::apply(std::shared_ptr<Function> function, const std::vector<Tensor>& inputs) {
  // Without history, so that what a function keeps does not keep the functions before it alive.
  std::vector<Tensor> plain;
  for (const Tensor& x : inputs) plain.push_back(x.view(x.shape()));
  Tensor y = function->forward(plain);
  bool wanted = false;
  for (const Tensor& x : inputs) wanted |= x.requires_grad();
  if (!wanted || !grad_enabled()) return y;
  function->order_ = ++applied;
  for (const Tensor& x : inputs)
    function->edges_.push_back(
        {x.creator(), x.requires_grad() && !x.creator() ? x : Tensor(), x.shape(), x.dtype(), x.device()});
  y.impl().requires_grad = true;
  y.impl().creator = std::move(function);
  return y;
}

bool Gradients::wanted(size_t i) const {
  const Function::Edge& edge = function_.edges_.at(i);
  return edge.function != nullptr || edge.leaf.defined();
}

Tensor Gradients::operator[](size_t i) {
  const Function::Edge& edge = function_.edges_.at(i);
  if (written_[i].defined()) return written_[i];
  if (edge.leaf.defined() && !edge.leaf.grad().defined()) {
    edge.leaf.impl().has_grad = true;
    in_place_[i] = true;
    return written_[i] = edge.leaf.grad_buffer();
  }
  return written_[i] = Tensor::empty(edge.shape, edge.device, edge.dtype);
}

void Gradients::set(size_t i, const Tensor& gradient) { written_.at(i) = gradient; }

void Gradients::add_to_leaf(const Tensor& leaf, const Tensor& gradient) {
  Tensor sum = leaf.grad_buffer();
  if (leaf.grad().defined()) {
    add_into(sum, sum, gradient);
  } else {
    sum.copy_from(gradient);
    leaf.impl().has_grad = true;
  }
}

void backward(const Tensor& loss, const Tensor& seed) {
  if (loss.creator() == nullptr)
    throw Error("backward",
                "the tensor has no graph: it is a leaf, was computed under NoGrad, or from nothing that "
                "requires a gradient");
  if (!seed.defined() && loss.count() != 1)
    throw Error("backward", fmt::format("a tensor of shape {} needs a seed of that shape; only one of a single element "
                                        "can do without",
                                        to_string(loss.shape())));
  if (seed.defined() && seed.shape() != loss.shape())
    throw Error("backward",
                fmt::format("seed {} for a tensor of shape {}", to_string(seed.shape()), to_string(loss.shape())));

  // Functions that have a gradient but did not run yet, newest first. All that a function's gradient still waits for is
  // newer than it.
  struct Pending {
    std::shared_ptr<Function> function;
    Tensor gradient;  // of the function's output
  };
  std::map<uint64_t, Pending, std::greater<>> pending;
  pending[loss.creator()->order_] = {loss.creator(),
                                     seed.defined() ? seed : unit_seed(loss.device()).view(loss.shape())};
  while (!pending.empty()) {
    auto [function, dy] = std::move(pending.begin()->second);
    pending.erase(pending.begin());
    if (function->used_)
      throw Error("backward", fmt::format("{}: backward has been through this graph and freed it; run the forward pass "
                                          "again",
                                          function->name()));
    function->used_ = true;
    Gradients dx(*function);
    function->backward(dy, dx);
    for (size_t i = 0; i < function->edges_.size(); ++i) {
      if (!dx.wanted(i) || dx.in_place_[i]) continue;
      const Function::Edge& edge = function->edges_[i];
      const Tensor& gradient = dx.written_[i];
      if (!gradient.defined())
        throw Error(function->name(), fmt::format("its backward wrote no gradient for input {}", i));
      if (gradient.shape() != edge.shape)
        throw Error(function->name(), fmt::format("its backward wrote a gradient of shape {} for input {} of shape {}",
                                                  to_string(gradient.shape()), i, to_string(edge.shape)));
      if (edge.leaf.defined()) {
        Gradients::add_to_leaf(edge.leaf, gradient);
      } else {
        Pending& next = pending[edge.function->order_];
        if (next.function == nullptr) {
          next = {edge.function, gradient};
        } else {  // into new memory: either may be shared (Gradients::set)
          const Tensor sum = Tensor::empty(edge.shape, edge.device);
          add_into(sum, next.gradient, gradient);
          next.gradient = sum;
        }
      }
    }
    function->edges_.clear();  // lets go of what is behind, and so of its saved tensors
  }
}

}  // namespace engine
