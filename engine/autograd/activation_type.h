// The functions are templates over the type of the activations, float or bfloat16. The first convolution of a network
// decides it, by the device's policy, and the functions behind it take what they are given.
#pragma once

#include "engine/device/device.h"
#include "engine/tensor/tensor.h"
#include "kernels/common/bf16.h"

namespace engine {

inline DType activation_type(const Device& d) {
  return d.policy.precision == kernels::Precision::bf16 ? DType::bfloat16 : DType::float32;
}

// with(T()), T the type of an element.
template <class With>
auto for_type(DType dtype, With with) {
  return dtype == DType::bfloat16 ? with(kernels::Bf16()) : with(float());
}

}  // namespace engine
