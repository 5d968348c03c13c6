#include "data/open.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "data/cifar.h"
#include "data/download.h"
#include "data/image_folder.h"
#include "data/shapes.h"

namespace data {
namespace {

struct Sizes {
  size_t train, test;
};

// What OpenOptions::limit leaves of a set.
Sizes limited(Sizes sizes, size_t limit) {
  if (limit == 0 || limit >= sizes.train) return sizes;
  return {limit, std::max<size_t>((sizes.test * limit + sizes.train - 1) / sizes.train, 1)};
}

Opened describe(Split split, std::string name, const std::string& what, size_t limit) {
  const Sizes sizes = limited({split.train.size(), split.test.size()}, limit);
  split = {take(std::move(split.train), sizes.train), take(std::move(split.test), sizes.test)};
  const std::string message =
      fmt::format("data: {}, {} training and {} test images of {}x{}, {} classes", what, split.train.size(),
                  split.test.size(), split.train.height, split.train.width, split.train.class_names.size());
  return {std::move(split), std::move(name), message};
}

Opened open_shapes(const OpenOptions& options, const std::string& why) {
  // No more than are taken: drawing the whole set takes half a second.
  const Sizes sizes = limited({options.shapes_train, options.shapes_test}, options.limit);
  return describe(draw_shapes(sizes.train, sizes.test, options.shapes_seed), "shapes", "the built-in shapes" + why,
                  options.limit);
}

Opened open_cifar(const std::filesystem::path& folder, Cifar which, const OpenOptions& options) {
  const bool ten = which == Cifar::cifar10;
  return describe(read_cifar(folder, which), ten ? "cifar10" : "cifar100",
                  fmt::format("{} from {}", ten ? "CIFAR-10" : "CIFAR-100", find_cifar(folder, which).string()),
                  options.limit);
}

Opened open_images(const std::filesystem::path& folder, const OpenOptions& options) {
  Split split = read_image_folder(
      folder, {.resolution = options.resolution, .threads = options.threads, .progress = options.progress});
  return describe(std::move(split), "images", "image files from " + folder.string(), options.limit);
}

// Whether data_folder() has the set, after unpacking or downloading it where that is asked for.
bool provide_cifar(const std::filesystem::path& root, Cifar which, const OpenOptions& options) {
  if (!find_cifar(root, which).empty()) return true;
  Archive archive = official_archive(which);
  if (!options.url.empty()) archive.url = options.url;
  if (options.download) {
    download(archive, root, {.progress = options.progress});
  } else if (std::filesystem::exists(root / archive.file)) {
    unpack(archive, root, options.progress);
  } else {
    return false;
  }
  return true;
}

Opened open_cifar_by_name(Cifar which, const OpenOptions& options) {
  const std::filesystem::path root = data_folder();
  if (root.empty()) {
    throw Error(
        fmt::format("no folder to look for data in: none of MOBILENET_DATA, XDG_CACHE_HOME and HOME is set; "
                    "set MOBILENET_DATA to the folder that holds {}",
                    cifar_folder(which)));
  }
  if (!provide_cifar(root, which, options)) {
    throw Error(fmt::format(
        "{}: not found; put {} there, or the archive {} beside it, or set MOBILENET_DATA to the "
        "folder that holds {}",
        (root / cifar_folder(which)).string(), cifar_files(which), official_archive(which).file, cifar_folder(which)));
  }
  return open_cifar(root, which, options);
}

Opened open_auto(const OpenOptions& options) {
  if (options.download) return open_cifar_by_name(Cifar::cifar10, options);
  const std::filesystem::path root = data_folder();
  if (root.empty())
    return open_shapes(options, " (no data folder: none of MOBILENET_DATA, XDG_CACHE_HOME and HOME is set)");
  if (provide_cifar(root, Cifar::cifar10, options)) return open_cifar(root, Cifar::cifar10, options);
  return open_shapes(options, fmt::format(" (no CIFAR-10 in {})", root.string()));
}

Opened open_folder(const std::filesystem::path& folder, const OpenOptions& options) {
  const std::string expected = fmt::format("expected {}, {}, or images as train/CLASS/IMAGE and test/CLASS/IMAGE",
                                           cifar_files(Cifar::cifar10), cifar_files(Cifar::cifar100));
  std::error_code error;
  const auto status = std::filesystem::status(folder, error);
  if (!std::filesystem::exists(status)) {
    throw Error(fmt::format("{}: no such data set or folder; expected auto, shapes, cifar10, cifar100 or a folder",
                            folder.string()));
  }
  if (!std::filesystem::is_directory(status)) {
    throw Error(fmt::format("{}: a file; expected auto, shapes, cifar10, cifar100 or a folder", folder.string()));
  }
  const bool ten = !find_cifar(folder, Cifar::cifar10).empty(), hundred = !find_cifar(folder, Cifar::cifar100).empty();
  if (ten && hundred) {
    throw Error(fmt::format("{}: both CIFAR-10 and CIFAR-100; expected one: give {} or {}", folder.string(),
                            find_cifar(folder, Cifar::cifar10).string(), find_cifar(folder, Cifar::cifar100).string()));
  }
  if (ten) return open_cifar(folder, Cifar::cifar10, options);
  if (hundred) return open_cifar(folder, Cifar::cifar100, options);
  if (is_image_folder(folder)) return open_images(folder, options);
  const bool empty = std::filesystem::is_empty(folder, error);
  if (error) throw Error(fmt::format("{}: cannot be read: {}", folder.string(), error.message()));
  throw Error(fmt::format("{}: {}; {} in it", folder.string(),
                          empty ? "an empty folder" : "no data set that is known here", expected));
}

}  // namespace

std::filesystem::path data_folder() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::filesystem::path(value ? value : "");
  };
  if (const auto path = variable("MOBILENET_DATA"); !path.empty()) return path;
  // The XDG Base Directory Specification: a relative path is invalid and to be ignored.
  if (const auto path = variable("XDG_CACHE_HOME"); path.is_absolute()) return path / "mobilenet";
  if (const auto path = variable("HOME"); !path.empty()) return path / ".cache" / "mobilenet";
  return {};
}

Opened open(const std::string& name_or_folder, const OpenOptions& options) {
  if (name_or_folder == "auto") return open_auto(options);
  if (name_or_folder == "cifar10") return open_cifar_by_name(Cifar::cifar10, options);
  if (name_or_folder == "cifar100") return open_cifar_by_name(Cifar::cifar100, options);
  if (options.download) {
    throw Error(fmt::format("{}: cannot be downloaded; expected cifar10 or cifar100", name_or_folder));
  }
  if (name_or_folder == "shapes") return open_shapes(options, "");
  return open_folder(name_or_folder, options);
}

}  // namespace data
