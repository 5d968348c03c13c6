#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace data {

// The file's bytes. Throws data::Error where it is missing, a folder, or cannot be read.
std::vector<uint8_t> read_file(const std::filesystem::path& path);

// Writes beside `path` and renames, so that `path` holds the old bytes or the new, never a part of them. Throws
// data::Error.
void write_file(const std::filesystem::path& path, std::span<const uint8_t> bytes);

}  // namespace data
