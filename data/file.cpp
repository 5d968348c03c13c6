#include "data/file.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "data/error.h"

namespace data {
namespace {

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, Close>;

}  // namespace

std::vector<uint8_t> read_file(const std::filesystem::path& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found)
    throw Error(fmt::format("{}: no such file", path.string()));
  if (std::filesystem::is_directory(status)) {
    throw Error(fmt::format("{}: a folder where a file was expected", path.string()));
  }
  File file(std::fopen(path.c_str(), "rb"));
  if (!file) throw Error(fmt::format("{}: cannot be opened: {}", path.string(), std::strerror(errno)));

  std::vector<uint8_t> bytes;
  const auto expected = std::filesystem::file_size(path, error);  // unknown for a pipe, which is read all the same
  bytes.resize(error ? 0 : size_t(expected));
  size_t used = 0;
  while (true) {
    if (used == bytes.size()) bytes.resize(used + (1 << 16));  // one more read, to see the end of the file
    const size_t got = std::fread(bytes.data() + used, 1, bytes.size() - used, file.get());
    used += got;
    if (got == 0) break;
  }
  if (std::ferror(file.get())) throw Error(fmt::format("{}: cannot be read: {}", path.string(), std::strerror(errno)));
  bytes.resize(used);
  return bytes;
}

void write_file(const std::filesystem::path& path, std::span<const uint8_t> bytes) {
  const std::string partial = path.string() + ".partial";
  const auto fail = [&](int code) {
    std::remove(partial.c_str());
    throw Error(fmt::format("{}: cannot be written: {}", path.string(), std::strerror(code)));
  };
  File file(std::fopen(partial.c_str(), "wb"));
  if (!file) throw Error(fmt::format("{}: cannot be written: {}", path.string(), std::strerror(errno)));
  if (std::fwrite(bytes.data(), 1, bytes.size(), file.get()) != bytes.size()) fail(errno);
  if (std::fclose(file.release()) != 0) fail(errno);  // a full disk may show only here
  if (std::rename(partial.c_str(), path.c_str()) != 0) fail(errno);
}

}  // namespace data
