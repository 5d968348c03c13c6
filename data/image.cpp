#include "data/image.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <utility>

#include "data/decode.h"
#include "data/error.h"
#include "data/file.h"

#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#include <stb/stb_image_write.h>

namespace data {

Image read_image(const std::filesystem::path& path) { return decode_image(read_file(path), path.string()); }

std::vector<uint8_t> encode_png(const Image& image) {
  std::vector<uint8_t> bytes;
  const auto append = [](void* user, void* chunk, int size) {
    const auto* begin = static_cast<const uint8_t*>(chunk);
    static_cast<std::vector<uint8_t>*>(user)->insert(static_cast<std::vector<uint8_t>*>(user)->end(), begin,
                                                     begin + size);
  };
  if (image.height < 1 || image.width < 1 || image.pixels.size() != size_t(image.height) * size_t(image.width) * 3 ||
      !stbi_write_png_to_func(append, &bytes, image.width, image.height, 3, image.pixels.data(), image.width * 3)) {
    throw std::invalid_argument(
        fmt::format("encode_png: an image of {}x{} with {} bytes; expected height * width * 3 bytes", image.height,
                    image.width, image.pixels.size()));
  }
  return bytes;
}

void write_png(const std::filesystem::path& path, const Image& image) { write_file(path, encode_png(image)); }

namespace {

uint8_t round_to_byte(int32_t sum) { return uint8_t(std::clamp((sum + (1 << 21)) >> 22, 0, 255)); }

}  // namespace

// Output i has its centre at (i + 1/2) · in/out among the inputs, whose centres lie at j + 1/2; input j weighs
// 1 - |distance| / max(in/out, 1) where that is positive. Times 2 · max(in, out), that is the whole number below.
std::vector<Resizer::Taps> Resizer::triangle_taps(int in, int64_t out, int64_t from, int count) {
  const int64_t reach = 2 * std::max(int64_t(in), out);
  std::vector<Taps> taps(size_t(count), Taps{0, {}});
  for (int i = 0; i < count; ++i) {
    const int64_t center = (2 * (from + i) + 1) * in;
    const auto weight = [&](int64_t j) { return reach - std::abs((2 * j + 1) * out - center); };
    // The first j with weight(j) > 0, that is (2j + 1) · out > center - reach.
    int64_t first = std::max<int64_t>(0, (center - reach - out) / (2 * out));
    while (weight(first) <= 0) ++first;
    int64_t end = first, sum = 0;
    for (; end < in && weight(end) > 0; ++end) sum += weight(end);
    taps[i].first = int(first);
    for (int64_t j = first; j < end; ++j) taps[i].weights.push_back(int32_t(((weight(j) << 22) + sum / 2) / sum));
  }
  return taps;
}

Resizer::Resizer(int in_height, int in_width, int out_height, int out_width) : in_width_(in_width) {
  if (std::min({in_height, in_width, out_height, out_width}) < 1) {
    throw std::invalid_argument(fmt::format("Resizer: from {}x{} to {}x{}; expected sizes of at least 1", in_height,
                                            in_width, out_height, out_width));
  }
  rows_ = triangle_taps(in_height, out_height, 0, out_height);
  columns_ = triangle_taps(in_width, out_width, 0, out_width);
}

Resizer::Resizer(int in_width, std::vector<Taps> rows, std::vector<Taps> columns)
    : in_width_(in_width), rows_(std::move(rows)), columns_(std::move(columns)) {}

void Resizer::operator()(const uint8_t* in, uint8_t* out) const {
  const size_t out_width = columns_.size();
  // The input's rows that count: all of them, but where the output is cropped.
  const int first = rows_.front().first, end = rows_.back().first + int(rows_.back().weights.size());
  std::vector<uint8_t> narrow(size_t(end - first) * out_width * 3);  // (end - first, out_width, 3)
  uint8_t* to = narrow.data();
  for (int y = first; y < end; ++y) {
    const uint8_t* row = in + size_t(y) * size_t(in_width_) * 3;
    for (const Taps& taps : columns_) {
      int32_t sum[3] = {0, 0, 0};
      const uint8_t* from = row + size_t(taps.first) * 3;
      for (const int32_t weight : taps.weights) {
        for (int c = 0; c < 3; ++c) sum[c] += weight * from[c];
        from += 3;
      }
      for (int c = 0; c < 3; ++c) *to++ = round_to_byte(sum[c]);
    }
  }
  std::vector<int32_t> sums(out_width * 3);
  for (const Taps& taps : rows_) {
    std::fill(sums.begin(), sums.end(), 0);
    const uint8_t* from = narrow.data() + size_t(taps.first - first) * out_width * 3;
    for (const int32_t weight : taps.weights) {
      for (size_t i = 0; i < sums.size(); ++i) sums[i] += weight * from[i];
      from += sums.size();
    }
    for (const int32_t sum : sums) *out++ = round_to_byte(sum);
  }
}

Image resize(const Image& image, int height, int width) {
  const Resizer resizer(image.height, image.width, height, width);
  Image result{height, width, std::vector<uint8_t>(size_t(height) * size_t(width) * 3)};
  resizer(image.pixels.data(), result.pixels.data());
  return result;
}

Image read_square(const std::filesystem::path& path, int side) {
  const Image image = read_image(path);
  if (std::max(image.height, image.width) > int64_t{max_aspect} * std::min(image.height, image.width)) {
    throw Error(fmt::format("{}: an image of {}x{} pixels; expected one at most {} times as long as wide",
                            path.string(), image.width, image.height, max_aspect));
  }
  return resize_and_crop(image, side);
}

Image resize_and_crop(const Image& image, int side) {
  const int64_t height = image.height, width = image.width, shorter = std::min(height, width);
  if (side < 1 || shorter < 1 || std::max(height, width) > max_aspect * shorter) {
    throw std::invalid_argument(
        fmt::format("resize_and_crop: from {}x{} to {}; expected sizes of at least 1, and at most {} times as long as "
                    "wide",
                    height, width, side, max_aspect));
  }
  const auto taps = [&](int size) {
    const int64_t resized = int64_t(side) * size / shorter;
    return Resizer::triangle_taps(size, resized, (resized - side) / 2, side);
  };
  Image result{side, side, std::vector<uint8_t>(size_t(side) * size_t(side) * 3)};
  Resizer(image.width, taps(image.height), taps(image.width))(image.pixels.data(), result.pixels.data());
  return result;
}

}  // namespace data
