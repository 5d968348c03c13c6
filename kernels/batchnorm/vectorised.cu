// Idea: 16 bytes an access. `split` with four neighbouring channels a thread: a quarter of the load instructions and of
// the threads for the same bytes.
#include "kernels/batchnorm/split.h"

namespace kernels::KERNEL_TARGET {

extern const BatchNorm batchnorm_vectorised = {
    .name = "vectorised",
    .idea = "four channels a thread: 16 bytes an access",
    .provider = Provider::native,
    .supports = [](const BatchNormShape& s) { return s.channels % 4 == 0; },
    .workspace = batchnorm_workspace,
    .forward_training = batchnorm_forward_training<4>,
    .forward_inference = batchnorm_forward_inference<4>,
    .backward = batchnorm_backward<4>,
};

}  // namespace kernels::KERNEL_TARGET
