// Idea: a thread computes 8 × 8 outputs in registers, so that a value read from shared memory serves eight
// multiply-adds instead of one, and all loads are of 16 bytes (kernels/common/product.h). It should lift the limit from
// the bandwidth of shared memory to the arithmetic. One product serves the three passes, which differ in how their
// operands lie in memory. The weight gradient has few outputs and a long sum: its rows are split over blocks that each
// write a partial sum, and a second kernel adds those in order.
#include <limits>

#include "kernels/common/product.h"
#include "kernels/pointwise_conv/pointwise_conv.h"

namespace kernels::KERNEL_TARGET {

// y = x · wᵀ
template <int columns, bool aligned>
__global__ __launch_bounds__(product_threads<columns>,
                             product_blocks<columns>) void pointwise_conv_register_tile_forward(int64_t rows, int in,
                                                                                                int out, const float* x,
                                                                                                const float* w,
                                                                                                float* y) {
  product_block<Contiguous::k, Contiguous::k, columns, aligned>({x, in}, {w, in}, y, rows, out, 0, in);
}

// dx = dy · w
template <int columns, bool aligned>
__global__ __launch_bounds__(product_threads<columns>,
                             product_blocks<columns>) void pointwise_conv_register_tile_backward_data(int64_t rows,
                                                                                                      int in, int out,
                                                                                                      const float* dy,
                                                                                                      const float* w,
                                                                                                      float* dx) {
  product_block<Contiguous::k, Contiguous::row, columns, aligned>({dy, out}, {w, in}, dx, rows, in, 0, out);
}

// dw = dyᵀ · x, summed over rows [blockIdx.y · length, … + length) into part blockIdx.y of `parts`
template <int columns, bool aligned>
__global__ __launch_bounds__(
    product_threads<columns>,
    product_blocks<columns>) void pointwise_conv_register_tile_backward_weight(int rows, int in, int out,
                                                                               const float* x, const float* dy,
                                                                               float* parts,  // (splits, Cout, Cin)
                                                                               int length) {
  const int begin = static_cast<int>(blockIdx.y) * length, end = length < rows - begin ? begin + length : rows;
  product_block<Contiguous::row, Contiguous::row, columns, aligned>(
      {dy, out}, {x, in}, parts + blockIdx.y * (int64_t{out} * in), out, in, begin, end);
}

// V neighbours a thread
template <int V>
__global__ __launch_bounds__(256) void pointwise_conv_register_tile_add_parts(int64_t count, int splits,
                                                                              const float* parts,  // (splits, count)
                                                                              float* dw) {         // (count)
  add_parts<V>(count, splits, parts, dw);
}

static void forward(Context& context, const PointwiseConvShape& s, const float* x, const float* w, float* y) {
  choose_product(
      s.out_channels, all_aligned({x, w, y}, {s.in_channels, s.out_channels}), [&](auto columns, auto aligned) {
        launch(context, pointwise_conv_register_tile_forward<columns, aligned>, product_tiles(s.rows, s.out_channels),
               product_threads<columns>, 0, s.rows, s.in_channels, s.out_channels, x, w, y);
      });
}

static void backward_data(Context& context, const PointwiseConvShape& s, const float* dy, const float* w, float* dx) {
  choose_product(s.in_channels, all_aligned({dy, w, dx}, {s.in_channels, s.out_channels}),
                 [&](auto columns, auto aligned) {
                   launch(context, pointwise_conv_register_tile_backward_data<columns, aligned>,
                          product_tiles(s.rows, s.in_channels), product_threads<columns>, 0, s.rows, s.in_channels,
                          s.out_channels, dy, w, dx);
                 });
}

static void backward_weight(Context& context, const PointwiseConvShape& s, const float* x, const float* dy, float* dw) {
  const int64_t count = int64_t{s.out_channels} * s.in_channels;
  const Split split = product_split(s.out_channels, s.in_channels, static_cast<int>(s.rows));
  float* parts = split.count == 1 ? dw : static_cast<float*>(context.workspace);
  choose_product(s.in_channels, all_aligned({x, dy, parts}, {s.in_channels, s.out_channels}),
                 [&](auto columns, auto aligned) {
                   launch(context, pointwise_conv_register_tile_backward_weight<columns, aligned>,
                          dim3(product_tiles(s.out_channels, s.in_channels), split.count), product_threads<columns>, 0,
                          s.rows, s.in_channels, s.out_channels, x, dy, parts, split.length);
                 });
  if (split.count == 1) return;
  const bool four = all_aligned({parts, dw}, {count});
  launch(context, four ? pointwise_conv_register_tile_add_parts<4> : pointwise_conv_register_tile_add_parts<1>,
         ceil_div(count, four ? 4 * 256 : 256), 256, 0, count, split.count, parts, dw);
}

extern const PointwiseConv pointwise_conv_register_tile = {
    .name = "register_tile",
    .idea = "8 × 8 outputs a thread in registers, 16-byte loads, split sums for the weight gradient",
    .provider = Provider::native,
    .supports = [](const PointwiseConvShape& s) { return s.rows <= std::numeric_limits<int>::max(); },
    .workspace = [](const PointwiseConvShape& s) -> size_t {
      return product_workspace(s.out_channels, s.in_channels, static_cast<int>(s.rows));
    },
    .forward = forward,
    .backward_data = backward_data,
    .backward_weight = backward_weight,
};

}  // namespace kernels::KERNEL_TARGET
