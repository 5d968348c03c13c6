// The passes with batch norm and ReLU6 within (kernels/common/fused_norm.h), for the table of bench_operations.cpp.
#pragma once

#include "tools/bench_operations.h"

namespace tools::bench {

// forward_fused, backward_fused (of conv2d backward_weight_fused: nobody wants the images' gradient), and of the
// convolutions forward_folded.
std::vector<Pass> conv2d_fused_passes();
std::vector<Pass> depthwise_conv_fused_passes();
std::vector<Pass> pointwise_conv_fused_passes();
std::vector<Pass> global_avg_pool_fused_passes();

}  // namespace tools::bench
