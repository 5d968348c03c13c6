// bfloat16: the upper half of a float, 8 bits of exponent and 7 of mantissa. Plain C++, for kernels, host code and
// tests.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/common/host_device.h"

namespace kernels {

struct Bf16 {
  uint16_t bits;
};

HOST_DEVICE inline float to_float(Bf16 x) {
  const uint32_t bits = uint32_t{x.bits} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
HOST_DEVICE inline float to_float(float x) { return x; }

// To the nearest, ties to even: an error of at most 2⁻⁸ of the value. Beyond the largest comes infinity; NaN stays NaN.
// On a GPU from compute capability 8.0 on, one instruction that does the same, bits of a NaN included.
HOST_DEVICE inline Bf16 to_bf16(float x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  Bf16 result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(x));
  return result;
#else
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {0x7fff};
  return {static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16)};
#endif
}

// A float as an element of an array of T, float or Bf16.
template <class T>
HOST_DEVICE T from_float(float x);
template <>
HOST_DEVICE inline float from_float<float>(float x) {
  return x;
}
template <>
HOST_DEVICE inline Bf16 from_float<Bf16>(float x) {
  return to_bf16(x);
}

}  // namespace kernels
