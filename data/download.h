#pragma once

#include <filesystem>
#include <string>

#include "data/cifar.h"
#include "data/error.h"

namespace data {

// A set's archive (.tar.gz) and what it unpacks to.
struct Archive {
  std::string url;     // http://, https:// or file://; where it ends with "/", `file` in there
  std::string file;    // "cifar-10-binary.tar.gz"
  std::string sha256;  // of the archive: 64 digits, lower case
  std::string folder;  // the one folder in it: "cifar-10-batches-bin"
};

// Where the set's authors keep it: https://www.cs.toronto.edu/~kriz/.
Archive official_archive(Cifar which);

struct DownloadOptions {
  int connect_seconds = 30;  // to reach the server
  int stall_seconds = 60;    // without a byte: given up
  Progress progress{};       // "bytes downloaded", then "bytes unpacked"
};

// Sees to it that ROOT/FILE is there with the right checksum, and unpacks it to ROOT/FOLDER. Bytes go to
// ROOT/FILE.part, which stays where a transfer breaks off or is interrupted: the next call goes on behind them, or
// begins again where the server does not know ranges. A file with a wrong checksum is removed. Redirections are
// followed. Throws data::Error (what failed, and which file to get and where to put it by hand) and Interrupted.
void download(const Archive& archive, const std::filesystem::path& root, const DownloadOptions& options = {});

// Checks ROOT/FILE and unpacks it to ROOT/FOLDER, which appears whole or not at all. Of an archive, files and folders
// below FOLDER are taken; links, and paths that lead elsewhere, are an error. A file with a wrong checksum stays: the
// user has put it there.
void unpack(const Archive& archive, const std::filesystem::path& root, const Progress& progress = {});

// The libraries that do this: "libcurl 7.88.1, libarchive 3.6.2, OpenSSL 3.0.19"; empty where the build has none, and
// both functions throw.
std::string download_libraries();

}  // namespace data
