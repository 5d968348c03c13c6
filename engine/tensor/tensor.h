// Tensor: a shape, a type, a device, and memory that several handles may share.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/device/runtime.h"

namespace engine {

class Function;  // engine/autograd: how a tensor came about

using Shape = std::vector<int64_t>;
int64_t count(const Shape&);          // elements: the product of the sizes; 1 for the empty shape
std::string to_string(const Shape&);  // "(128, 32, 32, 3)"

enum class DType { float32, int32, uint8, bfloat16 };
size_t size_of(DType);  // bytes an element
const char* to_string(DType);
template <class T>
DType dtype_of();  // float, int32_t, uint8_t, kernels::Bf16

// A handle: copying it shares memory, gradient and history, as in PyTorch, and `const` is the handle's, not the
// memory's. Elements are contiguous, the last dimension runs fastest; activations are NHWC. All work runs in order on
// the device's stream: what reads an element back (to_host, read, item) waits for it, nothing else does.
class Tensor {
 public:
  Tensor() = default;  // no tensor: defined() is false, and nothing else may be asked of it

  static Tensor empty(Shape, DeviceType, DType = DType::float32);  // contents undefined
  static Tensor zeros(Shape, DeviceType, DType = DType::float32);
  // Throws Error where the number of values does not fit the shape.
  template <class T>
  static Tensor from_host(const std::vector<T>& values, Shape shape, DeviceType device) {
    Tensor tensor = empty(std::move(shape), device, dtype_of<T>());
    tensor.write<T>(values);
    return tensor;
  }

  bool defined() const { return impl_ != nullptr; }
  const Shape& shape() const;
  int64_t size(size_t dimension) const;  // throws Error where there is no such dimension
  int64_t count() const;                 // elements
  DType dtype() const;
  DeviceType device() const;
  size_t bytes() const;

  // Device memory; nullptr where count() is 0. data<T>() throws Error where T is not the tensor's type.
  void* data() const;
  template <class T>
  T* data() const {
    return static_cast<T*>(data(dtype_of<T>()));
  }

  // Host to device and back; the number of elements must fit. The host's memory is free for reuse on return.
  template <class T>
  void write(std::span<const T> values) {
    write(values.data(), values.size(), dtype_of<T>());
  }
  template <class T>
  void read(std::span<T> values) const {
    read(values.data(), values.size(), dtype_of<T>());
  }
  template <class T>
  std::vector<T> to_host() const {
    std::vector<T> values(count());
    read<T>(values);
    return values;
  }
  // The only element. Throws Error where there are several.
  template <class T>
  T item() const {
    T value;
    read(&value, 1, dtype_of<T>());
    return value;
  }

  void copy_from(const Tensor& other);  // same shape and type, any device; throws Error with both shapes else
  Tensor copy_to(DeviceType) const;     // a new tensor, without history
  void fill(double value);

  // The same memory under another shape of as many elements, without history; engine::reshape is the recorded one.
  Tensor view(Shape) const;
  bool shares_memory_with(const Tensor&) const;

  // --- autograd ---
  // A leaf that wants a gradient: a parameter. What is computed from it wants one too.
  bool requires_grad() const;
  Tensor& set_requires_grad(bool);  // throws Error on a tensor that a function made

  // The gradient that backward() left in a leaf, or an undefined tensor where there is none since zero_grad(). Its
  // memory stays at one address for the leaf's life: grad_buffer() is that memory, made when first asked for, contents
  // undefined until backward() wrote it. The first gradient after zero_grad() overwrites it, further ones are added.
  Tensor grad() const;
  Tensor grad_buffer() const;
  void zero_grad() const;  // forgets the gradient; touches no memory

  // The function that made this tensor; nullptr for a leaf and for what was computed under NoGrad.
  const std::shared_ptr<Function>& creator() const;

 private:
  friend class Function;
  friend class Gradients;
  struct Impl;
  Impl& impl() const;  // throws Error where undefined
  void* data(DType) const;
  void write(const void* values, size_t count, DType);
  void read(void* values, size_t count, DType) const;
  std::shared_ptr<Impl> impl_;
};

}  // namespace engine
