#include "data/decode.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>

#include "data/error.h"

// Static: a program that also links Debian's libstb, or has an stb_image of its own, sees no clash.
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_ASSERT(condition) ((void)0)  // a damaged JPEG can fail one in the Huffman decoder, harmlessly
// Zeroed, because a JPEG may use tables that it does not define.
#define STBI_MALLOC(size) std::calloc(1, size)
#define STBI_REALLOC(pointer, size) std::realloc(pointer, size)
#define STBI_FREE(pointer) std::free(pointer)
#include <stb/stb_image.h>

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

// A Huffman table of more than 256 codes, if there is one: stb_image before 2.28 writes past its own table then (its
// issue #1289). Visits every segment that stb_image might, by its rules: a marker is an FF and a byte other than FF
// (FFs before it are filling) and 00 (an FF in the data); most markers have a segment, which starts with its length (2
// bytes).
std::optional<std::string> damage_of_jpeg(std::span<const uint8_t> bytes) {
  const auto byte = [&](size_t i) {
    return i < bytes.size() ? size_t(bytes[i]) : 0;
  };              // as stb_image reads past the end
  size_t at = 2;  // after the start of image
  while (at < bytes.size()) {
    if (byte(at) != 0xFF || byte(at + 1) == 0xFF) {
      ++at;
      continue;
    }
    const size_t marker = byte(at + 1);
    at += 2;
    if (marker == 0xD9) break;                                                             // end of image
    if (marker == 0x00 || marker == 0x01 || (marker >= 0xD0 && marker <= 0xD8)) continue;  // these have no segment
    const size_t end = at + std::max<size_t>(2, byte(at) << 8 | byte(at + 1));
    if (marker == 0xC4) {  // Huffman tables: a byte of which, 16 counts of codes by length, the codes' values
      for (size_t table = at + 2; table < end;) {
        size_t codes = 0;
        for (size_t i = 1; i <= 16; ++i) codes += byte(table + i);
        if (codes > 256) return fmt::format("a Huffman table of {} codes at byte {}", codes, table);
        table += 17 + codes;
      }
    }
    at = end;
  }
  return std::nullopt;
}

struct Format {
  const char* name;
  std::string_view signature;                                      // the first bytes
  std::optional<std::string> (*damage)(std::span<const uint8_t>);  // what stb_image would not notice; null: nothing
};
constexpr Format formats[] = {
    {"JPEG", "\xFF\xD8", damage_of_jpeg}, {"PNG", "\x89PNG\r\n\x1a\n", damage_of_png}, {"BMP", "BM", nullptr}};

const Format* format_of(std::span<const uint8_t> bytes) {
  for (const Format& format : formats) {
    const std::string_view signature = format.signature;
    if (bytes.size() >= signature.size() && std::memcmp(bytes.data(), signature.data(), signature.size()) == 0) {
      return &format;
    }
  }
  return nullptr;
}

}  // namespace

Image decode_image(std::span<const uint8_t> bytes, const std::string& name) {
  if (bytes.empty()) throw Error(fmt::format("{}: an empty file; expected a JPEG, PNG or BMP image", name));
  const Format* format = format_of(bytes);
  if (!format) throw Error(fmt::format("{}: not an image that can be read; expected JPEG, PNG or BMP", name));
  const auto fail = [&](const std::string& reason) {
    throw Error(fmt::format("{}: damaged {} image: {}; expected a whole image file", name, format->name, reason));
  };
  if (format->damage) {
    if (const auto damage = format->damage(bytes)) fail(*damage);
  }

  int width = 0, height = 0, channels = 0;
  Reader reader{bytes};
  if (stbi_info_from_callbacks(&Reader::callbacks, &reader, &width, &height, &channels)) {
    // Not yet checked by stb_image: of a BMP, the width is any 32 bits, and a height below zero says that it starts at
    // the top.
    const int64_t columns = uint32_t(width), rows = std::abs(int64_t(height));
    if (columns * rows > max_pixels) {
      throw Error(fmt::format("{}: a {} image of {}x{} pixels; expected at most {} pixels", name, format->name, columns,
                              rows, max_pixels));
    }
  }
  reader = Reader{bytes};
  const std::unique_ptr<stbi_uc, decltype(&std::free)> pixels(
      stbi_load_from_callbacks(&Reader::callbacks, &reader, &width, &height, &channels, 3), std::free);
  if (reader.overrun) fail("cut short");
  if (!pixels) {
    const std::string reason = stbi_failure_reason();
    // stb_image tries PNG first; where it gives no reason of its own for another format, that one is left.
    fail(reason == "bad png sig" ? "malformed" : reason);
  }
  return {height, width, {pixels.get(), pixels.get() + size_t(height) * size_t(width) * 3}};
}

}  // namespace data
