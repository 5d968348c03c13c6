// What follows the product in the rungs that are one (register_tile, tf32): the sums of split parts and the bias.
// Defined in register_tile.cu.
#pragma once

#include "kernels/common/product.h"
#include "kernels/linear/linear.h"

namespace kernels::KERNEL_TARGET {

// Of the parts of forward and of the weight gradient.
inline size_t linear_product_workspace(const LinearShape& s) {
  return std::max(product_workspace(s.rows, s.out_features, s.in_features),
                  product_workspace(s.out_features, s.in_features, s.rows));
}

// y[m,o] = b[o] + Σ_s parts[s,m,o], s ascending; parts (splits, M, Out), which is y itself where there is one.
void linear_add_bias(Context&, const LinearShape&, int splits, const float* parts, const float* b, float* y);
// dw = Σ_s parts[s], s ascending; parts (splits, Out, In)
void linear_add_parts(Context&, const LinearShape&, int splits, const float* parts, float* dw);
// db[o] = Σ_m dy[m,o]
void linear_backward_bias(Context&, const LinearShape&, const float* dy, float* db);

}  // namespace kernels::KERNEL_TARGET
