#include "data/normalize.h"

namespace data {

void normalize(const uint8_t* pixels, size_t count, const Normalization& normalization, float* out) {
  // A byte has 256 values, so a channel's normalisation is a table of 256 floats.
  float table[3][256];
  for (size_t c = 0; c < 3; ++c) {
    for (int v = 0; v < 256; ++v) {
      table[c][v] = float((v / 255.0 - double(normalization.mean[c])) / double(normalization.std[c]));
    }
  }
  for (size_t i = 0; i < count * 3; ++i) out[i] = table[i % 3][pixels[i]];
}

}  // namespace data
