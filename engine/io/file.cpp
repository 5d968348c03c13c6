#include "engine/io/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "engine/error.h"

namespace engine::io {
namespace {

std::string reason() { return std::strerror(errno); }

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

// Writes all of it, as often as the system takes only a part.
bool write_all(int fd, std::span<const unsigned char> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    bytes = bytes.subspan(n);
  }
  return true;
}

bool close_file(int fd) { return ::close(fd) == 0 || errno == EINTR; }

}  // namespace

std::vector<unsigned char> read_file(const std::filesystem::path& path) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};  // a pipe must not make it wait
  if (file.fd < 0) throw InputError(path.string(), "cannot be opened: " + reason());
  struct stat info;
  if (::fstat(file.fd, &info) != 0) throw InputError(path.string(), "cannot be read: " + reason());
  if (!S_ISREG(info.st_mode)) throw InputError(path.string(), "is no regular file");
  std::vector<unsigned char> bytes(info.st_size);
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t n = ::read(file.fd, bytes.data() + at, bytes.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw InputError(path.string(), "cannot be read: " + reason());
    if (n == 0) throw InputError(path.string(), fmt::format("ended after {} of {} bytes", at, bytes.size()));
    at += n;
  }
  return bytes;
}

void write_file(const std::filesystem::path& path, std::span<const std::span<const unsigned char>> parts) {
  // Unique among the processes of this machine and the threads of this one; O_EXCL finds what is left of a crashed one.
  static std::atomic<unsigned> counter = 0;
  std::string beside;
  int fd = -1;
  do {
    beside = fmt::format("{}.{}-{}.tmp", path.string(), ::getpid(), counter++);
    fd = ::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (fd < 0 && errno == EEXIST);
  if (fd < 0) throw InputError(path.string(), "cannot be written: " + reason());

  bool written = true;
  for (const auto& part : parts) written = written && write_all(fd, part);
  written = written && ::fsync(fd) == 0;
  int error = written ? 0 : errno;
  if (!close_file(fd) && written) written = false, error = errno;
  if (written && ::rename(beside.c_str(), path.c_str()) != 0) written = false, error = errno;
  if (!written) {
    ::unlink(beside.c_str());
    throw Error(path.string(), fmt::format("could not be written: {}", std::strerror(error)));
  }
  // The rename itself must survive a crash too. Some file systems cannot sync a folder; then there is no more to do.
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  const Descriptor directory{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (directory.fd >= 0) ::fsync(directory.fd);
}

void write_file(const std::filesystem::path& path, const std::string& text) {
  const std::span<const unsigned char> part(reinterpret_cast<const unsigned char*>(text.data()), text.size());
  write_file(path, {&part, 1});
}

}  // namespace engine::io
