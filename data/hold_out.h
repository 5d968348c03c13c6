#pragma once

#include <cstddef>
#include <cstdint>

#include "data/dataset.h"

namespace data {

// A set in two: `validation` to choose the best model by, `rest` for what the set was for. Both keep its order.
struct HeldOut {
  Dataset rest, validation;
};

// Holds out a random part: round(fraction * n) images, at least 1 and at most n - 1; which ones depends on seed and n
// alone. Throws std::invalid_argument for a fraction that is not in (0, 1), and data::Error for a set of one image.
HeldOut hold_out(Dataset set, double fraction, uint64_t seed);

// Holds out the first n images. The article validates on the first 1,000 of CIFAR-10's test images and tests on the
// others. Throws data::Error where nothing would be left.
HeldOut hold_out_first(Dataset set, size_t n = 1000);

}  // namespace data
