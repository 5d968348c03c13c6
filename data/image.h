#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace data {

struct Image {
  int height = 0;
  int width = 0;
  std::vector<uint8_t> pixels;  // (H, W, 3): red, green, blue
};

// Reads a JPEG, PNG or BMP file of any size with stb_image. Grey becomes RGB, 16 bits become 8, alpha is dropped (as
// Pillow's convert("RGB") does) and an EXIF rotation is not applied. Throws data::Error for a file that is missing, of
// another format, cut short, or damaged as far as the format can tell: a PNG's checksums are checked; a JPEG has none,
// so wrong bits in the middle of one may only show as wrong pixels.
Image read_image(const std::filesystem::path& path);

// Writes an RGB PNG, beside and then renamed. Throws data::Error where it cannot be written.
void write_png(const std::filesystem::path& path, const Image& image);

// Resizes (in_height, in_width, 3) to (out_height, out_width, 3), once for many images of the same size. Separable,
// horizontal first, with a triangle filter: bilinear interpolation when enlarging; when shrinking the triangle is as
// wide as two output pixels, so every input pixel counts (plain bilinear would skip pixels and alias). Pixel centres
// lie at half integers; at the edges, taps outside are left out and the rest renormalised. These are the bytes of
// Pillow's resize with BILINEAR (where that goes vertically first, as newer versions sometimes do, some differ by 1).
// All arithmetic is in integers, so the result is the same on every machine. Throws std::invalid_argument for a size
// below 1.
class Resizer {
 public:
  Resizer(int in_height, int in_width, int out_height, int out_width);
  void operator()(const uint8_t* in, uint8_t* out) const;  // (in_height, in_width, 3) → (out_height, out_width, 3)

 private:
  // How one output row or column sums the inputs first, first + 1, …: weights in units of 2^-22, adding up to about 1.
  struct Taps {
    int first;
    std::vector<int32_t> weights;
  };
  static std::vector<Taps> triangle_taps(int in, int out);

  int in_height_, in_width_;
  std::vector<Taps> rows_, columns_;
};

Image resize(const Image& image, int height, int width);

}  // namespace data
