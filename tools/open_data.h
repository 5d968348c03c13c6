// --data, --download and --url: the options of every subcommand that reads a set of images.
#pragma once

#include <string>

#include "data/open.h"
#include "tools/interrupt.h"

namespace CLI {
class App;
}

namespace tools {

inline constexpr const char* data_help =
    "auto (cifar10 where it is found, else shapes), shapes (drawn by the program), cifar10, cifar100, or a folder with "
    "the latter two's binary files, or with images: train/CLASS/*, test/CLASS/*";

struct DownloadOptions {
  bool download = false;
  std::string url;
};
void add_options(CLI::App&, DownloadOptions&);

// Opens the set, as data::open does (which says what `resolution` and `limit` are), and shows on standard error what
// takes long. `interrupt` (may be nullptr) ends it: data::Interrupted is thrown.
data::Opened open_data(const std::string& name_or_folder, int resolution, int64_t limit, const DownloadOptions&,
                       const Interrupt* interrupt = nullptr);

}  // namespace tools
