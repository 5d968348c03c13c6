#include "engine/nn/layers.h"

#include <cmath>

#include "engine/autograd/functions.h"

namespace engine::nn {
namespace {

float bound(int64_t fan_in) { return static_cast<float>(1 / std::sqrt(static_cast<double>(fan_in))); }

}  // namespace

DepthwiseConv2d::DepthwiseConv2d(Init& init, int channels, int stride)
    : stride(stride),
      weight(register_parameter("weight", init.uniform({3, 3, channels}, bound(9)), Layout::depthwise)) {}
Tensor DepthwiseConv2d::forward(const Tensor& x) { return depthwise_conv(x, weight, stride); }

PointwiseConv2d::PointwiseConv2d(Init& init, int in_channels, int out_channels)
    : weight(register_parameter("weight", init.uniform({out_channels, in_channels}, bound(in_channels)),
                                Layout::pointwise)) {}
Tensor PointwiseConv2d::forward(const Tensor& x) { return pointwise_conv(x, weight); }

Conv2d::Conv2d(Init& init, int in_channels, int out_channels, int stride)
    : stride(stride),
      weight(register_parameter(
          "weight", init.uniform({out_channels, 3, 3, in_channels}, bound(int64_t{9} * in_channels)), Layout::conv)) {}
Tensor Conv2d::forward(const Tensor& x) { return conv2d(x, weight, stride); }

BatchNorm2d::BatchNorm2d(Init& init, int channels, float eps, float momentum)
    : eps(eps),
      momentum(momentum),
      weight(register_parameter("weight", init.constant({channels}, 1))),
      bias(register_parameter("bias", init.constant({channels}, 0))),
      running_mean(register_buffer("running_mean", init.constant({channels}, 0))),
      running_var(register_buffer("running_var", init.constant({channels}, 1))) {}
Tensor BatchNorm2d::forward(const Tensor& x) {
  return batchnorm(x, weight, bias, running_mean, running_var, {training(), eps, momentum});
}

NormParameters BatchNorm2d::norm() const { return {weight, bias, running_mean, running_var, eps, momentum}; }

Tensor ReLU6::forward(const Tensor& x) { return relu6(x); }

Tensor GlobalAvgPool::forward(const Tensor& x) { return global_avg_pool(x); }

Linear::Linear(Init& init, int in_features, int out_features)
    : weight(register_parameter("weight", init.uniform({out_features, in_features}, bound(in_features)))),
      bias(register_parameter("bias", init.uniform({out_features}, bound(in_features)))) {}
Tensor Linear::forward(const Tensor& x) { return linear(x, weight, bias); }

}  // namespace engine::nn
