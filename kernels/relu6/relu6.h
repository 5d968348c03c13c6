// ReLU6 (Krizhevsky 2010): y = min(max(x, 0), 6); dx = dy where 0 < x < 6, else 0 (as PyTorch at the corners). NaN
// stays NaN.
#pragma once

#include "kernels/common/table.h"

namespace kernels {

struct Relu6Shape {
  int64_t count;  // elements
};

struct Relu6 {
  static constexpr const char* operation = "relu6";
  const char* name;
  const char* idea;
  Provider provider;
  bool (*supports)(const Relu6Shape&);
  size_t (*workspace)(const Relu6Shape&);
  void (*forward)(Context&, const Relu6Shape&, const float* x, float* y);  // (count) each; may alias
  void (*backward)(Context&, const Relu6Shape&, const float* x, const float* dy,
                   float* dx);  // x is the forward's input
};

namespace reference {
void relu6_forward(const Relu6Shape&, const double* x, double* y);
void relu6_backward(const Relu6Shape&, const double* x, const double* dy, double* dx);
}  // namespace reference

}  // namespace kernels
