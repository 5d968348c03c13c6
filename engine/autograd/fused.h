// The functions of a fused block: convolutions that do the batch norm and ReLU6 on both of their sides as they load and
// store, for training (kernels/common/fused_norm.h has the maths). They pass on z, a convolution's bare output, with
// the batch norm that belongs behind it:
//
//   Normed y = fused_conv2d(images, stem, 2, norm1);
//   y = fused_depthwise_conv(y, w_dw, 1, norm2);
//   y = fused_pointwise_conv(y, w_pw, norm3);
//   Tensor pooled = fused_global_avg_pool(y);
//
// gives what conv2d → batchnorm → relu6 → depthwise_conv → … → relu6 → global_avg_pool give, within rounding: outputs,
// gradients and running statistics.
//
// What goes backward between them is not z's gradient, but the one behind z's batch norm, from which the function that
// made z computes its own as it loads. So z has one use: the function that takes it.
#pragma once

#include "engine/autograd/functions.h"

namespace engine {

// A batch norm's parameters and buffers, (C) each.
struct NormParameters {
  Tensor weight, bias, running_mean, running_var;
  float eps = 1e-5f, momentum = 0.1f;
};

struct NormState;  // what the functions on both sides of a batch norm share

struct Normed {
  Tensor
      z;  // (…, C) before batch norm and ReLU6; bfloat16 where fused_conv2d found that precision in the device's policy
  std::shared_ptr<NormState> norm;
};

// Shapes as in functions.h. Each throws Error where a Normed has been used before, or where its batch has a single
// value a channel.
Normed fused_conv2d(const Tensor& x, const Tensor& weight, int stride, const NormParameters& norm);
Normed fused_depthwise_conv(const Normed& x, const Tensor& weight, int stride, const NormParameters& norm);
Normed fused_pointwise_conv(const Normed& x, const Tensor& weight, const NormParameters& norm);
Tensor fused_global_avg_pool(const Normed& x);

// For inference, the batch norm folded into weight and bias (Cout): min(max(convolution(x) + bias, 0), 6). Without
// history. Types as in functions.h.
struct FoldedWeights {
  Tensor weight, bias;
  // What a kernel made of the weights when it first met them, and which: folded_pointwise_conv fills it in.
  mutable Tensor packed;
  mutable const void* packed_by = nullptr;
};
Tensor folded_conv2d(const Tensor& x, const FoldedWeights& w, int stride);
Tensor folded_depthwise_conv(const Tensor& x, const FoldedWeights& w, int stride);
Tensor folded_pointwise_conv(const Tensor& x, const FoldedWeights& w);

}  // namespace engine
