#include "data/batch.h"

#include <fmt/format.h>

#include <optional>
#include <stdexcept>
#include <vector>

#include "data/image.h"
#include "data/random.h"

namespace data {
namespace {

// A byte has 256 values, so a channel's normalisation is a table of 256 floats.
struct Table {
  float value[3][256];
  explicit Table(const Normalization& n) {
    for (int c = 0; c < 3; ++c) {
      for (int v = 0; v < 256; ++v) value[c][v] = float((v / 255.0 - double(n.mean[c])) / double(n.std[c]));
    }
  }
};

void normalize_pixels(const uint8_t* in, size_t count, const Table& table, float* out) {
  for (size_t i = 0; i < count; ++i, in += 3, out += 3) {
    for (int c = 0; c < 3; ++c) out[c] = table.value[c][in[c]];
  }
}

void normalize_mirrored(const uint8_t* in, int height, int width, const Table& table, float* out) {
  for (int y = 0; y < height; ++y) {
    const uint8_t* row = in + size_t(y) * size_t(width) * 3;
    for (int x = width - 1; x >= 0; --x, out += 3) {
      for (int c = 0; c < 3; ++c) out[c] = table.value[c][row[x * 3 + c]];
    }
  }
}

bool is_flipped(const BatchOptions& options, size_t index) {
  return options.flip && (Random(options.seed, Purpose::flip, options.epoch, uint32_t(index)).next() & 1);
}

}  // namespace

void fill_batch(const Dataset& dataset, std::span<const size_t> indices, const BatchOptions& options, float* images,
                int32_t* labels) {
  if (options.resolution < 0) {
    throw std::invalid_argument(fmt::format("fill_batch: resolution {}; expected 0 or more", options.resolution));
  }
  const int height = options.resolution ? options.resolution : dataset.height;
  const int width = options.resolution ? options.resolution : dataset.width;
  const size_t pixels = size_t(height) * size_t(width);
  const Table table(options.normalization);
  std::optional<Resizer> resizer;
  std::vector<uint8_t> resized;  // (height, width, 3)
  if (height != dataset.height || width != dataset.width) {
    resizer.emplace(dataset.height, dataset.width, height, width);
    resized.resize(pixels * 3);
  }
  for (const size_t index : indices) {
    if (index >= dataset.size()) {
      throw std::invalid_argument(fmt::format("fill_batch: image {} of a set of {}", index, dataset.size()));
    }
    const uint8_t* image = dataset.image(index);
    if (resizer) {
      (*resizer)(image, resized.data());
      image = resized.data();
    }
    if (is_flipped(options, index)) {
      normalize_mirrored(image, height, width, table, images);
    } else {
      normalize_pixels(image, pixels, table, images);
    }
    images += pixels * 3;
    *labels++ = dataset.labels[index];
  }
}

void normalize(const uint8_t* pixels, size_t count, const Normalization& normalization, float* out) {
  normalize_pixels(pixels, count, Table(normalization), out);
}

}  // namespace data
