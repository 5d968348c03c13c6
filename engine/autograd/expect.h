// How the functions check what they are given; each throws Error that names operation and tensor, with both shapes.
#pragma once

#include "engine/tensor/tensor.h"

namespace engine {

constexpr int64_t any = -1;  // in an expected shape

// Unless t is a tensor of the expected shape and type.
void expect(const char* operation, const char* name, const Tensor& t, const Shape& pattern,
            DType dtype = DType::float32);
// The same for what must be float32, fit x, and be on its device.
void expect(const char* operation, const char* name, const Tensor& t, const Shape& pattern, const Tensor& x);
void expect_stride(const char* operation, int stride);  // 1 or 2
// x as rows of its last dimension: the size of that dimension.
int64_t channels_of(const char* operation, const Tensor& x, DType dtype = DType::float32);

}  // namespace engine
