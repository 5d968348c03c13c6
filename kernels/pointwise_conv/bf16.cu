// Idea: activations of two bytes. They are bfloat16 in memory, so half as much is moved, and mma.sync m16n8k16
// multiplies twice as deep as tf32's instruction. ldmatrix brings a warp's fragments from shared memory, four 8 × 8
// matrices an instruction, transposed on the way where the operand lies so. Weights stay float in memory and are
// rounded as they are loaded; sums are fp32. It should halve the time of the layers that memory bounds, which with
// tensor cores are most.
#include "kernels/pointwise_conv/pipeline.h"

namespace kernels::KERNEL_TARGET {

using Bf16Pipeline = PointwisePipeline<WarpMma<Bf16>, Bf16>;

extern const PointwiseConvOf<Bf16> pointwise_conv_bf16 = {
    .name = "bf16",
    .idea = "bfloat16 activations, tensor cores with mma.sync m16n8k16 and ldmatrix",
    .provider = Provider::native,
    .supports = Bf16Pipeline::supports,
    .workspace = Bf16Pipeline::workspace,
    .forward = Bf16Pipeline::forward,
    .backward_data = Bf16Pipeline::backward_data,
    .backward_weight = Bf16Pipeline::backward_weight,
    .forward_fused = Bf16Pipeline::forward_fused,
    .backward_fused = Bf16Pipeline::backward_fused,
    .forward_folded = Bf16Pipeline::forward_folded,
    .precision = Precision::bf16,
};

}  // namespace kernels::KERNEL_TARGET
