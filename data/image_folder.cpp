#include "data/image_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <fstream>
#include <limits>
#include <mutex>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "data/image.h"
#include "data/random.h"

namespace data {
namespace {

namespace fs = std::filesystem;

constexpr const char* layout = "FOLDER/train/CLASS/IMAGE and FOLDER/test/CLASS/IMAGE";

bool is_folder(const fs::path& path) {
  std::error_code ignored;  // what cannot be looked at is not there
  return fs::is_directory(path, ignored);
}

// What is in a folder, sorted by name, without hidden files.
std::vector<fs::path> entries(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> paths;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (at->path().filename().string().front() != '.') paths.push_back(at->path());
  }
  if (error) throw Error(fmt::format("{}: cannot be read: {}", folder.string(), error.message()));
  std::sort(paths.begin(), paths.end(), [](const fs::path& a, const fs::path& b) { return a.native() < b.native(); });
  return paths;
}

fs::file_status status_of(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (error && status.type() != fs::file_type::not_found) {
    throw Error(fmt::format("{}: cannot be read: {}", path.string(), error.message()));
  }
  return status;
}

void append_files(const fs::path& folder, std::vector<fs::path>& files) {
  for (const fs::path& path : entries(folder)) {
    const fs::file_status status = status_of(path);
    if (fs::is_directory(status)) {
      append_files(path, files);
    } else if (fs::is_regular_file(status)) {
      files.push_back(path);
    } else {
      throw Error(fmt::format("{}: {}; expected an image file", path.string(),
                              fs::exists(status) ? "neither a file nor a folder" : "a link to nothing"));
    }
  }
}

// Whether it is UTF-8 without control characters, so that it can stand in a message, a JSON file and a page.
bool is_text(const std::string& name) {
  const auto byte = [&](size_t i) { return i < name.size() ? uint8_t(name[i]) : 0; };
  for (size_t i = 0; i < name.size();) {
    const uint8_t first = byte(i), second = byte(i + 1);
    if (first < 0x20 || first == 0x7F) return false;
    const size_t length = first < 0x80   ? 1
                          : first < 0xC2 ? 0
                          : first < 0xE0 ? 2
                          : first < 0xF0 ? 3
                          : first < 0xF5 ? 4
                                         : 0;
    if (length == 0) return false;
    for (size_t k = 1; k < length; ++k) {
      if ((byte(i + k) & 0xC0) != 0x80) return false;
    }
    // More bytes than needed, a surrogate, or beyond U+10FFFF.
    if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) || (first == 0xF0 && second < 0x90) ||
        (first == 0xF4 && second > 0x8F)) {
      return false;
    }
    i += length;
  }
  return true;
}

struct Class {
  std::string name;
  std::vector<fs::path> files;
};

std::vector<Class> find_classes(const fs::path& part) {
  if (!is_folder(part)) throw Error(fmt::format("{}: no such folder; expected {}", part.string(), layout));
  std::vector<Class> classes;
  for (const fs::path& path : entries(part)) {
    if (!fs::is_directory(status_of(path))) {
      throw Error(fmt::format("{}: a file where a class's folder was expected: {}", path.string(), layout));
    }
    std::string name = path.filename().string();
    if (!is_text(name)) {
      for (char& c : name) c = c >= 0x20 && c < 0x7F ? c : '?';
      throw Error(fmt::format("{}: a class's folder whose name is no text; expected UTF-8 without control characters",
                              (part / name).string()));
    }
    classes.push_back({std::move(name), {}});
    append_files(path, classes.back().files);
    if (classes.back().files.empty()) {
      throw Error(fmt::format("{}: a class without images; expected at least one file", path.string()));
    }
  }
  if (classes.empty()) throw Error(fmt::format("{}: no classes; expected {}", part.string(), layout));
  return classes;
}

void check_same_classes(const std::vector<Class>& train, const std::vector<Class>& test, const fs::path& folder) {
  const auto check = [&](const std::vector<Class>& these, const char* here, const std::vector<Class>& those,
                         const char* there) {
    for (const Class& one : these) {
      if (std::none_of(those.begin(), those.end(), [&](const Class& other) { return other.name == one.name; })) {
        throw Error(fmt::format("{}: a class that is not in {}; expected the same classes in both",
                                (folder / here / one.name).string(), (folder / there).string()));
      }
    }
  };
  check(test, "test", train, "train");
  check(train, "train", test, "test");
}

struct Item {
  fs::path file;
  int32_t label;
};

// In each class a fixed random order, for files' names may say when or where pictures were taken; then image k of a
// class of n stands at (k + 1/2) / n of the way.
std::vector<Item> mixed(std::vector<Class> classes) {
  struct Place {
    uint64_t k2, n;  // (k + 1/2) / n = k2 / 2n
    Item item;
  };
  std::vector<Place> places;
  for (size_t label = 0; label < classes.size(); ++label) {
    std::vector<fs::path>& files = classes[label].files;
    const std::vector<size_t> order = shuffled_indices(files.size(), 0, uint32_t(label), Purpose::image_folder);
    for (size_t k = 0; k < files.size(); ++k) {
      places.push_back({2 * k + 1, files.size(), {std::move(files[order[k]]), int32_t(label)}});
    }
  }
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    return std::pair(a.k2 * b.n, a.item.label) < std::pair(b.k2 * a.n, b.item.label);
  });
  std::vector<Item> items;
  items.reserve(places.size());
  for (Place& place : places) items.push_back(std::move(place.item));
  return items;
}

void decode(const fs::path& file, int resolution, uint8_t* out) {
  const Image square = read_square(file, resolution);
  std::copy(square.pixels.begin(), square.pixels.end(), out);
}

// Decodes item i to out[i] on several threads.
void decode_all(std::span<const Item> items, std::span<uint8_t* const> out, const ImageFolderOptions& options) {
  const size_t total = items.size();
  std::atomic<size_t> next = 0, done = 0;
  std::atomic<bool> stop = false;
  std::mutex mutex;  // of what follows
  std::condition_variable finished;
  size_t running = options.threads > 0 ? size_t(options.threads) : std::max(1u, std::thread::hardware_concurrency());
  running = std::min(running, total);
  size_t first_error = total;
  std::exception_ptr error;

  const auto work = [&] {
    // Items are taken in order, so that whatever comes before a failed one has been tried as well.
    while (!stop) {
      const size_t i = next++;
      if (i >= total) break;
      try {
        decode(items[i].file, options.resolution, out[i]);
        ++done;
      } catch (...) {
        stop = true;
        const std::lock_guard lock(mutex);
        if (i < first_error) first_error = i, error = std::current_exception();
      }
    }
    const std::lock_guard lock(mutex);
    --running;
    finished.notify_one();
  };
  std::vector<std::thread> threads;
  const auto end_all = [&] {
    stop = true;
    for (std::thread& thread : threads) thread.join();
  };
  try {
    for (size_t n = running, i = 0; i < n; ++i) threads.emplace_back(work);
    std::unique_lock lock(mutex);
    while (!finished.wait_for(lock, std::chrono::milliseconds(100), [&] { return running == 0; })) {
      if (!options.progress) continue;
      lock.unlock();
      if (!options.progress("images read", int64_t(done), int64_t(total)))
        throw Interrupted("interrupted while reading images");
      lock.lock();
    }
  } catch (...) {
    end_all();
    throw;
  }
  end_all();
  if (error) std::rethrow_exception(error);
  if (options.progress && !options.progress("images read", int64_t(total), int64_t(total))) {
    throw Interrupted("interrupted while reading images");
  }
}

void check_memory(const fs::path& folder, size_t images, int resolution) {
  const double needed = double(images) * resolution * resolution * 3, available = double(available_memory());
  if (needed > available) {
    throw Error(
        fmt::format("{}: {} images at {}x{} take {:.3g} GB of memory, and {:.3g} GB are free; expected fewer images or "
                    "a lower resolution",
                    folder.string(), images, resolution, resolution, needed / 1e9, available / 1e9));
  }
}

}  // namespace

bool is_image_folder(const fs::path& folder) { return is_folder(folder / "train") || is_folder(folder / "test"); }

Split read_image_folder(const fs::path& folder, const ImageFolderOptions& options) {
  if (options.resolution < 1 || options.threads < 0) {
    throw std::invalid_argument(fmt::format("read_image_folder: resolution {}, {} threads; expected 1 and 0 or more",
                                            options.resolution, options.threads));
  }
  std::vector<Class> train = find_classes(folder / "train"), test = find_classes(folder / "test");
  check_same_classes(train, test, folder);

  Dataset empty{options.resolution, options.resolution, {}, {}, {}};
  for (const Class& one : train) empty.class_names.push_back(one.name);
  Split split{empty, empty};
  std::vector<Item> items = mixed(std::move(train));
  const size_t train_size = items.size();
  for (Item& item : mixed(std::move(test))) items.push_back(std::move(item));

  check_memory(folder, items.size(), options.resolution);
  std::vector<uint8_t*> out(items.size());
  const auto allocate = [&](Dataset& dataset, size_t from, size_t to) {
    dataset.images.resize((to - from) * dataset.image_bytes());
    for (size_t i = from; i < to; ++i) {
      dataset.labels.push_back(items[i].label);
      out[i] = dataset.image(i - from);
    }
  };
  allocate(split.train, 0, train_size);
  allocate(split.test, train_size, items.size());
  decode_all(items, out, options);
  return split;
}

uint64_t available_memory() {
  // The first number after `name` in a file, or in all of it; nothing where there is none ("max").
  const auto number = [](const char* path, const std::string& name, uint64_t otherwise) {
    std::ifstream file(path);
    for (std::string word; name != "" && file >> word && word != name;) {
    }
    uint64_t value;
    return file >> value ? value : otherwise;
  };
  constexpr uint64_t unknown = std::numeric_limits<uint64_t>::max();
  uint64_t available = number("/proc/meminfo", "MemAvailable:", unknown / 1024) * 1024;
  const struct {
    const char *limit, *used, *statistics, *cache;
  } groups[] = {
      {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat", "inactive_file"},
      {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes",
       "/sys/fs/cgroup/memory/memory.stat", "total_inactive_file"}};
  for (const auto& group : groups) {
    const uint64_t limit = number(group.limit, "", unknown), used = number(group.used, "", 0);
    if (limit == unknown) continue;
    const uint64_t cache = std::min(used, number(group.statistics, group.cache, 0));  // given up where memory is short
    available = std::min(available, limit - std::min(limit, used - cache));
  }
  return available;
}

}  // namespace data
