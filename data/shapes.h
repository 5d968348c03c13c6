#pragma once

#include <cstddef>
#include <cstdint>

#include "data/dataset.h"

namespace data {

// The built-in set, which needs no download: 32×32 RGB pictures of one shape each, of ten classes, in a random light
// colour, place, size and rotation, on a background of random dark colours with specks and noise. Labels go round:
// image i is of class i mod 10. Image i of a split depends on the seed and i alone, so a smaller set is the beginning
// of a larger one; training and test images differ. Drawn in integers only: the same seed gives the same bytes on every
// machine and compiler.
Split draw_shapes(size_t train, size_t test, uint64_t seed);

}  // namespace data
