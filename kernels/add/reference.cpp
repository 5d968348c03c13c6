#include "kernels/add/add.h"

namespace kernels::reference {

void add_forward(const AddShape& s, const double* a, const double* b, double* y) {
  for (int64_t i = 0; i < s.count; ++i) y[i] = a[i] + b[i];
}

}  // namespace kernels::reference
