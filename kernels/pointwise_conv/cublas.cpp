// cuBLASLt: on this layout a pointwise convolution is a matrix product.
#include "kernels/common/cublas.h"
#include "kernels/pointwise_conv/pointwise_conv.h"
#include "kernels/relu6/relu6.h"

namespace kernels::KERNEL_TARGET {

extern const Relu6 relu6_vectorised;
// y (count) = x, to bfloat16 (common/round.cu).
void round_to_bf16(Context&, int64_t count, const float* x, Bf16* y);

namespace {

template <Precision precision>
void forward(Context& context, const PointwiseConvShape& s, const float* x, const float* w, float* y) {
  cublas::run(context, cublas::forward_shape<float, float>(s.rows, s.in_channels, s.out_channels, precision), w, x, y,
              context.workspace);
}
template <Precision precision>
void backward_data(Context& context, const PointwiseConvShape& s, const float* dy, const float* w, float* dx) {
  cublas::run(context, cublas::backward_data_shape<float, float>(s.rows, s.in_channels, s.out_channels, precision), w,
              dy, dx, context.workspace);
}
template <class T, Precision precision>
void backward_weight(Context& context, const PointwiseConvShape& s, const T* x, const T* dy, float* dw) {
  cublas::run(context, cublas::backward_weight_shape<T>(s.rows, s.in_channels, s.out_channels, precision), x, dy, dw,
              context.workspace);
}
// The bias is the product's epilogue. Its ReLU has no upper end: ReLU6 is a kernel of ours, in place.
template <Precision precision>
void forward_folded(Context& context, const PointwiseConvShape& s, const float* x, const float* w, const float* bias,
                    float* y) {
  cublas::run(context, cublas::forward_shape<float, float>(s.rows, s.in_channels, s.out_channels, precision, true), w,
              x, y, context.workspace, bias);
  relu6_vectorised.forward(context, {s.rows * s.out_channels}, y, y);
}

// The workspace with bfloat16: scratch memory, then the weights, rounded.
const Bf16* rounded_weights(Context& context, const PointwiseConvShape& s, const float* w) {
  const auto rounded = reinterpret_cast<Bf16*>(static_cast<char*>(context.workspace) + cublas::scratch_bytes);
  round_to_bf16(context, int64_t{s.in_channels} * s.out_channels, w, rounded);
  return rounded;
}

}  // namespace

extern const PointwiseConv pointwise_conv_cublas = {
    .name = "cublas",
    .idea = "cuBLASLt's fp32 product",
    .provider = Provider::vendor,
    .supports = [](const PointwiseConvShape&) { return true; },
    .workspace = [](const PointwiseConvShape& s) { return cublas::workspace_with_bias(s.out_channels); },
    .forward = forward<Precision::fp32>,
    .backward_data = backward_data<Precision::fp32>,
    .backward_weight = backward_weight<float, Precision::fp32>,
    .forward_folded = forward_folded<Precision::fp32>,
};

extern const PointwiseConv pointwise_conv_cublas_tf32 = {
    .name = "cublas_tf32",
    .idea = "cuBLASLt's product of factors rounded to tf32",
    .provider = Provider::vendor,
    .supports = [](const PointwiseConvShape&) { return true; },
    .workspace = [](const PointwiseConvShape& s) { return cublas::workspace_with_bias(s.out_channels); },
    .forward = forward<Precision::tf32>,
    .backward_data = backward_data<Precision::tf32>,
    .backward_weight = backward_weight<float, Precision::tf32>,
    .forward_folded = forward_folded<Precision::tf32>,
    .precision = Precision::tf32,
};

extern const PointwiseConvOf<Bf16> pointwise_conv_cublas_bf16 = {
    .name = "cublas_bf16",
    .idea = "cuBLASLt's bfloat16 product; the weights are rounded in the workspace",
    .provider = Provider::vendor,
    .supports = [](const PointwiseConvShape&) { return true; },
    .workspace =
        [](const PointwiseConvShape& s) {
          return cublas::scratch_bytes + static_cast<size_t>(s.in_channels) * s.out_channels * sizeof(Bf16);
        },
    .forward =
        [](Context& context, const PointwiseConvShape& s, const Bf16* x, const float* w, Bf16* y) {
          cublas::run(context,
                      cublas::forward_shape<Bf16, Bf16>(s.rows, s.in_channels, s.out_channels, Precision::bf16),
                      rounded_weights(context, s, w), x, y, context.workspace);
        },
    .backward_data =
        [](Context& context, const PointwiseConvShape& s, const Bf16* dy, const float* w, Bf16* dx) {
          cublas::run(context,
                      cublas::backward_data_shape<Bf16, Bf16>(s.rows, s.in_channels, s.out_channels, Precision::bf16),
                      rounded_weights(context, s, w), dy, dx, context.workspace);
        },
    .backward_weight = backward_weight<Bf16, Precision::bf16>,
    .precision = Precision::bf16,
};

}  // namespace kernels::KERNEL_TARGET
