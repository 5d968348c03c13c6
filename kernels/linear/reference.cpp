#include "kernels/linear/linear.h"

namespace kernels::reference {

void linear_forward(const LinearShape& s, const double* x, const double* w, const double* b, double* y) {
  for (int64_t m = 0; m < s.rows; ++m)
    for (int64_t o = 0; o < s.out_features; ++o) {
      double sum = b[o];
      for (int i = 0; i < s.in_features; ++i) sum += x[m * s.in_features + i] * w[o * s.in_features + i];
      y[m * s.out_features + o] = sum;
    }
}

void linear_backward_data(const LinearShape& s, const double* dy, const double* w, double* dx) {
  for (int64_t m = 0; m < s.rows; ++m)
    for (int64_t i = 0; i < s.in_features; ++i) {
      double sum = 0;
      for (int64_t o = 0; o < s.out_features; ++o) sum += dy[m * s.out_features + o] * w[o * s.in_features + i];
      dx[m * s.in_features + i] = sum;
    }
}

void linear_backward_weight(const LinearShape& s, const double* x, const double* dy, double* dw, double* db) {
  for (int64_t o = 0; o < s.out_features; ++o) {
    db[o] = 0;
    for (int64_t m = 0; m < s.rows; ++m) db[o] += dy[m * s.out_features + o];
    for (int64_t i = 0; i < s.in_features; ++i) {
      double sum = 0;
      for (int64_t m = 0; m < s.rows; ++m) sum += dy[m * s.out_features + o] * x[m * s.in_features + i];
      dw[o * s.in_features + i] = sum;
    }
  }
}

}  // namespace kernels::reference
