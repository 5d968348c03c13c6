// The differentiable functions. Activations are NHWC float32, or bfloat16 where the policy of the device has that
// precision: conv2d then makes them of float images, the functions behind it take and give what they get, and
// global_avg_pool makes float again. Gradients have the types of their tensors. Each function takes tensors of one
// device and runs there, by the row of its kernel table that the device's policy names. The maths stands in
// kernels/OP/OP.h. All throw Error, with the shapes, where these do not fit together.
#pragma once

#include "engine/autograd/autograd.h"

namespace engine {

// Depthwise 3×3 convolution, padding 1, stride 1 or 2. x (N, H, W, C), weight (3, 3, C) → (N, P, Q, C), P = ⌈H/stride⌉.
Tensor depthwise_conv(const Tensor& x, const Tensor& weight, int stride);

// Pointwise (1×1) convolution. x (…, Cin), weight (Cout, Cin) → (…, Cout).
Tensor pointwise_conv(const Tensor& x, const Tensor& weight);

// 3×3 convolution, padding 1, stride 1 or 2. x (N, H, W, Cin), weight (Cout, 3, 3, Cin) → (N, P, Q, Cout).
Tensor conv2d(const Tensor& x, const Tensor& weight, int stride);

// Batch normalisation over all but the last dimension. x (…, C); weight, bias, running_mean, running_var (C) → (…, C).
// Training normalises by the batch's statistics, needs at least two values a channel, and moves the running statistics
// by `momentum`; inference normalises by the running statistics and has no backward.
struct BatchNormOptions {
  bool training = true;
  float eps = 1e-5f;
  float momentum = 0.1f;
};
Tensor batchnorm(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& running_mean,
                 const Tensor& running_var, const BatchNormOptions&);

Tensor relu6(const Tensor& x);  // any shape

// x (N, H, W, C) → (N, C).
Tensor global_avg_pool(const Tensor& x);

// x (M, In), weight (Out, In), bias (Out) → (M, Out).
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias);

Tensor add(const Tensor& a, const Tensor& b);         // the same shape
Tensor reshape(const Tensor& x, const Shape& shape);  // the same memory under another shape

// Softmax cross-entropy. logits (N, K), labels (N) int32 in [0, K), which is not checked here. label_smoothing s in
// [0, 1): the label's target is 1 - s + s/K, each other class's s/K.
struct CrossEntropyResult {
  Tensor loss;     // (1) the mean over the batch; the only one with a gradient
  Tensor losses;   // (N)
  Tensor correct;  // (N) int32: 1 where the largest logit is the label's
};
// backward() must start from the loss, or from a sum of losses: the gradient is computed forward and is not scaled.
CrossEntropyResult cross_entropy(const Tensor& logits, const Tensor& labels, float label_smoothing = 0);

}  // namespace engine
