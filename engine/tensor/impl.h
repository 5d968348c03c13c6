// What a Tensor handle points to. For tensor.cpp and autograd.cpp only.
#pragma once

#include "engine/device/device.h"
#include "engine/tensor/tensor.h"

namespace engine {

struct Tensor::Impl {
  std::shared_ptr<Buffer> memory;  // shared by views
  Shape shape;
  DType dtype;
  DeviceType device;

  bool requires_grad = false;
  Tensor grad;            // of a leaf: made once, then reused
  bool has_grad = false;  // whether backward wrote it since zero_grad()
  std::shared_ptr<Function> creator;
};

}  // namespace engine
