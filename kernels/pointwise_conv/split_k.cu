// Idea: with few rows (small maps, batches of 1 to 3) the outputs are too few tiles to fill a GPU. So the sums of
// forward and of the data gradient, over channels, are split over blocks, as the weight gradient's over rows always
// are: each writes its part to the workspace, and a second kernel adds the parts in order. It should keep all
// multiprocessors busy where `async` leaves most of them idle. Shapes with enough tiles are not its business.
#include "kernels/pointwise_conv/pipeline.h"

namespace kernels::KERNEL_TARGET {

using SplitPipeline = PointwisePipeline<ThreadTile, float>;

static Split forward_split(const PointwiseConvShape& s) { return product_split(s.rows, s.out_channels, s.in_channels); }
static Split data_split(const PointwiseConvShape& s) { return product_split(s.rows, s.in_channels, s.out_channels); }

static void forward(Context& context, const PointwiseConvShape& s, const float* x, const float* w, float* y) {
  const Split split = forward_split(s);
  float* parts = split.count == 1 ? y : static_cast<float*>(context.workspace);
  SplitPipeline::forward_parts(context, s, split, x, w, parts);
  if (split.count > 1) SplitPipeline::add(context, s.rows * s.out_channels, split.count, parts, y);
}

static void backward_data(Context& context, const PointwiseConvShape& s, const float* dy, const float* w, float* dx) {
  const Split split = data_split(s);
  float* parts = split.count == 1 ? dx : static_cast<float*>(context.workspace);
  SplitPipeline::backward_data_parts(context, s, split, dy, w, parts);
  if (split.count > 1) SplitPipeline::add(context, s.rows * s.in_channels, split.count, parts, dx);
}

extern const PointwiseConv pointwise_conv_split_k = {
    .name = "split_k",
    .idea = "with few rows, the sums over channels are split over blocks and added in order",
    .provider = Provider::native,
    .supports = [](const PointwiseConvShape& s) { return forward_split(s).count > 1 || data_split(s).count > 1; },
    .workspace =
        [](const PointwiseConvShape& s) {
          return std::max(product_workspace(s.rows, s.out_channels, s.in_channels),
                          product_workspace(s.rows, s.in_channels, s.out_channels));
        },
    .forward = forward,
    .backward_data = backward_data,
    .backward_weight = nullptr,  // every rung from register_tile on splits it
};

}  // namespace kernels::KERNEL_TARGET
