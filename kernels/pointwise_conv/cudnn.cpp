// cuDNN's convolution with a kernel of 1×1: all rows are one column of one image.
#include "kernels/common/cudnn.h"

#include <algorithm>

#include "kernels/pointwise_conv/pointwise_conv.h"

namespace kernels::KERNEL_TARGET {

extern const PointwiseConvOf<Bf16> pointwise_conv_bf16;
// y (count) = x, to bfloat16 (common/round.cu).
void round_to_bf16(Context&, int64_t count, const float* x, Bf16* y);

namespace {

cudnn::Shape shape(int64_t rows, int in, int out, cudnnDataType_t type = CUDNN_DATA_FLOAT) {
  return {1, static_cast<int>(rows), 1, in, out, 1, 1, 1, type};
}
cudnn::Shape shape(const PointwiseConvShape& s) { return shape(s.rows, s.in_channels, s.out_channels); }

bool fits(const PointwiseConvShape& s) {
  return s.rows * std::max(s.in_channels, s.out_channels) <= cudnn::max_elements &&
         int64_t{s.in_channels} * s.out_channels <= cudnn::max_elements;
}

// Tensor cores load 16 bytes, so 8 channels, from addresses that 16 divides.
bool aligned(std::initializer_list<const void*> arrays) {
  return std::all_of(arrays.begin(), arrays.end(),
                     [](const void* array) { return reinterpret_cast<uintptr_t>(array) % 16 == 0; });
}

// The workspace: cuDNN's scratch memory, then the weights, transposed or rounded.
template <class T>
T* weights(Context& context) {
  return reinterpret_cast<T*>(static_cast<char*>(context.workspace) + cudnn::scratch_bytes);
}
size_t workspace(const PointwiseConvShape& s, size_t element) {
  return cudnn::scratch_bytes + element * s.in_channels * s.out_channels;
}

// to (in, out) = from (out, in)
void transpose(cudnn::Library& library, int out, int in, const float* from, float* to) {
  const cudnn::Tensor ours, transposed;  // (1, 1, out, in), with these strides
  cudnn::check(cudnnSetTensor4dDescriptorEx(ours, CUDNN_DATA_FLOAT, 1, 1, out, in, out * in, out * in, in, 1),
               "cudnnSetTensor4dDescriptorEx");
  cudnn::check(cudnnSetTensor4dDescriptorEx(transposed, CUDNN_DATA_FLOAT, 1, 1, out, in, out * in, out * in, 1, out),
               "cudnnSetTensor4dDescriptorEx");
  const float one = 1, zero = 0;
  cudnn::check(cudnnTransformTensor(library.handle, &one, ours, from, &zero, transposed, to), "cudnnTransformTensor");
}

}  // namespace

extern const PointwiseConv pointwise_conv_cudnn = {
    .name = "cudnn",
    .idea = "cuDNN's convolution, 1×1",
    .provider = Provider::vendor,
    .supports = fits,
    .workspace = [](const PointwiseConvShape& s) { return workspace(s, sizeof(float)); },
    .forward = [](Context& context, const PointwiseConvShape& s, const float* x, const float* w,
                  float* y) { cudnn::forward(cudnn::library(context), shape(s), x, w, y, context.workspace); },
    // The forward pass with the weights transposed: cuDNN's deterministic data gradients in fp32 ask for scratch memory
    // as large as both arrays.
    .backward_data =
        [](Context& context, const PointwiseConvShape& s, const float* dy, const float* w, float* dx) {
          cudnn::Library& library = cudnn::library(context);
          transpose(library, s.out_channels, s.in_channels, w, weights<float>(context));
          cudnn::forward(library, shape(s.rows, s.out_channels, s.in_channels), dy, weights<float>(context), dx,
                         context.workspace);
        },
    .backward_weight =
        [](Context& context, const PointwiseConvShape& s, const float* x, const float* dy, float* dw) {
          cudnn::backward_weight(cudnn::library(context), shape(s), x, dy, dw, context.workspace);
        },
    .forward_folded =
        [](Context& context, const PointwiseConvShape& s, const float* x, const float* w, const float* bias, float* y) {
          cudnn::forward_folded(cudnn::library(context), shape(s), x, w, bias, y, context.workspace);
        },
};

// One pass alone, which cuBLASLt's row lacks, since its product has no ReLU6 behind it: a kernel that cuDNN compiles
// for the graph, on tensor cores. Where it has none, or the arrays are not aligned, our row `bf16` stands in.
extern const PointwiseConvOf<Bf16> pointwise_conv_cudnn_bf16 = {
    .name = "cudnn_bf16",
    .idea = "cuDNN's bfloat16 convolution, bias and ReLU6 in one kernel",
    .provider = Provider::vendor,
    .supports =
        [](const PointwiseConvShape& s) {
          return fits(s) && s.in_channels % 8 == 0 && s.out_channels % 8 == 0 && pointwise_conv_bf16.supports(s);
        },
    .workspace =
        [](const PointwiseConvShape& s) {
          return std::max(workspace(s, sizeof(Bf16)), pointwise_conv_bf16.workspace(s));
        },
    .forward = nullptr,
    .backward_data = nullptr,
    .backward_weight = nullptr,
    .forward_folded =
        [](Context& context, const PointwiseConvShape& s, const Bf16* x, const float* w, const float* bias, Bf16* y) {
          cudnn::Library& library = cudnn::library(context);
          const auto& plan =
              cudnn::folded_plan(library, shape(s.rows, s.in_channels, s.out_channels, CUDNN_DATA_BFLOAT16));
          if (!plan || !aligned({x, bias, y})) return pointwise_conv_bf16.forward_folded(context, s, x, w, bias, y);
          Bf16* const rounded = weights<Bf16>(context);
          round_to_bf16(context, int64_t{s.in_channels} * s.out_channels, w, rounded);
          cudnn::graph::run(library.handle, *plan, x, rounded, bias, y, context.workspace);
        },
    .precision = Precision::bf16,
};

}  // namespace kernels::KERNEL_TARGET
