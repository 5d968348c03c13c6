// cuDNN's batch norm, a channel over all positions (CUDNN_BATCHNORM_SPATIAL; not its _PERSISTENT form, which may
// overflow). The running variance takes the unbiased one, and 1/√(σ²+ε) is what it saves for backward, as here.
#include "kernels/common/cudnn.h"
#include "kernels/batchnorm/batchnorm.h"

namespace kernels::KERNEL_TARGET {
namespace {

constexpr auto mode = CUDNN_BATCHNORM_SPATIAL;
// All rows in one column of one image: cuDNN's limits on a batch are lower.
const cudnn::Tensor& activations(cudnn::Library& library, const BatchNormShape& s) {
  return cudnn::tensor(library, 1, s.channels, s.rows, 1);
}
const cudnn::Tensor& factors(cudnn::Library& library, const BatchNormShape& s) {
  return cudnn::tensor(library, 1, s.channels, 1, 1);
}

}  // namespace

extern const BatchNorm batchnorm_cudnn = {
    .name = "cudnn",
    .idea = "cuDNN's batch norm",
    .provider = Provider::vendor,
    .supports = [](const BatchNormShape& s) { return s.rows * s.channels <= cudnn::max_elements; },
    .workspace = [](const BatchNormShape&) -> size_t { return 0; },
    .forward_training =
        [](Context& context, const BatchNormShape& s, const float* x, const float* weight, const float* bias, float eps,
           float momentum, float* running_mean, float* running_var, float* saved_mean, float* saved_invstd, float* y) {
          check_training(s);
          cudnn::Library& library = cudnn::library(context);
          const cudnn::Tensor& all = activations(library, s);
          const float one = 1, zero = 0;
          cudnn::check(cudnnBatchNormalizationForwardTraining(library.handle, mode, &one, &zero, all, x, all, y,
                                                              factors(library, s), weight, bias, momentum, running_mean,
                                                              running_var, eps, saved_mean, saved_invstd),
                       "cudnnBatchNormalizationForwardTraining");
        },
    .forward_inference =
        [](Context& context, const BatchNormShape& s, const float* x, const float* weight, const float* bias,
           const float* running_mean, const float* running_var, float eps, float* y) {
          cudnn::Library& library = cudnn::library(context);
          const cudnn::Tensor& all = activations(library, s);
          const float one = 1, zero = 0;
          cudnn::check(cudnnBatchNormalizationForwardInference(library.handle, mode, &one, &zero, all, x, all, y,
                                                               factors(library, s), weight, bias, running_mean,
                                                               running_var, eps),
                       "cudnnBatchNormalizationForwardInference");
        },
    .backward =
        [](Context& context, const BatchNormShape& s, const float* x, const float* dy, const float* weight,
           const float* saved_mean, const float* saved_invstd, float* dx, float* dweight, float* dbias) {
          cudnn::Library& library = cudnn::library(context);
          const cudnn::Tensor& all = activations(library, s);
          const float one = 1, zero = 0;
          const double eps = CUDNN_BN_MIN_EPSILON;  // is in saved_invstd, and so not read
          cudnn::check(cudnnBatchNormalizationBackward(library.handle, mode, &one, &zero, &one, &zero, all, x, all, dy,
                                                       all, dx, factors(library, s), weight, dweight, dbias, eps,
                                                       saved_mean, saved_invstd),
                       "cudnnBatchNormalizationBackward");
        },
};

}  // namespace kernels::KERNEL_TARGET
