// The matrix product on vectors (common/simd_product.h): a tile of y in registers, the weights packed. The fused passes
// rebuild a and dz block by block where a task is about to read them, and sum over what a task has just written.
#include "kernels/common/simd_norm.h"
#include "kernels/common/simd_product.h"
#include "kernels/pointwise_conv/pointwise_conv.h"

namespace kernels::cpu::SIMD_LEVEL {
namespace {

// Floats of a task's own copy of some rows of one operand: with 96 rows, up to 1024 channels.
constexpr int64_t operand_floats = ProductTasks::most_rows * 1024;

// Rows of `channels` channels that fit, in whole tiles where that is possible.
int64_t operand_rows(int64_t channels) {
  const int64_t rows = smaller(ProductTasks::most_rows, operand_floats / channels);
  return rows < tile_rows ? rows : rows / tile_rows * tile_rows;
}

// How the passes are cut into tasks, and where in the workspace things lie. The plain passes take only `packed` and
// `parts`, each from the workspace's start.
struct Plan {
  ProductTasks forward, data;
  SplitProduct weight, weight_fused;
  int64_t packed, partials, parts;  // floats, doubles, floats
  explicit Plan(const PointwiseConvShape& s)
      : forward(s.rows, s.out_channels, operand_rows(s.in_channels)),
        data(s.rows, s.in_channels, operand_rows(s.out_channels)),
        weight(s.out_channels, s.in_channels, s.rows),
        weight_fused(s.out_channels, s.in_channels, s.rows,
                     smaller(SplitProduct::most_block, operand_floats / s.out_channels)) {
    const int64_t C = s.in_channels, O = s.out_channels;
    packed = larger(packed_size(C, O), packed_size(O, C));
    partials = 2 * larger(data.row_blocks * C, forward.row_blocks * O);
    parts = larger(weight.partial_size(), weight_fused.partial_size());
  }
  size_t bytes() const { return 8 * static_cast<size_t>(partials) + 4 * static_cast<size_t>(packed + parts); }
  double* partials_of(const Context& context) const { return static_cast<double*>(context.workspace); }
  float* packed_of(const Context& context) const { return reinterpret_cast<float*>(partials_of(context) + partials); }
  float* parts_of(const Context& context) const { return packed_of(context) + packed; }
};

void forward(Context& context, const PointwiseConvShape& s, const float* x, const float* w, float* y) {
  auto* packed = static_cast<float*>(context.workspace);
  pack(context, Order::transposed, s.in_channels, s.out_channels, w, s.in_channels, packed);
  multiply(context, s.rows, s.in_channels, s.out_channels, x, packed, y);
}

void backward_data(Context& context, const PointwiseConvShape& s, const float* dy, const float* w, float* dx) {
  auto* packed = static_cast<float*>(context.workspace);
  pack(context, Order::rows, s.out_channels, s.in_channels, w, s.in_channels, packed);
  multiply(context, s.rows, s.out_channels, s.in_channels, dy, packed, dx);
}

void backward_weight(Context& context, const PointwiseConvShape& s, const float* x, const float* dy, float* dw) {
  const int64_t C = s.in_channels, O = s.out_channels;
  multiply_transposed<1>(
      context, Plan(s).weight, static_cast<float*>(context.workspace),
      [=](int64_t k, int64_t, float*) { return dy + k * O; },
      [=](int64_t k, int64_t depth, int64_t first, int64_t columns, float* panel) {
        pack_panel(Order::rows, depth, columns, x + k * C + first, C, panel);
      },
      dw);
}

void forward_folded(Context& context, const PointwiseConvShape& s, const float* x, const float* w, const float* bias,
                    float* y) {
  const int64_t C = s.in_channels, O = s.out_channels;
  auto* packed = static_cast<float*>(context.workspace);
  const ProductTasks tasks(s.rows, O);
  pack(context, Order::transposed, C, O, w, C, packed);
  parallel_for(context, tasks.count(), [=](int64_t task) {
    const int64_t row = tasks.row(task), rows = smaller(tasks.rows, s.rows - row);
    const int64_t begin = tasks.first_column(task), end = smaller(O, tasks.end_column(task));
    multiply_columns(rows, C, begin, end, x + row * C, packed, y + row * O, O);
    fold_rows(bias, rows, begin, end, O, y + row * O);
  });
}

void forward_fused(Context& context, const PointwiseConvShape& s, const float* x, const FusedNorm& norm_x,
                   const float* w, float* z, const FusedNorm& norm_z) {
  if (s.rows < 2) fail(one_value);
  const Plan plan(s);
  const int64_t C = s.in_channels, O = s.out_channels, M = s.rows;
  double* const partials = plan.partials_of(context);
  float* const packed = plan.packed_of(context);
  const ProductTasks tasks = plan.forward;
  pack(context, Order::transposed, C, O, w, C, packed);
  parallel_for(context, tasks.count(), [=](int64_t task) {
    alignas(64) float a[operand_floats];
    const int64_t row = tasks.row(task), rows = smaller(tasks.rows, M - row);
    const int64_t begin = tasks.first_column(task), end = smaller(O, tasks.end_column(task));
    activate_rows(norm_x, rows, 0, C, C, x + row * C, C, a);
    multiply_columns(rows, C, begin, end, a, packed, z + row * O, O);
    double* const sums = partials + task / tasks.column_groups * 2 * O;
    set_zero(sums + begin, end - begin);
    set_zero(sums + O + begin, end - begin);
    add_statistics(rows, begin, end, O, z + row * O, z + row * O, sums);
  });
  finish_statistics(context, {M, tasks.rows}, O, z, partials, norm_z);
}

void backward_fused(Context& context, const PointwiseConvShape& s, const float* x, const FusedNorm& norm_x,
                    const float* w, const float* z, const FusedNorm& norm_z, const float* du_z, float* du_x,
                    float* dw) {
  const Plan plan(s);
  const int64_t C = s.in_channels, O = s.out_channels, M = s.rows;
  multiply_transposed<operand_floats>(
      context, plan.weight_fused, plan.parts_of(context),
      [=](int64_t k, int64_t depth, float* a) {
        gradient_rows(norm_z, depth, 0, O, O, z + k * O, du_z + k * O, O, a);
        return static_cast<const float*>(a);
      },
      [=](int64_t k, int64_t depth, int64_t first, int64_t columns, float* panel) {
        for (int64_t i = 0; columns < tile_columns && i < depth * tile_columns; ++i) panel[i] = 0;
        activate_rows(norm_x, depth, first, first + columns, C, x + k * C, tile_columns, panel);
      },
      dw);
  double* const partials = plan.partials_of(context);
  float* const packed = plan.packed_of(context);
  const ProductTasks tasks = plan.data;
  pack(context, Order::rows, O, C, w, C, packed);
  parallel_for(context, tasks.count(), [=](int64_t task) {
    alignas(64) float dz[operand_floats];
    const int64_t row = tasks.row(task), rows = smaller(tasks.rows, M - row);
    const int64_t begin = tasks.first_column(task), end = smaller(C, tasks.end_column(task));
    gradient_rows(norm_z, rows, 0, O, O, z + row * O, du_z + row * O, O, dz);
    multiply_columns(rows, O, begin, end, dz, packed, du_x + row * C, C);
    double* const sums = partials + task / tasks.column_groups * 2 * C;
    set_zero(sums + begin, end - begin);
    set_zero(sums + C + begin, end - begin);
    mask_rows(norm_x, rows, begin, end, C, x + row * C, C, du_x + row * C + begin, du_x + row * C, sums);
  });
  finish_gradients(context, M, tasks.row_blocks, C, partials, norm_x);
}

}  // namespace

template <>
const PointwiseConv& simd_row<PointwiseConv>() {
  static constexpr PointwiseConv row = {
      .name = "simd",
      .idea = "a tile of the product in vector registers, the weights packed",
      .provider = Provider::vendor,
      .supports =
          [](const PointwiseConvShape& s) {
            return s.in_channels <= operand_floats && s.out_channels <= operand_floats;
          },
      .workspace = [](const PointwiseConvShape& s) { return Plan(s).bytes(); },
      .forward = forward,
      .backward_data = backward_data,
      .backward_weight = backward_weight,
      .forward_fused = forward_fused,
      .backward_fused = backward_fused,
      .forward_folded = forward_folded,
  };
  return row;
}

}  // namespace kernels::cpu::SIMD_LEVEL
