// Idea: the product on tensor cores, as the pointwise convolution's rung of this name (common/product_pipeline.h):
// tiles come by cp.async, mma.sync m16n8k8 rounds its factors to 11 bits of mantissa. Bias and its gradient stay fp32.
// It should pay where there are many classes; with ten, a classifier is a small part of a step however it is computed.
#include "kernels/common/product_pipeline.h"
#include "kernels/linear/tail.h"

namespace kernels::KERNEL_TARGET {

using LinearTf32 = WarpMma<Tf32>;
template <bool aligned>
using LinearLoad = Copied<aligned ? 4 : 1, float>;
template <bool aligned>
using LinearStore = Bare<aligned ? 4 : 1, float>;

// parts[s] = x · wᵀ, summed over the s-th `length` inputs, s = blockIdx.y
template <int columns, bool aligned>
__global__ __launch_bounds__(pipeline_threads<LinearTf32, columns>) void linear_tf32_forward(
    int rows, int in, int out, const float* x, const float* w,
    float* parts,  // (splits, M, Out)
    int length) {
  const int begin = static_cast<int>(blockIdx.y) * length, end = length < in - begin ? begin + length : in;
  pipeline_product<LinearTf32, Contiguous::k, Contiguous::k, columns, LinearLoad<aligned>, LinearLoad<aligned>,
                   LinearStore<aligned>>({x, nullptr, in, {}}, {w, nullptr, in, {}},
                                         {parts + blockIdx.y * (int64_t{rows} * out), nullptr, {}, {}}, rows, out,
                                         begin, end);
}

// dx = dy · w
template <int columns, bool aligned>
__global__ __launch_bounds__(pipeline_threads<LinearTf32, columns>) void linear_tf32_backward_data(
    int rows, int in, int out, const float* dy, const float* w, float* dx) {
  pipeline_product<LinearTf32, Contiguous::k, Contiguous::row, columns, LinearLoad<aligned>, LinearLoad<aligned>,
                   LinearStore<aligned>>({dy, nullptr, out, {}}, {w, nullptr, in, {}}, {dx, nullptr, {}, {}}, rows, in,
                                         0, out);
}

// parts[s] = dyᵀ · x, summed over the s-th `length` rows, s = blockIdx.y
template <int columns, bool aligned>
__global__ __launch_bounds__(pipeline_threads<LinearTf32, columns>) void linear_tf32_backward_weight(
    int rows, int in, int out, const float* x, const float* dy,
    float* parts,  // (splits, Out, In)
    int length) {
  const int begin = static_cast<int>(blockIdx.y) * length, end = length < rows - begin ? begin + length : rows;
  pipeline_product<LinearTf32, Contiguous::row, Contiguous::row, columns, LinearLoad<aligned>, LinearLoad<aligned>,
                   LinearStore<aligned>>({dy, nullptr, out, {}}, {x, nullptr, in, {}},
                                         {parts + blockIdx.y * (int64_t{out} * in), nullptr, {}, {}}, out, in, begin,
                                         end);
}

// Calls with(columns, aligned) to launch one of a kernel's instances; what is not aligned has wide tiles only.
template <class With>
static void choose_instance(int64_t n, bool aligned, With with) {
  if (!aligned)
    with(std::integral_constant<int, product_wide>(), std::false_type());
  else if (product_columns(n) == product_wide)
    with(std::integral_constant<int, product_wide>(), std::true_type());
  else
    with(std::integral_constant<int, product_narrow>(), std::true_type());
}
static dim3 grid(int64_t m, int64_t n, int columns, int splits) {
  return dim3(ceil_div(m, product_rows) * ceil_div(n, columns), splits);
}

static void forward(Context& context, const LinearShape& s, const float* x, const float* w, const float* b, float* y) {
  const Split split = product_split(s.rows, s.out_features, s.in_features);
  float* parts = split.count == 1 ? y : static_cast<float*>(context.workspace);
  choose_instance(
      s.out_features, all_aligned({x, w, parts}, {s.in_features, s.out_features}), [&](auto columns, auto aligned) {
        launch(context, linear_tf32_forward<columns, aligned>, grid(s.rows, s.out_features, columns, split.count),
               pipeline_block<LinearTf32, columns, (aligned ? 4 : 1)>(), 0, s.rows, s.in_features, s.out_features, x, w,
               parts, split.length);
      });
  linear_add_bias(context, s, split.count, parts, b, y);
}

static void backward_data(Context& context, const LinearShape& s, const float* dy, const float* w, float* dx) {
  choose_instance(
      s.in_features, all_aligned({dy, w, dx}, {s.in_features, s.out_features}), [&](auto columns, auto aligned) {
        launch(context, linear_tf32_backward_data<columns, aligned>, grid(s.rows, s.in_features, columns, 1),
               pipeline_block<LinearTf32, columns, (aligned ? 4 : 1)>(), 0, s.rows, s.in_features, s.out_features, dy,
               w, dx);
      });
}

static void backward_weight(Context& context, const LinearShape& s, const float* x, const float* dy, float* dw,
                            float* db) {
  const Split split = product_split(s.out_features, s.in_features, s.rows);
  float* parts = split.count == 1 ? dw : static_cast<float*>(context.workspace);
  choose_instance(s.in_features, all_aligned({x, dy, parts}, {s.in_features, s.out_features}),
                  [&](auto columns, auto aligned) {
                    launch(context, linear_tf32_backward_weight<columns, aligned>,
                           grid(s.out_features, s.in_features, columns, split.count),
                           pipeline_block<LinearTf32, columns, (aligned ? 4 : 1)>(), 0, s.rows, s.in_features,
                           s.out_features, x, dy, parts, split.length);
                  });
  if (split.count > 1) linear_add_parts(context, s, split.count, parts, dw);
  linear_backward_bias(context, s, dy, db);
}

extern const Linear linear_tf32 = {
    .name = "tf32",
    .idea = "tensor cores, mma.sync m16n8k8: factors of 11 bits, sums in fp32",
    .provider = Provider::native,
    .supports = [](const LinearShape&) { return true; },
    .workspace = linear_product_workspace,
    .forward = forward,
    .backward_data = backward_data,
    .backward_weight = backward_weight,
    .precision = Precision::tf32,
};

}  // namespace kernels::KERNEL_TARGET
