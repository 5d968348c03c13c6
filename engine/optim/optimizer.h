// Adam, AdamW and SGD over all parameters of a model in one kernel launch. The formulas stand in kernels/adam/adam.h.
#pragma once

#include <cstdint>

#include "engine/nn/state.h"

namespace engine::optim {

enum class Method { adam, adamw, sgd };
const char* to_string(Method);

struct Options {
  Method method = Method::adam;
  float lr = 1e-3f;
  float beta1 = 0.9f, beta2 = 0.999f, eps = 1e-8f;  // adam, adamw
  float momentum = 0.9f;                            // sgd
  bool nesterov = false;                            // sgd
  float weight_decay = 0;                           // decoupled for adamw, added to the gradient else
  bool decay_vectors =
      true;  // false: no decay for parameters of one dimension (biases, batch norm); PyTorch's way is true
};

class Optimizer {
 public:
  // All parameters on one device. Makes their gradient buffers, and moments of zero.
  Optimizer(State parameters, const Options&);
  Optimizer(const Optimizer&) = delete;

  float lr;  // of the next step; a schedule sets it (engine/optim/schedule.h)

  // θ ← θ - …, from the gradients that backward() left. Throws Error that names a parameter that has none.
  void step();
  void zero_grad();  // forgets all gradients; touches no memory

  int64_t steps() const { return steps_; }  // taken so far
  const Options& options() const { return options_; }

  // The moments, as "NAME.first_moment" and, for adam and adamw, "NAME.second_moment", in the parameter's layout. With
  // steps() they are all that an exact resume needs.
  State state_dict() const;
  void load_state_dict(const State&, int64_t steps);  // as Module::load_state_dict

 private:
  Options options_;
  State parameters_;
  State moments_;
  Tensor chunks_;  // kernels::OptimizerChunk[], as uint8
  int chunk_count_ = 0;
  int64_t steps_ = 0;
};

}  // namespace engine::optim
