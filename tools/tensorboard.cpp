#include "tools/tensorboard.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "engine/error.h"

namespace tools {
namespace {

namespace fs = std::filesystem;

constexpr std::array<uint32_t, 256> crc_table = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
    table[i] = crc;
  }
  return table;
}();

// So that a CRC of bytes that hold CRCs is no trivial one.
uint32_t masked_crc(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

std::string little_endian(uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> 8 * i & 255);
  return text;
}

// Protobuf's wire format (https://protobuf.dev/programming-guides/encoding) by hand: these four functions for six
// fields, where libprotobuf would bring a compiler into the build, and a build without it could write no events.
std::string varint(uint64_t value) {
  std::string text;
  for (; value > 127; value >>= 7) text += static_cast<char>(value | 128);
  return text + static_cast<char>(value);
}
enum Wire { varint_wire, fixed64_wire, bytes_wire, fixed32_wire = 5 };
std::string key(int field, Wire wire) { return varint(static_cast<uint64_t>(field << 3 | wire)); }
std::string bytes_field(int field, std::string_view bytes) {
  return key(field, bytes_wire) + varint(bytes.size()) + std::string(bytes);
}

// message Event { double wall_time = 1; int64 step = 2;
//                 oneof what { string file_version = 3; Summary summary = 5; SessionLog session_log = 7; } }
std::string event(double wall_time, int64_t step, const std::string& what) {
  return key(1, fixed64_wire) + little_endian(std::bit_cast<uint64_t>(wall_time), 8) + key(2, varint_wire) +
         varint(static_cast<uint64_t>(step)) + what;
}

// events.out.tfevents.SECONDS.mobilenet.NUMBER: TensorBoard reads a folder's files in the order of their names, so the
// new one must come last, whatever the clock does.
fs::path next_file(const fs::path& folder, double wall_time) {
  constexpr std::string_view start = "events.out.tfevents.";
  auto seconds = static_cast<int64_t>(std::max(wall_time, 0.0));
  int number = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind(start, 0) != 0) continue;
    int64_t other = 0;
    const auto [end, error] = std::from_chars(name.data() + start.size(), name.data() + name.size(), other);
    if (error != std::errc() || other < seconds) continue;
    constexpr std::string_view middle = ".mobilenet.";
    int other_number = 0;
    if (std::string_view(end, name.data() + name.size() - end).substr(0, middle.size()) == middle)
      std::from_chars(end + middle.size(), name.data() + name.size(), other_number);
    number = other == seconds ? std::max(number, other_number + 1) : other_number + 1;
    seconds = other;
  }
  return folder / fmt::format("{}{:010}.mobilenet.{:04}", start, seconds, number);
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (const char c : bytes) crc = crc >> 8 ^ crc_table[(crc ^ static_cast<unsigned char>(c)) & 255];
  return ~crc;
}

TensorboardWriter::TensorboardWriter(const fs::path& folder, int64_t first_step, double wall_time)
    : file_(nullptr, std::fclose) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw engine::InputError(folder.string(), fmt::format("the folder cannot be made: {}", error.message()));
  path_ = next_file(folder, wall_time);
  file_.reset(std::fopen(path_.c_str(), "wbx"));
  if (!file_)
    throw engine::InputError(path_.string(), fmt::format("the file cannot be made: {}", std::strerror(errno)));
  write(event(wall_time, 0, bytes_field(3, "brain.Event:2")));
  // SessionLog { status = 1: START }: from the second one of a folder on, TensorBoard forgets all steps from
  // `first_step` on that it read before.
  write(event(wall_time, first_step, bytes_field(7, key(1, varint_wire) + varint(1))));
}

void TensorboardWriter::scalar(std::string_view tag, int64_t step, double wall_time, double value) {
  // message Summary { message Value { string tag = 1; float simple_value = 2; } repeated Value value = 1; }
  const std::string point =
      bytes_field(1, tag) + key(2, fixed32_wire) + little_endian(std::bit_cast<uint32_t>(static_cast<float>(value)), 4);
  write(event(wall_time, step, bytes_field(5, bytes_field(1, point))));
}

void TensorboardWriter::write(const std::string& event) {
  const std::string length = little_endian(event.size(), 8);
  const std::string record =
      length + little_endian(masked_crc(length), 4) + event + little_endian(masked_crc(event), 4);
  if (std::fwrite(record.data(), 1, record.size(), file_.get()) != record.size() || std::fflush(file_.get()) != 0)
    throw engine::Error(path_.string(), fmt::format("cannot be written: {}", std::strerror(errno)));
}

}  // namespace tools
