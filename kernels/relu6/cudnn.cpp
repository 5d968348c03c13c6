// cuDNN's clipped ReLU, which leaves NaN as it is where it is told to. Forward only: its gradient takes the forward's
// output, and what it gives at the corners is not documented.
#include "kernels/common/cudnn.h"
#include "kernels/relu6/relu6.h"

namespace kernels::KERNEL_TARGET {

extern const Relu6 relu6_cudnn = {
    .name = "cudnn",
    .idea = "cuDNN's clipped ReLU",
    .provider = Provider::vendor,
    .supports = [](const Relu6Shape& s) { return s.count <= cudnn::max_elements; },
    .workspace = [](const Relu6Shape&) -> size_t { return 0; },
    .forward =
        [](Context& context, const Relu6Shape& s, const float* x, float* y) {
          cudnn::Library& library = cudnn::library(context);
          const cudnn::Tensor& flat = cudnn::tensor(library, 1, 1, s.count, 1);
          const float one = 1, zero = 0;
          cudnn::check(cudnnActivationForward(library.handle, library.relu6, &one, flat, x, &zero, flat, y),
                       "cudnnActivationForward");
        },
    .backward = nullptr,
};

}  // namespace kernels::KERNEL_TARGET
