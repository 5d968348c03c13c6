#include "kernels/global_avg_pool/global_avg_pool.h"

namespace kernels::reference {

void global_avg_pool_forward(const GlobalAvgPoolShape& s, const double* x, double* y) {
  const int64_t P = s.positions, C = s.channels;
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t c = 0; c < C; ++c) {
      double sum = 0;
      for (int64_t p = 0; p < P; ++p) sum += x[(n * P + p) * C + c];
      y[n * C + c] = sum / P;
    }
}

void global_avg_pool_backward(const GlobalAvgPoolShape& s, const double* dy, double* dx) {
  const int64_t P = s.positions, C = s.channels;
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t p = 0; p < P; ++p)
      for (int64_t c = 0; c < C; ++c) dx[(n * P + p) * C + c] = dy[n * C + c] / P;
}

}  // namespace kernels::reference
