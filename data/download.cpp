#include "data/download.h"

#include <fmt/format.h>

#include <filesystem>
#include <string>
#include <utility>

#ifdef MOBILENET_DOWNLOAD
#include <archive.h>
#include <archive_entry.h>
#include <curl/curl.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>
#include <vector>
#endif

namespace data {

namespace fs = std::filesystem;

Archive official_archive(Cifar which) {
  const std::string authors = "https://www.cs.toronto.edu/~kriz/";
  // The sums are those that Julia's MLDatasets and Ruby's torchvision expect of the same files.
  if (which == Cifar::cifar10) {
    return {authors, "cifar-10-binary.tar.gz", "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            cifar_folder(which)};
  }
  return {authors, "cifar-100-binary.tar.gz", "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
          cifar_folder(which)};
}

namespace {

std::string url_of(const Archive& archive) {
  return archive.url.ends_with('/') ? archive.url + archive.file : archive.url;
}

}  // namespace

#ifndef MOBILENET_DOWNLOAD

namespace {
constexpr const char* without = "this build has no libcurl, libarchive and OpenSSL (tools/install installs them)";
}

std::string download_libraries() { return {}; }

void download(const Archive& archive, const fs::path& root, const DownloadOptions&) {
  throw Error(fmt::format("{}: cannot be downloaded: {}; unpack it to {}", url_of(archive), without,
                          (root / archive.folder).string()));
}

void unpack(const Archive& archive, const fs::path& root, const Progress&) {
  throw Error(fmt::format("{}: cannot be unpacked: {}; unpack it to {}", (root / archive.file).string(), without,
                          (root / archive.folder).string()));
}

#else

std::string download_libraries() {
  std::string archive = archive_version_string();  // "libarchive 3.6.2"
  return fmt::format("libcurl {}, {}, OpenSSL {}", curl_version_info(CURLVERSION_NOW)->version, archive,
                     OpenSSL_version(OPENSSL_VERSION_STRING));
}

namespace {

// What to do where the program cannot.
std::string by_hand(const Archive& archive, const fs::path& root) {
  return fmt::format("get {} by other means and put it into {}, from where it will be unpacked", url_of(archive),
                     root.string());
}

template <auto release>
struct Release {
  template <class T>
  void operator()(T* object) const {
    release(object);
  }
};

// A file descriptor, closed at the end.
struct File {
  int descriptor;
  explicit File(int d) : descriptor(d) {}
  ~File() {
    if (descriptor >= 0) ::close(descriptor);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
};

[[noreturn]] void fail(const fs::path& path, const std::string& what, int code) {
  throw Error(fmt::format("{}: {}: {}", path.string(), what, std::strerror(code)));
}

bool write_all(int descriptor, const char* bytes, size_t count) {
  while (count > 0) {
    const ssize_t written = ::write(descriptor, bytes, count);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    bytes += written, count -= size_t(written);
  }
  return true;
}

void report(const Progress& progress, const char* what, int64_t done, int64_t total) {
  if (progress && !progress(what, done, total)) throw Interrupted(fmt::format("interrupted: {} {}", done, what));
}

std::string sha256_of(const fs::path& path, const Progress& progress) {
  const File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.descriptor < 0) fail(path, "cannot be opened", errno);
  std::error_code ignored;
  const auto total = int64_t(fs::file_size(path, ignored));
  const std::unique_ptr<EVP_MD_CTX, Release<EVP_MD_CTX_free> > context(EVP_MD_CTX_new());
  if (!context || !EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr)) throw std::bad_alloc();
  std::vector<char> buffer(1 << 20);
  for (int64_t done = 0;;) {
    const ssize_t got = ::read(file.descriptor, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(path, "cannot be read", errno);
    if (got == 0) break;
    EVP_DigestUpdate(context.get(), buffer.data(), size_t(got));
    report(progress, "bytes checked", done += got, total);
  }
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_DigestFinal_ex(context.get(), digest, &size);
  std::string text;
  for (unsigned int i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

// A transfer into a file that may hold the beginning already.
struct Transfer {
  CURL* curl;
  int file;
  int64_t offset;  // where the first byte that comes belongs
  const Progress& progress;
  bool started = false, interrupted = false;
  int write_error = 0;

  long response() const {  // 0: not HTTP
    long code = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
    return code;
  }

  static size_t write(char* bytes, size_t size, size_t count, void* user) {
    auto& t = *static_cast<Transfer*>(user);
    if (!t.started) {
      t.started = true;
      if (t.response() == 200) t.offset = 0;  // all of it: this server does not know ranges
      if (::ftruncate(t.file, t.offset) != 0 || ::lseek(t.file, t.offset, SEEK_SET) < 0) {
        t.write_error = errno;
        return 0;
      }
    }
    if (!write_all(t.file, bytes, size * count)) {
      t.write_error = errno;
      return 0;
    }
    return size * count;
  }

  static int watch(void* user, curl_off_t total, curl_off_t done, curl_off_t, curl_off_t) {
    auto& t = *static_cast<Transfer*>(user);
    if (!t.progress) return 0;
    t.interrupted = !t.progress("bytes downloaded", t.offset + done, total > 0 ? t.offset + total : 0);
    return t.interrupted;
  }
};

enum class Fetched { all, nothing_left };  // nothing_left: the server has no bytes behind those that are here

Fetched fetch(const Archive& archive, const fs::path& root, int file, const fs::path& partial,
              const DownloadOptions& options) {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  const std::unique_ptr<CURL, Release<curl_easy_cleanup> > curl(curl_easy_init());
  if (initialised != CURLE_OK || !curl) throw std::bad_alloc();
  const std::string url = url_of(archive);
  Transfer transfer{curl.get(), file, ::lseek(file, 0, SEEK_END), options.progress};
  const int64_t before = transfer.offset;
  const std::string range = fmt::format("{}-", before);
  char reason[CURL_ERROR_SIZE] = "";

  const auto set = [&](CURLoption option, auto value) { curl_easy_setopt(curl.get(), option, value); };
  set(CURLOPT_URL, url.c_str());
  set(CURLOPT_ERRORBUFFER, reason);
  set(CURLOPT_USERAGENT, "mobilenet.cu");
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_FAILONERROR, 1L);  // a page that says "not found" is no archive
  set(CURLOPT_FOLLOWLOCATION, 1L);
  set(CURLOPT_MAXREDIRS, 10L);
#if LIBCURL_VERSION_NUM >= 0x075500
  set(CURLOPT_PROTOCOLS_STR, "http,https,file");
  set(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
#else
  set(CURLOPT_PROTOCOLS, long{CURLPROTO_HTTP | CURLPROTO_HTTPS | CURLPROTO_FILE});
  set(CURLOPT_REDIR_PROTOCOLS, long{CURLPROTO_HTTP | CURLPROTO_HTTPS});
#endif
  set(CURLOPT_CONNECTTIMEOUT, long{options.connect_seconds});
  set(CURLOPT_LOW_SPEED_LIMIT, 1L);  // bytes a second
  set(CURLOPT_LOW_SPEED_TIME, long{options.stall_seconds});
  if (before > 0) set(CURLOPT_RANGE, range.c_str());
  set(CURLOPT_WRITEFUNCTION, &Transfer::write);
  set(CURLOPT_WRITEDATA, &transfer);
  set(CURLOPT_XFERINFOFUNCTION, &Transfer::watch);
  set(CURLOPT_XFERINFODATA, &transfer);
  set(CURLOPT_NOPROGRESS, 0L);

  const CURLcode code = curl_easy_perform(curl.get());
  if (code == CURLE_OK) return Fetched::all;
  if (transfer.interrupted) throw Interrupted("interrupted while downloading; the next time goes on from here");
  if (transfer.write_error != 0) fail(partial, "cannot be written", transfer.write_error);
  const bool behind_the_end = transfer.response() == 416 || code == CURLE_RANGE_ERROR ||
                              code == CURLE_BAD_DOWNLOAD_RESUME || code == CURLE_FILE_COULDNT_READ_FILE;
  if (before > 0 && behind_the_end) return Fetched::nothing_left;

  const int64_t bytes = ::lseek(file, 0, SEEK_END);
  const std::string kept =
      bytes > 0 ? fmt::format("; the first {} bytes are kept, and the next try goes on behind them", bytes) : "";
  throw Error(fmt::format("{}: {}{}; or {}", url, *reason != '\0' ? reason : curl_easy_strerror(code), kept,
                          by_hand(archive, root)));
}

// Downloads to root / archive.file, checked.
void fetch_checked(const Archive& archive, const fs::path& root, const DownloadOptions& options) {
  std::error_code error;
  fs::create_directories(root, error);
  if (error) throw Error(fmt::format("{}: cannot be made: {}", root.string(), error.message()));
  const fs::path partial = (root / archive.file).string() + ".part";
  const File file(::open(partial.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (file.descriptor < 0) fail(partial, "cannot be written", errno);
  if (::flock(file.descriptor, LOCK_EX | LOCK_NB) != 0) {
    throw Error(
        fmt::format("{}: in use: another download of it is going on; expected one at a time", partial.string()));
  }
  const auto is_right = [&](std::string& sum) {
    sum = sha256_of(partial, options.progress);
    return sum == archive.sha256;
  };
  std::string sum;
  const Fetched fetched = fetch(archive, root, file.descriptor, partial, options);
  bool right = is_right(sum);
  if (!right && fetched == Fetched::nothing_left) {
    // What was here is not the beginning of the file.
    if (::ftruncate(file.descriptor, 0) != 0) fail(partial, "cannot be written", errno);
    fetch(archive, root, file.descriptor, partial, options);
    right = is_right(sum);
  }
  if (!right) {
    fs::remove(partial, error);
    throw Error(
        fmt::format("{}: the SHA-256 of what came is {}; expected {}: damaged on its way, or another file; it "
                    "was removed: try again, or {}",
                    url_of(archive), sum, archive.sha256, by_hand(archive, root)));
  }
  if (::fsync(file.descriptor) != 0) fail(partial, "cannot be written", errno);
  if (std::rename(partial.c_str(), (root / archive.file).c_str()) != 0)
    fail(root / archive.file, "cannot be written", errno);
}

// Removed with all that is in it, unless it has been moved away.
struct TemporaryFolder {
  fs::path path;
  explicit TemporaryFolder(const fs::path& root) {
    std::string pattern = (root / ".unpacking-XXXXXX").string();
    if (!::mkdtemp(pattern.data())) fail(root, "cannot be written", errno);
    path = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
};

// Where an entry of the archive goes below a folder: FOLDER or FOLDER/…; empty where it is to go elsewhere.
fs::path safe_path(const char* name, const std::string& folder) {
  const fs::path path = fs::path(name != nullptr ? name : "").lexically_normal();
  if (path.empty() || path.is_absolute() || *path.begin() != folder) return {};
  return path;  // normal: ".." could only come first
}

void extract(const Archive& archive, const fs::path& file, const fs::path& to, const Progress& progress) {
  const std::unique_ptr< ::archive, Release<archive_read_free> > reader(archive_read_new());
  if (!reader) throw std::bad_alloc();
  const auto damaged = [&] {
    const char* reason = archive_error_string(reader.get());
    throw Error(fmt::format("{}: a damaged archive: {}; expected a whole .tar.gz", file.string(),
                            reason != nullptr ? reason : "cut short"));
  };
  archive_read_support_filter_gzip(reader.get());
  archive_read_support_format_tar(reader.get());
  if (archive_read_open_filename(reader.get(), file.c_str(), 1 << 16) != ARCHIVE_OK) damaged();
  std::error_code error;
  const auto total = int64_t(fs::file_size(file, error));
  std::vector<char> buffer(1 << 18);
  while (true) {
    archive_entry* entry = nullptr;
    const int status = archive_read_next_header(reader.get(), &entry);
    if (status == ARCHIVE_EOF) break;
    if (status != ARCHIVE_OK) damaged();
    const char* name = archive_entry_pathname(entry);
    const auto type = archive_entry_filetype(entry);
    const bool is_file = type == AE_IFREG, is_link = archive_entry_hardlink(entry) != nullptr;
    const fs::path path = safe_path(name, archive.folder);
    if (path.empty() || is_link || (!is_file && type != AE_IFDIR)) {
      throw Error(fmt::format("{}: holds \"{}\"{}; expected files in {} and nothing else", file.string(),
                              name != nullptr ? name : "", path.empty() ? "" : ", which is neither file nor folder",
                              archive.folder));
    }
    const fs::path folder = to / (is_file ? path.parent_path() : path);
    fs::create_directories(folder, error);
    if (error) throw Error(fmt::format("{}: cannot be made: {}", folder.string(), error.message()));
    if (!is_file) continue;
    const File out(::open((to / path).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (out.descriptor < 0 && errno == EEXIST) {
      throw Error(fmt::format("{}: holds \"{}\" twice; expected each file once", file.string(), name));
    }
    if (out.descriptor < 0) fail(to / path, "cannot be written", errno);
    while (true) {
      const auto got = archive_read_data(reader.get(), buffer.data(), buffer.size());
      if (got < 0) damaged();
      if (got == 0) break;
      if (!write_all(out.descriptor, buffer.data(), size_t(got))) fail(to / path, "cannot be written", errno);
      report(progress, "bytes unpacked", archive_filter_bytes(reader.get(), -1), total);
    }
    if (::fsync(out.descriptor) != 0) fail(to / path, "cannot be written", errno);
  }
  if (!fs::is_directory(to / archive.folder, error)) {
    throw Error(
        fmt::format("{}: an archive without {}; expected its files in that folder", file.string(), archive.folder));
  }
}

void extract_and_move(const Archive& archive, const fs::path& root, const Progress& progress) {
  const fs::path file = root / archive.file;
  const TemporaryFolder temporary(root);
  extract(archive, file, temporary.path, progress);
  const fs::path target = root / archive.folder;
  if (std::rename((temporary.path / archive.folder).c_str(), target.c_str()) != 0) {
    throw Error(fmt::format("{}: cannot be replaced by what {} holds: {}; remove that folder first", target.string(),
                            file.string(), std::strerror(errno)));
  }
}

}  // namespace

void download(const Archive& archive, const fs::path& root, const DownloadOptions& options) {
  std::error_code ignored;
  if (fs::exists(root / archive.file, ignored)) {
    unpack(archive, root, options.progress);
    return;
  }
  fetch_checked(archive, root, options);
  extract_and_move(archive, root, options.progress);
}

void unpack(const Archive& archive, const fs::path& root, const Progress& progress) {
  const fs::path file = root / archive.file;
  const std::string sum = sha256_of(file, progress);
  if (sum != archive.sha256) {
    throw Error(fmt::format("{}: SHA-256 {}; expected {}: not the archive of {}, or damaged; remove it and try again",
                            file.string(), sum, archive.sha256, url_of(archive)));
  }
  extract_and_move(archive, root, progress);
}

#endif

}  // namespace data
