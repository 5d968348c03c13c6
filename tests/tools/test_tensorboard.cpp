// TensorBoard's files: their frames, checksums and messages, read back by the rules of the format.
#include "tools/tensorboard.h"

#include <cstring>
#include <map>
#include <tuple>

#include "catch.h"
#include "engine/error.h"
#include "program.h"

using namespace program;

namespace {

uint64_t little_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

uint32_t unmasked(uint32_t crc) {
  const uint32_t rotated = crc - 0xa282ead8u;
  return rotated >> 17 | rotated << 15;
}

// The records up to the first that is not whole; a checksum that is wrong fails the test.
std::vector<std::string> records(const std::string& file) {
  std::vector<std::string> all;
  for (size_t at = 0; at + 12 <= file.size();) {
    const std::string_view length = std::string_view(file).substr(at, 8);
    REQUIRE(tools::crc32c(length) ==
            unmasked(static_cast<uint32_t>(little_endian(std::string_view(file).substr(at + 8, 4)))));
    const size_t size = little_endian(length);
    if (at + 12 + size + 4 > file.size()) break;
    all.push_back(file.substr(at + 12, size));
    REQUIRE(tools::crc32c(all.back()) ==
            unmasked(static_cast<uint32_t>(little_endian(std::string_view(file).substr(at + 12 + size, 4)))));
    at += 12 + size + 4;
  }
  return all;
}

uint64_t take_varint(std::string_view& bytes) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    REQUIRE(!bytes.empty());
    const auto byte = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    value |= uint64_t{byte & 127u} << shift;
    if (byte < 128) return value;
  }
}

// A protobuf message: field number → its bytes (a varint's value as 8 bytes).
std::map<int, std::string> fields(std::string_view message) {
  std::map<int, std::string> all;
  while (!message.empty()) {
    const uint64_t key = take_varint(message);
    size_t size = 0;
    if ((key & 7) == 0) {
      const uint64_t value = take_varint(message);
      all[static_cast<int>(key >> 3)] = std::string(reinterpret_cast<const char*>(&value), 8);
      continue;
    }
    if ((key & 7) == 1) size = 8;
    if ((key & 7) == 2) size = take_varint(message);
    if ((key & 7) == 5) size = 4;
    REQUIRE(size <= message.size());
    all[static_cast<int>(key >> 3)] = message.substr(0, size);
    message.remove_prefix(size);
  }
  return all;
}

template <class T>
T as(const std::string& bytes) {
  REQUIRE(bytes.size() == sizeof(T));
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

}  // namespace

TEST_CASE("CRC-32C of known bytes") {
  CHECK(tools::crc32c("123456789") == 0xe3069283u);  // the check value of the CRC catalogue
  // RFC 3720, B.4
  CHECK(tools::crc32c(std::string(32, '\0')) == 0x8a9136aau);
  CHECK(tools::crc32c(std::string(32, '\xff')) == 0x62a8ab43u);
}

TEST_CASE("an event file holds its version, the start and the points") {
  const Folder folder;
  tools::TensorboardWriter writer(folder / "events", 0, 1700000000.5);
  writer.scalar("train/loss", 3, 1700000001.25, 0.5);
  writer.scalar("train/loss", 300, 1700000002, -2.25);
  const auto all = records(read(writer.path()));
  REQUIRE(all.size() == 4);
  auto version = fields(all[0]);
  CHECK(version[3] == "brain.Event:2");
  CHECK(as<double>(version[1]) == 1700000000.5);
  auto start = fields(all[1]);
  CHECK(as<uint64_t>(start[2]) == 0);
  CHECK(as<uint64_t>(fields(start[7])[1]) == 1);  // SessionLog.START
  for (const auto& [record, step, value] : {std::tuple(all[2], 3, 0.5f), std::tuple(all[3], 300, -2.25f)}) {
    auto event = fields(record);
    CHECK(as<uint64_t>(event[2]) == static_cast<uint64_t>(step));
    auto point = fields(fields(event[5])[1]);
    CHECK(point[1] == "train/loss");
    CHECK(as<float>(point[2]) == value);
  }
  CHECK(as<double>(fields(all[2])[1]) == 1700000001.25);
}

TEST_CASE("a run that goes on writes a later file, which takes back the steps from there on") {
  const Folder folder;
  std::vector<fs::path> paths;
  // The clock stands still, then goes back.
  for (const double time : {1700000000.0, 1700000000.0, 1600000000.0}) {
    tools::TensorboardWriter writer(folder.path, static_cast<int64_t>(10 * paths.size()), time);
    writer.scalar("loss", static_cast<int64_t>(10 * paths.size()), time, 1);
    if (!paths.empty()) CHECK(paths.back().filename().string() < writer.path().filename().string());
    paths.push_back(writer.path());
  }
  CHECK(as<uint64_t>(fields(records(read(paths[2])).at(1))[2]) == 20);
}

TEST_CASE("a folder for events that cannot be made is refused") {
  const Folder folder;
  write(folder / "file", "text");
  CHECK_THROWS_AS(tools::TensorboardWriter(folder / "file/events", 0, 0), engine::InputError);
}
