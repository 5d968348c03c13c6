// Adam, AdamW and SGD over all parameters of a model in one kernel launch, with gradient clipping, a moving average of
// the weights, and a guard against a loss that is no number. The formulas stand in kernels/adam/adam.h.
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
      true;            // false: no decay for parameters of one dimension (biases, batch norm); PyTorch's way is true
  float max_norm = 0;  // clips the norm of all gradients together, as PyTorch's clip_grad_norm_; 0: off, and no work;
                       // infinity: measured, not clipped
  // d in [0, 1): keeps a moving average of the weights, e ← d'·e + (1-d')·θ after step t, with the warm-up
  // d' = min(d, (1 + t) / (10 + t)), which is TensorFlow's (tf.train.ExponentialMovingAverage with num_updates). 0:
  // off.
  float ema_decay = 0;
};

class Optimizer {
 public:
  // All parameters on one device. Makes their gradient buffers, and moments of zero. `buffers` (batch norm's running
  // statistics) are averaged along with the parameters where ema_decay is not 0, as timm's ModelEma does: they then
  // describe the same mixture of networks as the averaged weights; else they are not used.
  Optimizer(State parameters, const Options&, const State& buffers = {});
  Optimizer(const Optimizer&) = delete;

  float lr;  // of the next step; a schedule sets it (engine/optim/schedule.h)

  // θ ← θ - …, from the gradients that backward() left. Throws Error that names a parameter that has none. Where
  // `loss` (1) is given and is NaN or infinite, or with max_norm the gradient's norm is, nothing changes: weights,
  // moments and averages stay the last good ones. (Batch norm's running statistics were moved by the forward pass.) The
  // step counts all the same.
  void step(const Tensor& loss = {});
  // Its two halves, for a step that is captured as a graph: begin_step counts the step and writes lr and what depends
  // on the count to the device, to be called before each replay, outside of the graph; apply_step only launches
  // kernels.
  void begin_step();
  void apply_step(const Tensor& loss = {});
  void zero_grad();  // forgets all gradients; touches no memory

  int64_t steps() const { return steps_; }  // taken so far
  const Options& options() const { return options_; }

  // The norm of all gradients at the last step, before clipping. Waits for the device. Throws Error where max_norm is
  // 0.
  float gradient_norm() const;

  // The averaged parameters and buffers under their own names; empty where ema_decay is 0. UseAverages puts them in
  // place of the weights.
  const State& averages() const { return averages_; }

  // The moments, as "NAME.first_moment" and, for adam and adamw, "NAME.second_moment", in the parameter's layout, and
  // the averages as "NAME.average". With steps() they are all that an exact resume needs.
  State state_dict() const;
  void load_state_dict(const State&, int64_t steps);  // as Module::load_state_dict

 private:
  friend class UseAverages;
  void check(const Tensor& loss) const;  // throws where no step can be taken
  Options options_;
  State parameters_;
  State averaged_;  // what averages_ are the averages of, in the same order
  State averages_;
  State moments_;
  Tensor chunks_;  // kernels::OptimizerChunk[], as uint8
  Tensor step_;    // kernels::OptimizerStep, as uint8
  Tensor norm_;    // kernels::GradientNorm, (2)
  int chunk_count_ = 0;
  int64_t steps_ = 0;
  bool averages_in_use_ = false;
};

// While one lives, the model has the averaged weights and buffers, to be tested or saved; then its own are put back, to
// the bit, also where an exception passes. Training meanwhile is refused. Does nothing where ema_decay is 0.
class UseAverages {
 public:
  explicit UseAverages(Optimizer&);
  ~UseAverages();
  UseAverages(const UseAverages&) = delete;

 private:
  Optimizer& optimizer_;
  std::vector<Tensor> own_;  // copies of optimizer_.averaged_
};

}  // namespace engine::optim
