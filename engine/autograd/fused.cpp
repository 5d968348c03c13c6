#include "engine/autograd/fused.h"

#include <fmt/format.h>

#include "engine/autograd/activation_type.h"
#include "engine/autograd/expect.h"
#include "engine/device/run.h"
#include "kernels/conv2d/conv2d.h"
#include "kernels/depthwise_conv/depthwise_conv.h"
#include "kernels/global_avg_pool/global_avg_pool.h"
#include "kernels/pointwise_conv/pointwise_conv.h"

namespace engine {

struct NormState {
  NormParameters parameters;
  Tensor statistics;  // (3, C) mean, invstd, scale: written forward
  Tensor factors;     // (2, C) slope, constant: written backward, by the function that takes z
  bool taken = false;

  // dweight, dbias: where the gradients go; nullptr forward.
  kernels::FusedNorm kernel_norm(float* dweight = nullptr, float* dbias = nullptr) const {
    const int64_t C = parameters.weight.count();
    float* const s = statistics.data<float>();
    float* const f = factors.defined() ? factors.data<float>() : nullptr;
    return {.weight = parameters.weight.data<float>(),
            .bias = parameters.bias.data<float>(),
            .eps = parameters.eps,
            .momentum = parameters.momentum,
            .running_mean = parameters.running_mean.data<float>(),
            .running_var = parameters.running_var.data<float>(),
            .mean = s,
            .invstd = s + C,
            .scale = s + 2 * C,
            .dweight = dweight,
            .dbias = dbias,
            .slope = f,
            .constant = f ? f + C : nullptr};
  }
};

namespace {

using Norm = std::shared_ptr<NormState>;

// The batch norm of z (…, C), which is about to be written.
Norm make_norm(const char* operation, const NormParameters& p, const Tensor& z) {
  const int64_t C = z.shape().back();
  expect(operation, "the batch norm's weight", p.weight, {C}, z);
  expect(operation, "the batch norm's bias", p.bias, {C}, z);
  expect(operation, "running_mean", p.running_mean, {C}, z);
  expect(operation, "running_var", p.running_var, {C}, z);
  if (z.count() < 2 * C)
    throw Error(operation, fmt::format("batch norm needs at least two values a channel in training, its input is {}",
                                       to_string(z.shape())));
  auto norm = std::make_shared<NormState>();
  norm->parameters = p;
  norm->statistics = Tensor::empty({3, C}, z.device());
  return norm;
}

Norm take(const char* operation, const Normed& x) {
  if (x.norm == nullptr) throw Error(operation, "x is empty");
  if (x.norm->taken) throw Error(operation, "x has been used before: what a fused convolution makes has one use");
  x.norm->taken = true;
  return x.norm;
}

// Of the function that takes a Normed, whose inputs are z, its weights, and the batch norm's weight and bias: where the
// batch norm's gradients go. `first`: the input that is the batch norm's weight.
kernels::FusedNorm with_gradients(const Norm& norm, Gradients& dx, size_t first) {
  const int64_t C = norm->parameters.weight.count();
  norm->factors = Tensor::empty({2, C}, norm->statistics.device());
  return norm->kernel_norm(dx[first].data<float>(), dx[first + 1].data<float>());
}

// Of the function that made z: the batch norm behind it, whose gradients its taker left.
kernels::FusedNorm complete(const char* operation, const Norm& norm) {
  if (!norm->factors.defined())
    throw Error(operation, "no gradient reached its batch norm: backward must start behind the fused functions");
  return norm->kernel_norm();
}

// Each checks x and weight, which it convolves.
kernels::Conv2dShape conv2d_shape(const char* operation, const Tensor& x, const Tensor& w, int stride) {
  expect_stride(operation, stride);
  expect(operation, "x", x, {any, any, any, any});
  expect(operation, "weight", w, {any, 3, 3, x.size(3)}, x);
  const auto size = [](const Tensor& t, size_t i) { return static_cast<int>(t.size(i)); };
  return {size(x, 0), size(x, 1), size(x, 2), size(x, 3), size(w, 0), stride};
}
kernels::DepthwiseConvShape depthwise_shape(const char* operation, const Tensor& x, const Tensor& w, int stride,
                                            DType dtype) {
  expect_stride(operation, stride);
  expect(operation, "x", x, {any, any, any, any}, dtype);
  expect(operation, "weight", w, {3, 3, x.size(3)}, x);
  const auto size = [&](size_t i) { return static_cast<int>(x.size(i)); };
  return {size(0), size(1), size(2), size(3), stride};
}
kernels::PointwiseConvShape pointwise_shape(const char* operation, const Tensor& x, const Tensor& w, DType dtype) {
  const int64_t channels = channels_of(operation, x, dtype);
  expect(operation, "weight", w, {any, channels}, x);
  return {x.count() / channels, static_cast<int>(channels), static_cast<int>(w.size(0))};
}

// What they make.
Tensor output(const Tensor& x, const kernels::Conv2dShape& s, DType dtype) {
  return Tensor::empty({s.batch, s.out_height(), s.out_width(), s.out_channels}, x.device(), dtype);
}
Tensor output(const Tensor& x, const kernels::DepthwiseConvShape& s, DType dtype) {
  return Tensor::empty({s.batch, s.out_height(), s.out_width(), s.channels}, x.device(), dtype);
}
Tensor output(const Tensor& x, const kernels::PointwiseConvShape& s, DType dtype) {
  Shape shape = x.shape();
  shape.back() = s.out_channels;
  return Tensor::empty(shape, x.device(), dtype);
}

// In the functions, T is the type of z and of what goes backward: float or Bf16.

template <class T>
struct FusedConv2d : Function {
  kernels::Conv2dShape s{};
  NormParameters parameters;
  Norm norm;
  Tensor x, z;

  FusedConv2d(int stride, const NormParameters& p) : parameters(p) { s.stride = stride; }
  const char* name() const override { return "fused_conv2d"; }

  Tensor forward(const std::vector<Tensor>& in) override {
    x = in[0];
    s = conv2d_shape(name(), x, in[1], s.stride);
    const Tensor y = output(x, s, dtype_of<T>());
    norm = make_norm(name(), parameters, y);
    run(device(x.device()), &kernels::Conv2dOf<T>::forward_fused, s, x.data<float>(), in[1].data<float>(), y.data<T>(),
        norm->kernel_norm());
    z = y.view(y.shape());
    return y;
  }

  void backward(const Tensor& du, Gradients& dx) override {
    if (dx.wanted(0)) throw Error(name(), "has no gradient for x: it is for images");
    run(device(du.device()), &kernels::Conv2dOf<T>::backward_weight_fused, s, x.data<float>(), z.data<T>(),
        complete(name(), norm), du.data<T>(), dx[1].data<float>());
  }
};

// Inputs: x.z, weight, and the weight and bias of x's batch norm.
template <class T, class Row, class Shape>
struct FusedConv : Function {
  Shape s{};
  Norm norm_x, norm_z;
  NormParameters parameters;
  Tensor x, w, z;

  FusedConv(Norm norm_x, const NormParameters& p) : norm_x(std::move(norm_x)), parameters(p) {}

  Tensor forward_from(const Tensor& input, const Tensor& weight, const Shape& shape) {
    x = input, w = weight, s = shape;
    const Tensor y = output(x, s, dtype_of<T>());
    norm_z = make_norm(name(), parameters, y);
    run(device(x.device()), &Row::forward_fused, s, x.data<T>(), norm_x->kernel_norm(), w.data<float>(), y.data<T>(),
        norm_z->kernel_norm());
    z = y.view(y.shape());
    return y;
  }

  void backward(const Tensor& du, Gradients& dx) override {
    const kernels::FusedNorm below = with_gradients(norm_x, dx, 2);
    run(device(du.device()), &Row::backward_fused, s, x.data<T>(), below, w.data<float>(), z.data<T>(),
        complete(name(), norm_z), du.data<T>(), dx[0].data<T>(), dx[1].data<float>());
  }
};

template <class T>
struct FusedDepthwiseConv : FusedConv<T, kernels::DepthwiseConvOf<T>, kernels::DepthwiseConvShape> {
  int stride;

  FusedDepthwiseConv(Norm norm_x, int stride, const NormParameters& p)
      : FusedDepthwiseConv::FusedConv(std::move(norm_x), p), stride(stride) {}
  const char* name() const override { return "fused_depthwise_conv"; }

  Tensor forward(const std::vector<Tensor>& in) override {
    return this->forward_from(in[0], in[1], depthwise_shape(name(), in[0], in[1], stride, dtype_of<T>()));
  }
};

template <class T>
struct FusedPointwiseConv : FusedConv<T, kernels::PointwiseConvOf<T>, kernels::PointwiseConvShape> {
  using FusedPointwiseConv::FusedConv::FusedConv;
  const char* name() const override { return "fused_pointwise_conv"; }

  Tensor forward(const std::vector<Tensor>& in) override {
    return this->forward_from(in[0], in[1], pointwise_shape(name(), in[0], in[1], dtype_of<T>()));
  }
};

// Inputs: x.z, and the weight and bias of its batch norm.
template <class T>
struct FusedGlobalAvgPool : Function {
  kernels::GlobalAvgPoolShape s{};
  Norm norm;
  Tensor x;

  explicit FusedGlobalAvgPool(Norm norm) : norm(std::move(norm)) {}
  const char* name() const override { return "fused_global_avg_pool"; }

  Tensor forward(const std::vector<Tensor>& in) override {
    x = in[0];
    expect(name(), "x", x, {any, any, any, any}, dtype_of<T>());
    s.batch = x.size(0), s.positions = x.size(1) * x.size(2), s.channels = x.size(3);
    const Tensor y = Tensor::empty({s.batch, s.channels}, x.device());
    run(device(x.device()), &kernels::GlobalAvgPoolOf<T>::forward_fused, s, x.data<T>(), norm->kernel_norm(),
        y.data<float>());
    return y;
  }

  void backward(const Tensor& dy, Gradients& dx) override {
    const kernels::FusedNorm below = with_gradients(norm, dx, 1);
    run(device(dy.device()), &kernels::GlobalAvgPoolOf<T>::backward_fused, s, x.data<T>(), below, dy.data<float>(),
        dx[0].data<T>());
  }
};

// X, Y: the types of x and of what comes of it.
template <class Row, class X, class Y, class Shape>
Tensor folded(const char* operation, const Shape& s, const Tensor& x, const FoldedWeights& w) {
  const Tensor y = output(x, s, dtype_of<Y>());
  expect(operation, "bias", w.bias, {y.shape().back()}, x);
  run(device(x.device()), &Row::forward_folded, s, x.data<X>(), w.weight.data<float>(), w.bias.data<float>(),
      y.data<Y>());
  return y;
}

}  // namespace

Normed fused_conv2d(const Tensor& x, const Tensor& weight, int stride, const NormParameters& norm) {
  return for_type(activation_type(device(x.device())), [&](auto t) -> Normed {
    const auto function = std::make_shared<FusedConv2d<decltype(t)>>(stride, norm);
    const Tensor z = Function::apply(function, {x, weight});
    return {z, function->norm};
  });
}

Normed fused_depthwise_conv(const Normed& x, const Tensor& weight, int stride, const NormParameters& norm) {
  const Norm taken = take("fused_depthwise_conv", x);
  return for_type(x.z.dtype(), [&](auto t) -> Normed {
    const auto function = std::make_shared<FusedDepthwiseConv<decltype(t)>>(taken, stride, norm);
    const Tensor z = Function::apply(function, {x.z, weight, taken->parameters.weight, taken->parameters.bias});
    return {z, function->norm_z};
  });
}

Normed fused_pointwise_conv(const Normed& x, const Tensor& weight, const NormParameters& norm) {
  const Norm taken = take("fused_pointwise_conv", x);
  return for_type(x.z.dtype(), [&](auto t) -> Normed {
    const auto function = std::make_shared<FusedPointwiseConv<decltype(t)>>(taken, norm);
    const Tensor z = Function::apply(function, {x.z, weight, taken->parameters.weight, taken->parameters.bias});
    return {z, function->norm_z};
  });
}

Tensor fused_global_avg_pool(const Normed& x) {
  const Norm taken = take("fused_global_avg_pool", x);
  return for_type(x.z.dtype(), [&](auto t) {
    return Function::apply(std::make_shared<FusedGlobalAvgPool<decltype(t)>>(taken),
                           {x.z, taken->parameters.weight, taken->parameters.bias});
  });
}

Tensor folded_conv2d(const Tensor& x, const FoldedWeights& w, int stride) {
  const char* const name = "folded_conv2d";
  return for_type(activation_type(device(x.device())), [&](auto t) {
    using T = decltype(t);
    return folded<kernels::Conv2dOf<T>, float, T>(name, conv2d_shape(name, x, w.weight, stride), x, w);
  });
}

Tensor folded_depthwise_conv(const Tensor& x, const FoldedWeights& w, int stride) {
  const char* const name = "folded_depthwise_conv";
  return for_type(x.dtype(), [&](auto t) {
    using T = decltype(t);
    const kernels::DepthwiseConvShape s = depthwise_shape(name, x, w.weight, stride, dtype_of<T>());
    return folded<kernels::DepthwiseConvOf<T>, T, T>(name, s, x, w);
  });
}

Tensor folded_pointwise_conv(const Tensor& x, const FoldedWeights& w) {
  const char* const name = "folded_pointwise_conv";
  return for_type(x.dtype(), [&](auto t) {
    using T = decltype(t);
    using Row = kernels::PointwiseConvOf<T>;
    const kernels::PointwiseConvShape s = pointwise_shape(name, x, w.weight, dtype_of<T>());
    Device& d = device(x.device());
    const Row& row = kernels::choose(d.type(), d.policy, s, &Row::forward_folded);
    if (row.forward_packed == nullptr) return folded<Row, T, T>(name, s, x, w);
    if (w.packed_by != &row) {
      w.packed = Tensor::empty({static_cast<int64_t>(row.packed_bytes(s) / sizeof(float))}, x.device());
      run(d, &Row::pack, s, w.weight.data<float>(), w.packed.data<float>());
      w.packed_by = &row;
    }
    const Tensor y = output(x, s, dtype_of<T>());
    expect(name, "bias", w.bias, {y.shape().back()}, x);
    run(d, &Row::forward_packed, s, x.data<T>(), w.packed.data<float>(), w.bias.data<float>(), y.data<T>());
    return y;
  });
}

}  // namespace engine
