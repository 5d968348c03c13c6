#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace data {

// A channel's byte v becomes (v / 255 - mean) / std. The defaults are those of CIFAR-10's training images, which the
// article and most recipes use for every set.
struct Normalization {
  std::array<float, 3> mean{0.4914f, 0.4822f, 0.4465f};  // red, green, blue
  std::array<float, 3> std{0.2470f, 0.2435f, 0.2616f};
};

// H * W pixels, in double and rounded once: the same bits as the augmentation kernels' where nothing is augmented.
void normalize(const uint8_t* pixels, size_t count, const Normalization& normalization, float* out);  // (H * W, 3) each

}  // namespace data
