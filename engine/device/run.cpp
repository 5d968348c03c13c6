#include "engine/device/run.h"

#include <fmt/format.h>

#include "kernels/adam/adam.h"
#include "kernels/add/add.h"
#include "kernels/augment/augment.h"
#include "kernels/batchnorm/batchnorm.h"
#include "kernels/conv2d/conv2d.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/depthwise_conv/depthwise_conv.h"
#include "kernels/global_avg_pool/global_avg_pool.h"
#include "kernels/linear/linear.h"
#include "kernels/loss_totals/loss_totals.h"
#include "kernels/pointwise_conv/pointwise_conv.h"
#include "kernels/relu6/relu6.h"

namespace engine {

using fmt::format;

std::string describe(const kernels::AddShape& s) { return format("{} elements", s.count); }
std::string describe(const kernels::AugmentShape& s) {
  return format("batch {}, {}x{} to {}x{}", s.batch, s.in_height, s.in_width, s.out_height, s.out_width);
}
std::string describe(const kernels::BatchNormShape& s) { return format("rows {}, channels {}", s.rows, s.channels); }
std::string describe(const kernels::Conv2dShape& s) {
  return format("batch {}, height {}, width {}, channels {} to {}, stride {}", s.batch, s.height, s.width,
                s.in_channels, s.out_channels, s.stride);
}
std::string describe(const kernels::CrossEntropyShape& s) { return format("batch {}, classes {}", s.batch, s.classes); }
std::string describe(const kernels::DepthwiseConvShape& s) {
  return format("batch {}, height {}, width {}, channels {}, stride {}", s.batch, s.height, s.width, s.channels,
                s.stride);
}
std::string describe(const kernels::GlobalAvgPoolShape& s) {
  return format("batch {}, positions {}, channels {}", s.batch, s.positions, s.channels);
}
std::string describe(const kernels::LinearShape& s) {
  return format("rows {}, features {} to {}", s.rows, s.in_features, s.out_features);
}
std::string describe(const kernels::LossTotalsShape& s) { return format("batch {}", s.batch); }
std::string describe(const kernels::OptimizerShape& s) { return format("{} chunks", s.chunks); }
std::string describe(const kernels::PointwiseConvShape& s) {
  return format("rows {}, channels {} to {}", s.rows, s.in_channels, s.out_channels);
}
std::string describe(const kernels::Relu6Shape& s) { return format("{} elements", s.count); }

}  // namespace engine
