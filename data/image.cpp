#include "data/image.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include "data/error.h"
#include "data/file.h"

// Static: a program that also links Debian's libstb, or has stb_image of its own, sees no clash.
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#include <stb/stb_image.h>
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#include <stb/stb_image_write.h>

namespace data {
namespace {

constexpr int64_t max_pixels = int64_t{1} << 27;  // 400 MB decoded: more is a mistake or an attack

// The bytes of a file as stb_image's reader. Past the end stb_image reads zeros without saying so, and returns the part
// of a JPEG or BMP that it has; so the reader remembers that it was asked for more than there is.
struct Reader {
  std::span<const uint8_t> bytes;
  size_t position = 0;
  bool overrun = false;

  static int read(void* user, char* out, int size) {
    auto& r = *static_cast<Reader*>(user);
    const size_t n = std::min(size_t(size), r.bytes.size() - r.position);
    // stb_image reads ahead in blocks, so a short read is normal; asking again after the last byte is not.
    if (n == 0) {
      r.overrun = true;
      return 0;
    }
    std::memcpy(out, r.bytes.data() + r.position, n);
    r.position += n;
    return int(n);
  }
  static void skip(void* user, int n) {
    auto& r = *static_cast<Reader*>(user);
    if (size_t(n) > r.bytes.size() - r.position) r.overrun = true;
    r.position = std::min(r.position + size_t(n), r.bytes.size());
  }
  static int eof(void* user) {
    const auto& r = *static_cast<Reader*>(user);
    return r.position == r.bytes.size();
  }
  static constexpr stbi_io_callbacks callbacks{read, skip, eof};
};

constexpr std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t n = 0; n < 256; ++n) {
    uint32_t c = n;
    for (int bit = 0; bit < 8; ++bit) c = (c & 1) ? 0xEDB88320u ^ (c >> 1) : c >> 1;
    table[n] = c;
  }
  return table;
}

// CRC-32 as in the PNG specification, annex D.
uint32_t crc32(std::span<const uint8_t> bytes) {
  static constexpr std::array<uint32_t, 256> table = make_crc_table();
  uint32_t c = ~0u;
  for (const uint8_t byte : bytes) c = table[(c ^ byte) & 0xFF] ^ (c >> 8);
  return ~c;
}

uint32_t big_endian(const uint8_t* p) {
  return uint32_t(p[0]) << 24 | uint32_t(p[1]) << 16 | uint32_t(p[2]) << 8 | p[3];
}

// What is wrong with a PNG's chunks, if anything: stb_image does not look at their checksums. A chunk is a length (4
// bytes), a type (4), the data and a checksum of type and data (4); the last chunk is IEND.
std::optional<std::string> damage_of_png(std::span<const uint8_t> bytes) {
  size_t at = 8;  // the signature
  while (bytes.size() - at >= 12) {
    const size_t length = big_endian(&bytes[at]);
    if (length > bytes.size() - at - 12) return "cut short";
    const auto type_and_data = bytes.subspan(at + 4, length + 4);
    if (crc32(type_and_data) != big_endian(&bytes[at + 8 + length]))
      return fmt::format("wrong checksum at byte {}", at);
    if (std::memcmp(type_and_data.data(), "IEND", 4) == 0) return std::nullopt;
    at += 12 + length;
  }
  return "cut short";
}

bool starts_with(std::span<const uint8_t> bytes, std::string_view magic) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

constexpr std::string_view png_signature = "\x89PNG\r\n\x1a\n";

const char* format_of(std::span<const uint8_t> bytes) {
  if (starts_with(bytes, png_signature)) return "PNG";
  if (starts_with(bytes, "\xFF\xD8")) return "JPEG";
  if (starts_with(bytes, "BM")) return "BMP";
  return nullptr;
}

uint8_t round_to_byte(int32_t sum) { return uint8_t(std::clamp((sum + (1 << 21)) >> 22, 0, 255)); }

}  // namespace

Image read_image(const std::filesystem::path& path) {
  const std::vector<uint8_t> bytes = read_file(path);
  const std::string name = path.string();
  if (bytes.empty()) throw Error(fmt::format("{}: an empty file; expected a JPEG, PNG or BMP image", name));
  const char* format = format_of(bytes);
  if (!format) throw Error(fmt::format("{}: not an image that can be read; expected JPEG, PNG or BMP", name));
  if (format == std::string_view("PNG")) {
    if (const auto damage = damage_of_png(bytes)) {
      throw Error(fmt::format("{}: damaged PNG image: {}; expected a whole image file", name, *damage));
    }
  }

  int width = 0, height = 0, channels = 0;
  Reader info{bytes};
  if (stbi_info_from_callbacks(&Reader::callbacks, &info, &width, &height, &channels) &&
      int64_t(width) * height > max_pixels) {
    throw Error(fmt::format("{}: a {} image of {}x{} pixels; expected at most {} pixels", name, format, width, height,
                            max_pixels));
  }
  Reader reader{bytes};
  const std::unique_ptr<stbi_uc, decltype(&std::free)> pixels(
      stbi_load_from_callbacks(&Reader::callbacks, &reader, &width, &height, &channels, 3), std::free);
  if (reader.overrun)
    throw Error(fmt::format("{}: damaged {} image: cut short; expected a whole image file", name, format));
  if (!pixels) {
    throw Error(
        fmt::format("{}: damaged {} image: {}; expected a whole image file", name, format, stbi_failure_reason()));
  }
  Image image{height, width, {}};
  image.pixels.assign(pixels.get(), pixels.get() + size_t(height) * size_t(width) * 3);
  return image;
}

void write_png(const std::filesystem::path& path, const Image& image) {
  std::vector<uint8_t> bytes;
  const auto append = [](void* user, void* chunk, int size) {
    const auto* begin = static_cast<const uint8_t*>(chunk);
    static_cast<std::vector<uint8_t>*>(user)->insert(static_cast<std::vector<uint8_t>*>(user)->end(), begin,
                                                     begin + size);
  };
  if (image.height < 1 || image.width < 1 || image.pixels.size() != size_t(image.height) * size_t(image.width) * 3 ||
      !stbi_write_png_to_func(append, &bytes, image.width, image.height, 3, image.pixels.data(), image.width * 3)) {
    throw std::invalid_argument(
        fmt::format("write_png: an image of {}x{} with {} bytes; expected height * width * 3 bytes", image.height,
                    image.width, image.pixels.size()));
  }
  write_file(path, bytes);
}

// Output i has its centre at (i + 1/2) · in/out among the inputs, whose centres lie at j + 1/2; input j weighs
// 1 - |distance| / max(in/out, 1) where that is positive. Times 2 · max(in, out), that is the whole number below.
std::vector<Resizer::Taps> Resizer::triangle_taps(int in, int out) {
  const int64_t reach = 2 * int64_t(std::max(in, out));
  std::vector<Taps> taps(size_t(out), Taps{0, {}});
  for (int i = 0; i < out; ++i) {
    const int64_t center = (2 * int64_t(i) + 1) * in;
    const auto weight = [&](int64_t j) { return reach - std::abs((2 * j + 1) * out - center); };
    // The first j with weight(j) > 0, that is (2j + 1) · out > center - reach.
    int64_t first = std::max<int64_t>(0, (center - reach - out) / (2 * int64_t(out)));
    while (weight(first) <= 0) ++first;
    int64_t end = first, sum = 0;
    for (; end < in && weight(end) > 0; ++end) sum += weight(end);
    taps[i].first = int(first);
    for (int64_t j = first; j < end; ++j) taps[i].weights.push_back(int32_t(((weight(j) << 22) + sum / 2) / sum));
  }
  return taps;
}

Resizer::Resizer(int in_height, int in_width, int out_height, int out_width)
    : in_height_(in_height), in_width_(in_width) {
  if (std::min({in_height, in_width, out_height, out_width}) < 1) {
    throw std::invalid_argument(fmt::format("Resizer: from {}x{} to {}x{}; expected sizes of at least 1", in_height,
                                            in_width, out_height, out_width));
  }
  rows_ = triangle_taps(in_height, out_height);
  columns_ = triangle_taps(in_width, out_width);
}

void Resizer::operator()(const uint8_t* in, uint8_t* out) const {
  const size_t out_width = columns_.size();
  std::vector<uint8_t> narrow(size_t(in_height_) * out_width * 3);  // (in_height, out_width, 3)
  uint8_t* to = narrow.data();
  for (int y = 0; y < in_height_; ++y) {
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
    const uint8_t* from = narrow.data() + size_t(taps.first) * out_width * 3;
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

}  // namespace data
