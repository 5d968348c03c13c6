// cuBLAS, three products: the bias, repeated for every row, is a product with a column of ones, and its gradient one
// with a row of ones.
#include "kernels/common/cublas.h"
#include "kernels/linear/linear.h"

namespace kernels::KERNEL_TARGET {

extern const Linear linear_cublas = {
    .name = "cublas",
    .idea = "cuBLAS's fp32 product",
    .provider = Provider::vendor,
    .supports = [](const LinearShape&) { return true; },
    .workspace = [](const LinearShape&) -> size_t { return 0; },
    .forward =
        [](Context& context, const LinearShape& s, const float* x, const float* w, const float* b, float* y) {
          cublas::Library& library = cublas::library(context);
          // y = 1 (M, 1) · bᵀ, b (Out, 1)
          cublas::forward(library, s.rows, 1, s.out_features, cublas::ones(library, s.rows), b, 0, y);
          cublas::forward(library, s.rows, s.in_features, s.out_features, x, w, 1, y);
        },
    .backward_data =
        [](Context& context, const LinearShape& s, const float* dy, const float* w, float* dx) {
          cublas::backward_data(cublas::library(context), s.rows, s.in_features, s.out_features, dy, w, dx);
        },
    .backward_weight =
        [](Context& context, const LinearShape& s, const float* x, const float* dy, float* dw, float* db) {
          cublas::Library& library = cublas::library(context);
          cublas::backward_weight(library, s.rows, s.in_features, s.out_features, x, dy, dw);
          // db (Out, 1) = dyᵀ · 1 (M, 1)
          cublas::backward_weight(library, s.rows, 1, s.out_features, cublas::ones(library, s.rows), dy, db);
        },
};

}  // namespace kernels::KERNEL_TARGET
