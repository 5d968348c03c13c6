// Sum of two arrays: y[i] = a[i] + b[i]. Autograd adds up gradients with it where a tensor has several uses.
#pragma once

#include "kernels/common/table.h"

namespace kernels {

struct AddShape {
  int64_t count;  // elements
};

struct Add {
  static constexpr const char* operation = "add";
  const char* name;
  const char* idea;
  Provider provider;
  bool (*supports)(const AddShape&);
  size_t (*workspace)(const AddShape&);
  void (*forward)(Context&, const AddShape&, const float* a, const float* b,
                  float* y);  // (count) each; y may alias a or b
};

namespace reference {
void add_forward(const AddShape&, const double* a, const double* b, double* y);
}  // namespace reference

}  // namespace kernels
