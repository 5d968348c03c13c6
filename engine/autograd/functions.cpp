#include "engine/autograd/functions.h"

#include <fmt/format.h>

#include "engine/autograd/activation_type.h"
#include "engine/autograd/expect.h"
#include "engine/device/run.h"
#include "kernels/add/add.h"
#include "kernels/batchnorm/batchnorm.h"
#include "kernels/conv2d/conv2d.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/depthwise_conv/depthwise_conv.h"
#include "kernels/global_avg_pool/global_avg_pool.h"
#include "kernels/linear/linear.h"
#include "kernels/pointwise_conv/pointwise_conv.h"
#include "kernels/relu6/relu6.h"

namespace engine {
namespace {

// In the functions, T is the type of the activations and of their gradients: float or Bf16.

template <class T>
struct DepthwiseConv : Function {
  using Row = kernels::DepthwiseConvOf<T>;
  kernels::DepthwiseConvShape s;
  Tensor x, w;

  explicit DepthwiseConv(int stride) { s.stride = stride; }
  const char* name() const override { return "depthwise_conv"; }

  Tensor forward(const std::vector<Tensor>& in) override {
    x = in[0], w = in[1];
    expect_stride(name(), s.stride);
    expect(name(), "x", x, {any, any, any, any}, dtype_of<T>());
    expect(name(), "weight", w, {3, 3, x.size(3)}, x);
    s.batch = x.size(0), s.height = x.size(1), s.width = x.size(2), s.channels = x.size(3);
    const Tensor y = Tensor::empty({s.batch, s.out_height(), s.out_width(), s.channels}, x.device(), x.dtype());
    run(device(x.device()), &Row::forward, s, x.data<T>(), w.data<float>(), y.data<T>());
    return y;
  }

  void backward(const Tensor& dy, Gradients& dx) override {
    Device& d = device(dy.device());
    if (dx.wanted(0)) run(d, &Row::backward_data, s, dy.data<T>(), w.data<float>(), dx[0].data<T>());
    if (dx.wanted(1)) run(d, &Row::backward_weight, s, x.data<T>(), dy.data<T>(), dx[1].data<float>());
  }
};

template <class T>
struct PointwiseConv : Function {
  using Row = kernels::PointwiseConvOf<T>;
  kernels::PointwiseConvShape s;
  Tensor x, w;

  const char* name() const override { return "pointwise_conv"; }

  Tensor forward(const std::vector<Tensor>& in) override {
    x = in[0], w = in[1];
    const int64_t channels = channels_of(name(), x, dtype_of<T>());
    expect(name(), "weight", w, {any, channels}, x);
    s = {x.count() / channels, static_cast<int>(channels), static_cast<int>(w.size(0))};
    Shape out = x.shape();
    out.back() = s.out_channels;
    const Tensor y = Tensor::empty(out, x.device(), x.dtype());
    run(device(x.device()), &Row::forward, s, x.data<T>(), w.data<float>(), y.data<T>());
    return y;
  }

  void backward(const Tensor& dy, Gradients& dx) override {
    Device& d = device(dy.device());
    if (dx.wanted(0)) run(d, &Row::backward_data, s, dy.data<T>(), w.data<float>(), dx[0].data<T>());
    if (dx.wanted(1)) run(d, &Row::backward_weight, s, x.data<T>(), dy.data<T>(), dx[1].data<float>());
  }
};

// x and its gradient are float: images.
template <class T>
struct Conv2d : Function {
  using Row = kernels::Conv2dOf<T>;
  kernels::Conv2dShape s;
  Tensor x, w;

  explicit Conv2d(int stride) { s.stride = stride; }
  const char* name() const override { return "conv2d"; }

  Tensor forward(const std::vector<Tensor>& in) override {
    x = in[0], w = in[1];
    expect_stride(name(), s.stride);
    expect(name(), "x", x, {any, any, any, any});
    expect(name(), "weight", w, {any, 3, 3, x.size(3)}, x);
    s.batch = x.size(0), s.height = x.size(1), s.width = x.size(2), s.in_channels = x.size(3);
    s.out_channels = w.size(0);
    const Tensor y = Tensor::empty({s.batch, s.out_height(), s.out_width(), s.out_channels}, x.device(), dtype_of<T>());
    run(device(x.device()), &Row::forward, s, x.data<float>(), w.data<float>(), y.data<T>());
    return y;
  }

  void backward(const Tensor& dy, Gradients& dx) override {
    Device& d = device(dy.device());
    if (dx.wanted(0)) run(d, &Row::backward_data, s, dy.data<T>(), w.data<float>(), dx[0].data<float>());
    if (dx.wanted(1)) run(d, &Row::backward_weight, s, x.data<float>(), dy.data<T>(), dx[1].data<float>());
  }
};

template <class T>
struct BatchNorm : Function {
  using Row = kernels::BatchNormOf<T>;
  BatchNormOptions options;
  kernels::BatchNormShape s;
  Tensor x, weight, saved_mean, saved_invstd;

  explicit BatchNorm(const BatchNormOptions& o) : options(o) {}
  const char* name() const override { return "batchnorm"; }

  Tensor forward(const std::vector<Tensor>& in) override {
    x = in[0], weight = in[1];
    const Tensor &bias = in[2], &running_mean = in[3], &running_var = in[4];
    const int64_t channels = channels_of(name(), x, dtype_of<T>());
    expect(name(), "weight", weight, {channels}, x);
    expect(name(), "bias", bias, {channels}, x);
    expect(name(), "running_mean", running_mean, {channels}, x);
    expect(name(), "running_var", running_var, {channels}, x);
    s = {x.count() / channels, static_cast<int>(channels)};
    Device& d = device(x.device());
    const Tensor y = Tensor::empty(x.shape(), x.device(), x.dtype());
    if (!options.training) {
      run(d, &Row::forward_inference, s, x.data<T>(), weight.data<float>(), bias.data<float>(),
          running_mean.data<float>(), running_var.data<float>(), options.eps, y.data<T>());
      return y;
    }
    if (s.rows < 2)
      throw Error(name(), fmt::format("training needs at least two values a channel, x is {}", to_string(x.shape())));
    saved_mean = Tensor::empty({channels}, x.device());
    saved_invstd = Tensor::empty({channels}, x.device());
    run(d, &Row::forward_training, s, x.data<T>(), weight.data<float>(), bias.data<float>(), options.eps,
        options.momentum, running_mean.data<float>(), running_var.data<float>(), saved_mean.data<float>(),
        saved_invstd.data<float>(), y.data<T>());
    return y;
  }

  void backward(const Tensor& dy, Gradients& dx) override {
    if (!options.training)
      throw Error(name(), "inference mode has no backward; call train() on the module, or use NoGrad");
    run(device(dy.device()), &Row::backward, s, x.data<T>(), dy.data<T>(), weight.data<float>(),
        saved_mean.data<float>(), saved_invstd.data<float>(), dx[0].data<T>(), dx[1].data<float>(),
        dx[2].data<float>());
  }
};

template <class T>
struct Relu6 : Function {
  using Row = kernels::Relu6Of<T>;
  Tensor x;

  const char* name() const override { return "relu6"; }

  Tensor forward(const std::vector<Tensor>& in) override {
    x = in[0];
    const Tensor y = Tensor::empty(x.shape(), x.device(), x.dtype());
    run(device(x.device()), &Row::forward, kernels::Relu6Shape{x.count()}, x.data<T>(), y.data<T>());
    return y;
  }

  void backward(const Tensor& dy, Gradients& dx) override {
    run(device(dy.device()), &Row::backward, kernels::Relu6Shape{x.count()}, x.data<T>(), dy.data<T>(),
        dx[0].data<T>());
  }
};

// y is float, whatever x is.
template <class T>
struct GlobalAvgPool : Function {
  using Row = kernels::GlobalAvgPoolOf<T>;
  kernels::GlobalAvgPoolShape s;

  const char* name() const override { return "global_avg_pool"; }

  Tensor forward(const std::vector<Tensor>& in) override {
    const Tensor& x = in[0];
    expect(name(), "x", x, {any, any, any, any}, dtype_of<T>());
    s.batch = x.size(0), s.positions = x.size(1) * x.size(2), s.channels = x.size(3);
    const Tensor y = Tensor::empty({s.batch, s.channels}, x.device());
    run(device(x.device()), &Row::forward, s, x.data<T>(), y.data<float>());
    return y;
  }

  void backward(const Tensor& dy, Gradients& dx) override {
    run(device(dy.device()), &Row::backward, s, dy.data<float>(), dx[0].data<T>());
  }
};

struct Linear : Function {
  kernels::LinearShape s;
  Tensor x, w;

  const char* name() const override { return "linear"; }

  Tensor forward(const std::vector<Tensor>& in) override {
    x = in[0], w = in[1];
    const Tensor& bias = in[2];
    expect(name(), "x", x, {any, any});
    expect(name(), "weight", w, {any, x.size(1)}, x);
    expect(name(), "bias", bias, {w.size(0)}, x);
    s.rows = x.size(0), s.in_features = x.size(1), s.out_features = w.size(0);
    const Tensor y = Tensor::empty({s.rows, s.out_features}, x.device());
    run(device(x.device()), &kernels::Linear::forward, s, x.data<float>(), w.data<float>(), bias.data<float>(),
        y.data<float>());
    return y;
  }

  void backward(const Tensor& dy, Gradients& dx) override {
    Device& d = device(dy.device());
    if (dx.wanted(0))
      run(d, &kernels::Linear::backward_data, s, dy.data<float>(), w.data<float>(), dx[0].data<float>());
    if (dx.wanted(1) || dx.wanted(2))
      run(d, &kernels::Linear::backward_weight, s, x.data<float>(), dy.data<float>(), dx[1].data<float>(),
          dx[2].data<float>());
  }
};

struct Add : Function {
  const char* name() const override { return "add"; }

  Tensor forward(const std::vector<Tensor>& in) override {
    const Tensor &a = in[0], &b = in[1];
    if (a.shape() != b.shape() || a.device() != b.device())
      throw Error(name(), fmt::format("{} on {} and {} on {}", to_string(a.shape()), to_string(a.device()),
                                      to_string(b.shape()), to_string(b.device())));
    const Tensor y = Tensor::empty(a.shape(), a.device());
    run(device(a.device()), &kernels::Add::forward, kernels::AddShape{a.count()}, a.data<float>(), b.data<float>(),
        y.data<float>());
    return y;
  }

  void backward(const Tensor& dy, Gradients& dx) override {
    dx.set(0, dy);
    dx.set(1, dy);
  }
};

struct Reshape : Function {
  Shape from, to;

  explicit Reshape(Shape shape) : to(std::move(shape)) {}
  const char* name() const override { return "reshape"; }

  Tensor forward(const std::vector<Tensor>& in) override {
    from = in[0].shape();
    return in[0].view(to);
  }

  void backward(const Tensor& dy, Gradients& dx) override { dx.set(0, dy.view(from)); }
};

struct CrossEntropy : Function {
  bool gradient_wanted;
  float label_smoothing;
  Tensor losses, correct;
  Tensor dlogits;  // (N, K)

  CrossEntropy(bool gradient_wanted, float label_smoothing)
      : gradient_wanted(gradient_wanted), label_smoothing(label_smoothing) {}
  const char* name() const override { return "cross_entropy"; }

  Tensor forward(const std::vector<Tensor>& in) override {
    const Tensor &logits = in[0], &labels = in[1];
    expect(name(), "logits", logits, {any, any});
    if (labels.dtype() != DType::int32 || labels.shape() != Shape{logits.size(0)} || labels.device() != logits.device())
      throw Error(name(), fmt::format("labels are {} {} on {}, but logits {} on {} need int32 ({})",
                                      to_string(labels.dtype()), to_string(labels.shape()), to_string(labels.device()),
                                      to_string(logits.shape()), to_string(logits.device()), logits.size(0)));
    if (!(label_smoothing >= 0 && label_smoothing < 1))
      throw Error(name(), fmt::format("label smoothing {}; expected a number from 0 to below 1", label_smoothing));
    const kernels::CrossEntropyShape s = {static_cast<int>(logits.size(0)), static_cast<int>(logits.size(1))};
    losses = Tensor::empty({s.batch}, logits.device());
    correct = Tensor::empty({s.batch}, logits.device(), DType::int32);
    const Tensor loss = Tensor::empty({1}, logits.device());
    if (gradient_wanted) dlogits = Tensor::empty(logits.shape(), logits.device());
    run(device(logits.device()), &kernels::CrossEntropy::forward_backward, s, logits.data<float>(),
        labels.data<int32_t>(), label_smoothing, losses.data<float>(), correct.data<int32_t>(), loss.data<float>(),
        dlogits.defined() ? dlogits.data<float>() : nullptr);
    return loss;
  }

  void backward(const Tensor& dy, Gradients& dx) override {
    if (!is_unit_seed(dy))
      throw Error(name(),
                  "its gradient cannot be scaled: backward() must start, without a seed, from the loss or from a "
                  "sum of losses");
    dx.set(0, dlogits);
    dlogits = Tensor();
  }
};

}  // namespace

Tensor depthwise_conv(const Tensor& x, const Tensor& weight, int stride) {
  return for_type(x.dtype(), [&](auto t) {
    return Function::apply(std::make_shared<DepthwiseConv<decltype(t)>>(stride), {x, weight});
  });
}

Tensor pointwise_conv(const Tensor& x, const Tensor& weight) {
  return for_type(x.dtype(), [&](auto t) {
    return Function::apply(std::make_shared<PointwiseConv<decltype(t)>>(), {x, weight});
  });
}

Tensor conv2d(const Tensor& x, const Tensor& weight, int stride) {
  return for_type(activation_type(device(x.device())), [&](auto t) {
    return Function::apply(std::make_shared<Conv2d<decltype(t)>>(stride), {x, weight});
  });
}

Tensor batchnorm(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& running_mean,
                 const Tensor& running_var, const BatchNormOptions& options) {
  return for_type(x.dtype(), [&](auto t) {
    return Function::apply(std::make_shared<BatchNorm<decltype(t)>>(options),
                           {x, weight, bias, running_mean, running_var});
  });
}

Tensor relu6(const Tensor& x) {
  return for_type(x.dtype(), [&](auto t) { return Function::apply(std::make_shared<Relu6<decltype(t)>>(), {x}); });
}

Tensor global_avg_pool(const Tensor& x) {
  return for_type(x.dtype(),
                  [&](auto t) { return Function::apply(std::make_shared<GlobalAvgPool<decltype(t)>>(), {x}); });
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return Function::apply(std::make_shared<Linear>(), {x, weight, bias});
}

Tensor add(const Tensor& a, const Tensor& b) { return Function::apply(std::make_shared<Add>(), {a, b}); }

Tensor reshape(const Tensor& x, const Shape& shape) { return Function::apply(std::make_shared<Reshape>(shape), {x}); }

CrossEntropyResult cross_entropy(const Tensor& logits, const Tensor& labels, float label_smoothing) {
  const auto function = std::make_shared<CrossEntropy>(grad_enabled() && logits.requires_grad(), label_smoothing);
  const Tensor loss = Function::apply(function, {logits, labels});
  return {loss, std::move(function->losses), std::move(function->correct)};
}

}  // namespace engine
