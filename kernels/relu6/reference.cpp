#include "kernels/relu6/relu6.h"

namespace kernels::reference {

void relu6_forward(const Relu6Shape& s, const double* x, double* y) {
  for (int64_t i = 0; i < s.count; ++i) y[i] = x[i] < 0 ? 0 : x[i] > 6 ? 6 : x[i];
}

void relu6_backward(const Relu6Shape& s, const double* x, const double* dy, double* dx) {
  for (int64_t i = 0; i < s.count; ++i) dx[i] = x[i] > 0 && x[i] < 6 ? dy[i] : 0;
}

}  // namespace kernels::reference
