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

// An RGB PNG file's bytes.
std::vector<uint8_t> encode_png(const Image& image);

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
  // Of `count` outputs from `from` on, where `in` inputs become `out`.
  static std::vector<Taps> triangle_taps(int in, int64_t out, int64_t from, int count);
  friend Image resize_and_crop(const Image& image, int side);
  Resizer(int in_width, std::vector<Taps> rows, std::vector<Taps> columns);

  int in_width_;
  std::vector<Taps> rows_, columns_;  // (out_height), (out_width)
};

Image resize(const Image& image, int height, int width);

// The middle `side`×`side` pixels of the image, resized so that its shorter side is `side` and its longer one keeps the
// proportion, rounded down (torchvision's Resize and CenterCrop; an odd pixel more is cut off at the right or bottom).
// Pixels that are cut off are not computed. Throws std::invalid_argument for a side below 1 or an image more than
// max_aspect times as long as wide.
Image resize_and_crop(const Image& image, int side);
constexpr int max_aspect = 4096;

// The same of a file: what a network is given of it. Throws data::Error also for an image that is too long.
Image read_square(const std::filesystem::path& path, int side);

}  // namespace data
