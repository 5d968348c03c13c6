// cuDNN's average pooling with one window, which is the image: here P positions in a row.
#include "kernels/common/cudnn.h"
#include "kernels/global_avg_pool/global_avg_pool.h"

namespace kernels::KERNEL_TARGET {

extern const GlobalAvgPool global_avg_pool_cudnn = {
    .name = "cudnn",
    .idea = "cuDNN's average pooling, its window the whole image",
    .provider = Provider::vendor,
    .supports =
        [](const GlobalAvgPoolShape&
               s) {  // 65536 images are refused: https://github.com/microsoft/onnxruntime/issues/29819
          return s.batch < 65536 && int64_t{s.batch} * s.positions * s.channels <= cudnn::max_elements;
        },
    .workspace = [](const GlobalAvgPoolShape&) -> size_t { return 0; },
    .forward =
        [](Context& context, const GlobalAvgPoolShape& s, const float* x, float* y) {
          cudnn::Library& library = cudnn::library(context);
          const float one = 1, zero = 0;
          cudnn::check(cudnnPoolingForward(library.handle, cudnn::average(library, s.positions), &one,
                                           cudnn::tensor(library, s.batch, s.channels, s.positions, 1), x, &zero,
                                           cudnn::tensor(library, s.batch, s.channels, 1, 1), y),
                       "cudnnPoolingForward");
        },
    .backward =
        [](Context& context, const GlobalAvgPoolShape& s, const float* dy, float* dx) {
          cudnn::Library& library = cudnn::library(context);
          const cudnn::Tensor& image = cudnn::tensor(library, s.batch, s.channels, s.positions, 1);
          const cudnn::Tensor& means = cudnn::tensor(library, s.batch, s.channels, 1, 1);
          const float one = 1, zero = 0;
          // The interface wants the forward's x and y too. An average's gradient does not depend on their values: any
          // arrays of their sizes do.
          cudnn::check(cudnnPoolingBackward(library.handle, cudnn::average(library, s.positions), &one, means, dy,
                                            means, dy, image, dx, &zero, image, dx),
                       "cudnnPoolingBackward");
        },
};

}  // namespace kernels::KERNEL_TARGET
