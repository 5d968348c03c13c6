// cuDNN's softmax (CUDNN_SOFTMAX_ACCURATE, which subtracts the maximum), into the workspace; losses, answers and the
// gradient are a kernel of ours behind it. Its CUDNN_SOFTMAX_LOG would give a loss by itself, but the gradient would
// need the exponentials again, and small ones would lose digits: a logarithm near -80 is good to 4e-6.
#include "kernels/common/cudnn.h"
#include "kernels/cross_entropy/after_softmax.h"

namespace kernels::KERNEL_TARGET {

extern const CrossEntropy cross_entropy_cudnn = {
    .name = "cudnn",
    .idea = "cuDNN's softmax, and a kernel of ours for labels, losses and smoothing",
    .provider = Provider::vendor,
    .supports =
        [](const CrossEntropyShape& s) {  // of images as many as its pooling takes: global_avg_pool/cudnn.cpp
          return s.batch < 65536 && int64_t{s.batch} * s.classes <= cudnn::max_elements;
        },
    .workspace = [](const CrossEntropyShape& s) { return static_cast<size_t>(s.batch) * s.classes * sizeof(float); },
    .forward_backward =
        [](Context& context, const CrossEntropyShape& s, const float* logits, const int32_t* labels,
           float label_smoothing, float* losses, int32_t* correct, float* mean_loss, float* dlogits) {
          cudnn::Library& library = cudnn::library(context);
          const cudnn::Tensor& rows = cudnn::tensor(library, s.batch, s.classes, 1, 1);
          const auto softmax = static_cast<float*>(context.workspace);
          const float one = 1, zero = 0;
          cudnn::check(cudnnSoftmaxForward(library.handle, CUDNN_SOFTMAX_ACCURATE, CUDNN_SOFTMAX_MODE_INSTANCE, &one,
                                           rows, logits, &zero, rows, softmax),
                       "cudnnSoftmaxForward");
          cross_entropy_after_softmax(context, s, logits, softmax, labels, label_smoothing, losses, correct, mean_loss,
                                      dlogits);
        },
};

}  // namespace kernels::KERNEL_TARGET
