// ReLU6 (Krizhevsky 2010): y = min(max(x, 0), 6); dx = dy where 0 < x < 6, else 0 (as PyTorch at the corners). NaN
// stays NaN.
#pragma once

#include "kernels/common/bf16.h"
#include "kernels/common/table.h"

namespace kernels {

struct Relu6Shape {
  int64_t count;  // elements
};

// T: the type of all arrays, float or Bf16 (common/bf16.h).
template <class T>
struct Relu6Of {
  static constexpr const char* operation = "relu6";
  const char* name;
  const char* idea;
  Provider provider;
  bool (*supports)(const Relu6Shape&);
  size_t (*workspace)(const Relu6Shape&);
  void (*forward)(Context&, const Relu6Shape&, const T* x, T* y);                 // (count) each; may alias
  void (*backward)(Context&, const Relu6Shape&, const T* x, const T* dy, T* dx);  // x is the forward's input
};
using Relu6 = Relu6Of<float>;

namespace reference {
void relu6_forward(const Relu6Shape&, const double* x, double* y);
void relu6_backward(const Relu6Shape&, const double* x, const double* dy, double* dx);
}  // namespace reference

}  // namespace kernels
