// The layers. Activations NHWC; names of parameters and buffers are PyTorch's.
#pragma once

#include "engine/autograd/fused.h"
#include "engine/nn/module.h"

namespace engine::nn {

// Depthwise 3×3 convolution, padding 1, no bias.
struct DepthwiseConv2d : Module {
  DepthwiseConv2d(Init&, int channels, int stride = 1);
  Tensor forward(const Tensor& x) override;  // (N, H, W, C) → (N, ⌈H/stride⌉, ⌈W/stride⌉, C)
  int stride;
  Tensor weight;  // (3, 3, C)
};

// 1×1 convolution, no bias.
struct PointwiseConv2d : Module {
  PointwiseConv2d(Init&, int in_channels, int out_channels);
  Tensor forward(const Tensor& x) override;  // (N, H, W, Cin) → (N, H, W, Cout)
  Tensor weight;                             // (Cout, Cin)
};

// 3×3 convolution, padding 1, no bias.
struct Conv2d : Module {
  Conv2d(Init&, int in_channels, int out_channels, int stride = 1);
  Tensor forward(const Tensor& x) override;  // (N, H, W, Cin) → (N, ⌈H/stride⌉, ⌈W/stride⌉, Cout)
  int stride;
  Tensor weight;  // (Cout, 3, 3, Cin)
};

// Batch normalisation; in training it moves running_mean and running_var, in inference it uses them.
struct BatchNorm2d : Module {
  BatchNorm2d(Init&, int channels, float eps = 1e-5f, float momentum = 0.1f);
  Tensor forward(const Tensor& x) override;  // (…, C) → (…, C)
  NormParameters norm() const;               // to be fused into the convolutions around it
  float eps, momentum;
  Tensor weight, bias;               // (C)
  Tensor running_mean, running_var;  // (C) buffers
};

struct ReLU6 : Module {
  Tensor forward(const Tensor& x) override;
};

struct GlobalAvgPool : Module {
  Tensor forward(const Tensor& x) override;  // (N, H, W, C) → (N, C)
};

struct Linear : Module {
  Linear(Init&, int in_features, int out_features);
  Tensor forward(const Tensor& x) override;  // (N, In) → (N, Out)
  Tensor weight;                             // (Out, In)
  Tensor bias;                               // (Out)
};

}  // namespace engine::nn
