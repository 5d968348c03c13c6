// Idea: tensor cores. A warp multiplies 16 × 8 matrices by 8 × 8 ones with one instruction, mma.sync m16n8k8, that
// rounds its factors to 11 bits of mantissa (tf32) and adds in fp32; the pipeline of `async` feeds it. It should lift
// the limit of arithmetic eightfold (A100: 156 against 19.5 Tflop/s), so that the layers of 512 channels become bound
// by memory too.
#include "kernels/pointwise_conv/pipeline.h"

namespace kernels::KERNEL_TARGET {

using Tf32Pipeline = PointwisePipeline<WarpMma<Tf32>, float>;

extern const PointwiseConv pointwise_conv_tf32 = {
    .name = "tf32",
    .idea = "tensor cores, mma.sync m16n8k8: factors of 11 bits, sums in fp32",
    .provider = Provider::native,
    .supports = Tf32Pipeline::supports,
    .workspace = Tf32Pipeline::workspace,
    .forward = Tf32Pipeline::forward,
    .backward_data = Tf32Pipeline::backward_data,
    .backward_weight = Tf32Pipeline::backward_weight,
    .forward_fused = Tf32Pipeline::forward_fused,
    .backward_fused = Tf32Pipeline::backward_fused,
    .forward_folded = Tf32Pipeline::forward_folded,
    .precision = Precision::tf32,
};

}  // namespace kernels::KERNEL_TARGET
