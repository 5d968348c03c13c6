// cuDNN's convolution with as many groups as channels. It wants a channel's filter in one piece, (C, 3, 3), ours are
// (3, 3, C): they are transposed in the workspace.
#include "kernels/common/cudnn.h"
#include "kernels/depthwise_conv/depthwise_conv.h"

namespace kernels::KERNEL_TARGET {
namespace {

cudnn::Shape shape(const DepthwiseConvShape& s) {
  return {s.batch, s.height, s.width, s.channels, s.channels, s.channels, s.stride};
}

// The workspace: cuDNN's scratch memory, then the transposed filters.
void* scratch(Context& context) { return context.workspace; }
float* filters(Context& context) {
  return reinterpret_cast<float*>(static_cast<char*>(context.workspace) + cudnn::scratch_bytes);
}

enum class To { theirs, ours };
void transpose(cudnn::Library& library, int channels, const float* from, float* to, To direction) {
  const cudnn::Tensor ours, theirs;  // (1, C, 3, 3), with these strides
  const int c = channels;
  cudnn::check(cudnnSetTensor4dDescriptorEx(ours, CUDNN_DATA_FLOAT, 1, c, 3, 3, 9 * c, 1, 3 * c, c),
               "cudnnSetTensor4dDescriptorEx");
  cudnn::check(cudnnSetTensor4dDescriptorEx(theirs, CUDNN_DATA_FLOAT, 1, c, 3, 3, 9 * c, 9, 3, 1),
               "cudnnSetTensor4dDescriptorEx");
  const float one = 1, zero = 0;
  const bool forth = direction == To::theirs;
  cudnn::check(
      cudnnTransformTensor(library.handle, &one, forth ? ours : theirs, from, &zero, forth ? theirs : ours, to),
      "cudnnTransformTensor");
}

}  // namespace

extern const DepthwiseConv depthwise_conv_cudnn = {
    .name = "cudnn",
    .idea = "cuDNN's convolution with a group a channel",
    .provider = Provider::vendor,
    .supports = [](const DepthwiseConvShape&) { return true; },
    .workspace = [](const DepthwiseConvShape& s) { return cudnn::scratch_bytes + 9 * s.channels * sizeof(float); },
    .forward =
        [](Context& context, const DepthwiseConvShape& s, const float* x, const float* w, float* y) {
          cudnn::Library& library = cudnn::library(context);
          transpose(library, s.channels, w, filters(context), To::theirs);
          cudnn::forward(library, shape(s), x, filters(context), y, scratch(context));
        },
    .backward_data =
        [](Context& context, const DepthwiseConvShape& s, const float* dy, const float* w, float* dx) {
          cudnn::Library& library = cudnn::library(context);
          transpose(library, s.channels, w, filters(context), To::theirs);
          cudnn::backward_data(library, shape(s), dy, filters(context), dx, scratch(context));
        },
    .backward_weight =
        [](Context& context, const DepthwiseConvShape& s, const float* x, const float* dy, float* dw) {
          cudnn::Library& library = cudnn::library(context);
          cudnn::backward_weight(library, shape(s), x, dy, filters(context), scratch(context));
          transpose(library, s.channels, filters(context), dw, To::ours);
        },
    .forward_folded =
        [](Context& context, const DepthwiseConvShape& s, const float* x, const float* w, const float* bias, float* y) {
          cudnn::Library& library = cudnn::library(context);
          transpose(library, s.channels, w, filters(context), To::theirs);
          cudnn::forward_folded(library, shape(s), x, filters(context), bias, y, scratch(context));
        },
};

}  // namespace kernels::KERNEL_TARGET
