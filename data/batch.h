#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "data/dataset.h"

namespace data {

// A channel's byte v becomes (v / 255 - mean) / std. The defaults are those of CIFAR-10's training images, which the
// article and most recipes use for every set.
struct Normalization {
  std::array<float, 3> mean{0.4914f, 0.4822f, 0.4465f};  // red, green, blue
  std::array<float, 3> std{0.2470f, 0.2435f, 0.2616f};
};

struct BatchOptions {
  Normalization normalization{};
  int resolution = 0;  // height and width of the batch's images; 0: those of the set
  bool flip = false;   // mirror each image left to right with probability 1/2
  uint64_t seed = 0;   // whether an image is flipped depends on seed, epoch and its index in the set, on nothing else
  uint32_t epoch = 0;
};

// Makes a batch of B = indices.size() images of the set: bytes to normalised floats, resized (data/image.h) where the
// resolution differs. Throws std::invalid_argument for an index that is not in the set or a negative resolution.
void fill_batch(const Dataset& dataset, std::span<const size_t> indices, const BatchOptions& options,
                float* images,   // (B, H, W, 3)
                int32_t* labels  // (B)
);

// One image of H * W pixels, as fill_batch does it.
void normalize(const uint8_t* pixels, size_t count, const Normalization& normalization, float* out);  // (H * W, 3) each

}  // namespace data
