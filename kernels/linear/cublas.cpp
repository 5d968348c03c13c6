// cuBLASLt, three products: the bias is the forward's epilogue, and its gradient a product with a row of ones.
#include "kernels/common/cublas.h"
#include "kernels/linear/linear.h"

namespace kernels::KERNEL_TARGET {
namespace {

template <Precision precision>
void forward(Context& context, const LinearShape& s, const float* x, const float* w, const float* b, float* y) {
  cublas::run(context, cublas::forward_shape<float, float>(s.rows, s.in_features, s.out_features, precision, true), w,
              x, y, context.workspace, b);
}
template <Precision precision>
void backward_data(Context& context, const LinearShape& s, const float* dy, const float* w, float* dx) {
  cublas::run(context, cublas::backward_data_shape<float, float>(s.rows, s.in_features, s.out_features, precision), w,
              dy, dx, context.workspace);
}
template <Precision precision>
void backward_weight(Context& context, const LinearShape& s, const float* x, const float* dy, float* dw, float* db) {
  cublas::run(context, cublas::backward_weight_shape<float>(s.rows, s.in_features, s.out_features, precision), x, dy,
              dw, context.workspace);
  // db (Out, 1) = dyᵀ · 1 (M, 1): a sum, so in fp32 in every row.
  cublas::run(context, cublas::backward_weight_shape<float>(s.rows, 1, s.out_features, Precision::fp32),
              cublas::ones(context, s.rows), dy, db, context.workspace);
}

}  // namespace

extern const Linear linear_cublas = {
    .name = "cublas",
    .idea = "cuBLASLt's fp32 product",
    .provider = Provider::vendor,
    .supports = [](const LinearShape&) { return true; },
    .workspace = [](const LinearShape& s) { return cublas::workspace_with_bias(s.out_features); },
    .forward = forward<Precision::fp32>,
    .backward_data = backward_data<Precision::fp32>,
    .backward_weight = backward_weight<Precision::fp32>,
};

extern const Linear linear_cublas_tf32 = {
    .name = "cublas_tf32",
    .idea = "cuBLASLt's product of factors rounded to tf32",
    .provider = Provider::vendor,
    .supports = [](const LinearShape&) { return true; },
    .workspace = [](const LinearShape& s) { return cublas::workspace_with_bias(s.out_features); },
    .forward = forward<Precision::tf32>,
    .backward_data = backward_data<Precision::tf32>,
    .backward_weight = backward_weight<Precision::tf32>,
    .precision = Precision::tf32,
};

}  // namespace kernels::KERNEL_TARGET
