#include "engine/tensor/tensor.h"

#include <fmt/format.h>

#include "engine/device/device.h"
#include "engine/error.h"
#include "engine/tensor/impl.h"
#include "kernels/common/bf16.h"

namespace engine {
namespace {

std::string describe(const Tensor& t) {
  return fmt::format("{} {} on {}", to_string(t.dtype()), to_string(t.shape()), to_string(t.device()));
}

// Puts a copy on the stream of `type`, whose memory lies at the device's end of it.
void copy(DeviceType type, void* to, const void* from, size_t bytes, CopyKind kind) {
  if (bytes == 0) return;
  Device& d = device(type);
  try {
    d.runtime().copy(to, from, bytes, kind, d.stream());
  } catch (const kernels::Error& error) {
    throw Error("copy", fmt::format("{} bytes on {}: {}", bytes, to_string(type), error.what()));
  }
}

}  // namespace

int64_t count(const Shape& shape) {
  int64_t product = 1;
  for (const int64_t size : shape)
    if (size < 0 || __builtin_mul_overflow(product, size, &product))
      throw Error("shape", to_string(shape) + " has a negative size, or too many elements");
  return product;
}

std::string to_string(const Shape& shape) {
  std::string text;
  for (const int64_t size : shape) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "(" + text + ")";
}

size_t size_of(DType dtype) { return dtype == DType::uint8 ? 1 : dtype == DType::bfloat16 ? 2 : 4; }

const char* to_string(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return "float32";
    case DType::int32:
      return "int32";
    case DType::uint8:
      return "uint8";
    case DType::bfloat16:
      return "bfloat16";
  }
  return "?";
}

template <>
DType dtype_of<float>() {
  return DType::float32;
}
template <>
DType dtype_of<int32_t>() {
  return DType::int32;
}
template <>
DType dtype_of<uint8_t>() {
  return DType::uint8;
}
template <>
DType dtype_of<kernels::Bf16>() {
  return DType::bfloat16;
}

Tensor Tensor::empty(Shape shape, DeviceType type, DType dtype) {
  const int64_t n = engine::count(shape);
  if (n > INT64_MAX / 8) throw Error("tensor", to_string(shape) + " has too many elements");
  Tensor tensor;
  tensor.impl_ = std::make_shared<Impl>();
  tensor.impl_->memory = std::make_shared<Buffer>(engine::device(type), n * size_of(dtype));
  tensor.impl_->shape = std::move(shape);
  tensor.impl_->dtype = dtype;
  tensor.impl_->device = type;
  return tensor;
}

Tensor Tensor::zeros(Shape shape, DeviceType device, DType dtype) {
  Tensor tensor = empty(std::move(shape), device, dtype);
  tensor.fill(0);
  return tensor;
}

Tensor::Impl& Tensor::impl() const {
  if (impl_ == nullptr) throw Error("tensor", "an undefined tensor was used");
  return *impl_;
}

const Shape& Tensor::shape() const { return impl().shape; }
int64_t Tensor::count() const { return engine::count(shape()); }
DType Tensor::dtype() const { return impl().dtype; }
DeviceType Tensor::device() const { return impl().device; }
size_t Tensor::bytes() const { return count() * size_of(dtype()); }
void* Tensor::data() const { return impl().memory->data(); }

int64_t Tensor::size(size_t dimension) const {
  if (dimension >= shape().size())
    throw Error("tensor", fmt::format("{} has no dimension {}", to_string(shape()), dimension));
  return shape()[dimension];
}

void* Tensor::data(DType wanted) const {
  if (dtype() != wanted) throw Error("tensor", fmt::format("{} used as {}", describe(*this), to_string(wanted)));
  return data();
}

void Tensor::write(const void* values, size_t n, DType type) {
  void* to = data(type);
  if (static_cast<int64_t>(n) != count())
    throw Error("write", fmt::format("{} values do not fit {}", n, describe(*this)));
  copy(device(), to, values, bytes(), CopyKind::host_to_device);
}

void Tensor::read(void* values, size_t n, DType type) const {
  const void* from = data(type);
  if (static_cast<int64_t>(n) != count()) throw Error("read", fmt::format("{} into {} values", describe(*this), n));
  copy(device(), values, from, bytes(), CopyKind::device_to_host);
  engine::device(device()).synchronize();
}

void Tensor::copy_from(const Tensor& other) {
  if (shape() != other.shape() || dtype() != other.dtype())
    throw Error("copy_from", fmt::format("{} into {}", describe(other), describe(*this)));
  if (device() == other.device()) {
    copy(device(), data(), other.data(), bytes(), CopyKind::device_to_device);
    return;
  }
  // Between the devices. The CPU device's memory is the host's; only its stream has to have caught up.
  engine::device(DeviceType::cpu).synchronize();
  const CopyKind kind = device() == DeviceType::cuda ? CopyKind::host_to_device : CopyKind::device_to_host;
  copy(DeviceType::cuda, data(), other.data(), bytes(), kind);
  engine::device(DeviceType::cuda).synchronize();
}

Tensor Tensor::copy_to(DeviceType device) const {
  Tensor copied = empty(shape(), device, dtype());
  copied.copy_from(*this);
  return copied;
}

void Tensor::fill(double value) {
  if (value == 0) {
    Device& d = engine::device(device());
    if (bytes() > 0) d.runtime().fill(data(), 0, bytes(), d.stream());
    return;
  }
  switch (dtype()) {
    case DType::float32:
      return write<float>(std::vector<float>(count(), static_cast<float>(value)));
    case DType::int32:
      return write<int32_t>(std::vector<int32_t>(count(), static_cast<int32_t>(value)));
    case DType::uint8:
      return write<uint8_t>(std::vector<uint8_t>(count(), static_cast<uint8_t>(value)));
    case DType::bfloat16:
      return write<kernels::Bf16>(std::vector<kernels::Bf16>(count(), kernels::to_bf16(static_cast<float>(value))));
  }
}

Tensor Tensor::view(Shape shape) const {
  if (engine::count(shape) != count()) throw Error("view", fmt::format("{} as {}", describe(*this), to_string(shape)));
  Tensor tensor;
  tensor.impl_ = std::make_shared<Impl>();
  tensor.impl_->memory = impl().memory;
  tensor.impl_->shape = std::move(shape);
  tensor.impl_->dtype = dtype();
  tensor.impl_->device = device();
  return tensor;
}

bool Tensor::shares_memory_with(const Tensor& other) const { return impl().memory == other.impl().memory; }

bool Tensor::requires_grad() const { return impl().requires_grad; }

Tensor& Tensor::set_requires_grad(bool on) {
  if (creator() != nullptr) throw Error("set_requires_grad", "only leaves can be told; this is a function's result");
  if (dtype() != DType::float32) throw Error("set_requires_grad", describe(*this) + " cannot have a gradient");
  impl().requires_grad = on;
  return *this;
}

Tensor Tensor::grad() const { return impl().has_grad ? impl().grad : Tensor(); }

Tensor Tensor::grad_buffer() const {
  if (!impl().grad.defined()) impl().grad = empty(shape(), device(), dtype());
  return impl().grad;
}

void Tensor::zero_grad() const { impl().has_grad = false; }

const std::shared_ptr<Function>& Tensor::creator() const { return impl().creator; }

}  // namespace engine
