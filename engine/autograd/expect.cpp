#include "engine/autograd/expect.h"

#include <fmt/format.h>

#include <climits>

#include "engine/device/device.h"
#include "engine/error.h"

namespace engine {

namespace {

std::string pattern_to_string(const Shape& pattern) {
  std::string text;
  for (const int64_t size : pattern) text += (text.empty() ? "" : ", ") + (size == any ? "*" : std::to_string(size));
  return "(" + text + ")";
}

}  // namespace

void expect(const char* operation, const char* name, const Tensor& t, const Shape& pattern, DType dtype) {
  bool fits = t.shape().size() == pattern.size();
  for (size_t i = 0; fits && i < pattern.size(); ++i)
    fits = t.shape()[i] > 0 && t.shape()[i] <= INT_MAX && (pattern[i] == any || t.shape()[i] == pattern[i]);
  if (!fits || t.dtype() != dtype)
    throw Error(operation, fmt::format("{} is {} {}, expected {} {}", name, to_string(t.dtype()), to_string(t.shape()),
                                       to_string(dtype), pattern_to_string(pattern)));
}

void expect(const char* operation, const char* name, const Tensor& t, const Shape& pattern, const Tensor& x) {
  if (t.device() != x.device())
    throw Error(operation, fmt::format("{} is on {}, x on {}", name, to_string(t.device()), to_string(x.device())));
  try {
    expect(operation, name, t, pattern);
  } catch (const Error&) {
    throw Error(operation, fmt::format("{} is {} {}, but x {} needs float32 {}", name, to_string(t.dtype()),
                                       to_string(t.shape()), to_string(x.shape()), pattern_to_string(pattern)));
  }
}

void expect_stride(const char* operation, int stride) {
  if (stride != 1 && stride != 2) throw Error(operation, fmt::format("stride {} is neither 1 nor 2", stride));
}

int64_t channels_of(const char* operation, const Tensor& x, DType dtype) {
  if (x.shape().empty() || x.dtype() != dtype || x.count() == 0 || x.shape().back() > INT_MAX)
    throw Error(operation, fmt::format("x is {} {}, expected {} with a last dimension of channels",
                                       to_string(x.dtype()), to_string(x.shape()), to_string(dtype)));
  return x.shape().back();
}

}  // namespace engine
