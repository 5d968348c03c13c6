// Files that are there as a whole or not at all.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace engine::io {

// The file's bytes. Throws InputError where it is missing, no regular file, or cannot be read.
std::vector<unsigned char> read_file(const std::filesystem::path&);

// Writes `parts`, one after the other, beside `path`, syncs, and renames: `path` holds the old bytes or the new ones,
// never a part of them, even after a crash. Throws InputError where the folder is missing or not writable, Error where
// writing fails (disk full); the old file is then untouched, and nothing is left beside it.
void write_file(const std::filesystem::path&, std::span<const std::span<const unsigned char>> parts);
void write_file(const std::filesystem::path&, const std::string& text);

}  // namespace engine::io
