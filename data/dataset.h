#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace data {

// Labelled RGB images of one size, decoded and in memory. Pixels stay bytes (0 … 255); a batch is normalised to floats
// when it is made (data/loader.h), so a set takes a quarter of the memory, and augmentation works on what was in the
// file.
struct Dataset {
  static constexpr int channels = 3;  // red, green, blue

  int height = 0;
  int width = 0;
  std::vector<std::string> class_names;  // (classes): the name of each label
  std::vector<uint8_t> images;           // (N, H, W, 3)
  std::vector<int32_t> labels;           // (N): each in 0 … class_names.size() - 1

  size_t size() const { return labels.size(); }
  size_t image_bytes() const { return size_t(height) * size_t(width) * channels; }
  const uint8_t* image(size_t i) const { return images.data() + i * image_bytes(); }  // (H, W, 3)
  uint8_t* image(size_t i) { return images.data() + i * image_bytes(); }
};

struct Split {
  Dataset train, test;
};

// The first n images, or all where there are fewer: of every set that data::open gives, about a fair share of the
// classes. Pass the set with std::move to avoid copying it.
inline Dataset take(Dataset dataset, size_t n) {
  n = std::min(n, dataset.size());
  dataset.images.resize(n * dataset.image_bytes());
  dataset.labels.resize(n);
  return dataset;
}

}  // namespace data
