// Fully connected layer: the classifier.
//
//   forward          y[m,o]  = b[o] + Σ_i x[m,i] · w[o,i]
//   backward_data    dx[m,i] = Σ_o dy[m,o] · w[o,i]
//   backward_weight  dw[o,i] = Σ_m dy[m,o] · x[m,i],   db[o] = Σ_m dy[m,o]
//
// Layout: weights [Out,In], as PyTorch's.
#pragma once

#include "kernels/common/table.h"

namespace kernels {

struct LinearShape {
  int rows, in_features, out_features;  // rows = batch
};

struct Linear {
  static constexpr const char* operation = "linear";
  const char* name;
  const char* idea;
  Provider provider;
  bool (*supports)(const LinearShape&);
  size_t (*workspace)(const LinearShape&);  // bytes, enough for each of the passes
  void (*forward)(Context&, const LinearShape&,
                  const float* x,  // (M, In)
                  const float* w,  // (Out, In)
                  const float* b,  // (Out)
                  float* y);       // (M, Out)
  void (*backward_data)(Context&, const LinearShape&,
                        const float* dy,  // (M, Out)
                        const float* w,   // (Out, In)
                        float* dx);       // (M, In)
  void (*backward_weight)(Context&, const LinearShape&,
                          const float* x,   // (M, In)
                          const float* dy,  // (M, Out)
                          float* dw,        // (Out, In)
                          float* db);       // (Out)
  Precision precision = Precision::fp32;
};

namespace reference {
void linear_forward(const LinearShape&, const double* x, const double* w, const double* b, double* y);
void linear_backward_data(const LinearShape&, const double* dy, const double* w, double* dx);
void linear_backward_weight(const LinearShape&, const double* x, const double* dy, double* dw, double* db);
}  // namespace reference

}  // namespace kernels
