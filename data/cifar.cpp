#include "data/cifar.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "data/error.h"
#include "data/file.h"

namespace data {
namespace {

constexpr int side = 32;
constexpr size_t pixels = side * side;

const std::vector<std::string> cifar10_names = {"airplane", "automobile", "bird",  "cat",  "deer",
                                                "dog",      "frog",       "horse", "ship", "truck"};
const std::vector<std::string> cifar100_names = {
    "apple",      "aquarium_fish", "baby",         "bear",       "beaver",      "bed",         "bee",
    "beetle",     "bicycle",       "bottle",       "bowl",       "boy",         "bridge",      "bus",
    "butterfly",  "camel",         "can",          "castle",     "caterpillar", "cattle",      "chair",
    "chimpanzee", "clock",         "cloud",        "cockroach",  "couch",       "crab",        "crocodile",
    "cup",        "dinosaur",      "dolphin",      "elephant",   "flatfish",    "forest",      "fox",
    "girl",       "hamster",       "house",        "kangaroo",   "keyboard",    "lamp",        "lawn_mower",
    "leopard",    "lion",          "lizard",       "lobster",    "man",         "maple_tree",  "motorcycle",
    "mountain",   "mouse",         "mushroom",     "oak_tree",   "orange",      "orchid",      "otter",
    "palm_tree",  "pear",          "pickup_truck", "pine_tree",  "plain",       "plate",       "poppy",
    "porcupine",  "possum",        "rabbit",       "raccoon",    "ray",         "road",        "rocket",
    "rose",       "sea",           "seal",         "shark",      "shrew",       "skunk",       "skyscraper",
    "snail",      "snake",         "spider",       "squirrel",   "streetcar",   "sunflower",   "sweet_pepper",
    "table",      "tank",          "telephone",    "television", "tiger",       "tractor",     "train",
    "trout",      "tulip",         "turtle",       "wardrobe",   "whale",       "willow_tree", "wolf",
    "woman",      "worm"};

// All in which the two sets differ.
struct Format {
  std::string title, folder, files;  // for messages; the archive's folder
  std::vector<std::string> train_files;
  std::string test_file, names_file;
  const std::vector<std::string>& standard_names;  // (classes)
  size_t label_bytes;                              // the last of them is the label
};

const Format& format_of(Cifar which) {
  static const Format cifar10{
      "CIFAR-10",
      "cifar-10-batches-bin",
      "data_batch_1.bin … data_batch_5.bin and test_batch.bin",
      {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"},
      "test_batch.bin",
      "batches.meta.txt",
      cifar10_names,
      1};
  static const Format cifar100{"CIFAR-100", "cifar-100-binary",     "train.bin and test.bin", {"train.bin"},
                               "test.bin",  "fine_label_names.txt", cifar100_names,           2};
  return which == Cifar::cifar10 ? cifar10 : cifar100;
}

bool is_present(const std::filesystem::path& path) {
  std::error_code ignored;  // what cannot be looked at is not there
  return std::filesystem::exists(path, ignored);
}

void append_records(Dataset& dataset, const Format& format, const std::filesystem::path& path) {
  const std::vector<uint8_t> bytes = read_file(path);
  const size_t record_bytes = format.label_bytes + 3 * pixels;
  if (bytes.empty() || bytes.size() % record_bytes != 0) {
    throw Error(fmt::format("{}: {} bytes; expected a whole number of {}'s records of {} bytes each, at least one",
                            path.string(), bytes.size(), format.title, record_bytes));
  }
  const size_t records = bytes.size() / record_bytes;
  const size_t before = dataset.size();
  dataset.labels.resize(before + records);
  dataset.images.resize((before + records) * dataset.image_bytes());
  for (size_t r = 0; r < records; ++r) {
    const uint8_t* record = &bytes[r * record_bytes];
    const int label = record[format.label_bytes - 1];
    if (size_t(label) >= dataset.class_names.size()) {
      throw Error(fmt::format("{}: record {} has label {}; expected 0 … {}", path.string(), r, label,
                              dataset.class_names.size() - 1));
    }
    dataset.labels[before + r] = label;
    const uint8_t* planes = record + format.label_bytes;  // (3, 32, 32)
    uint8_t* image = dataset.image(before + r);           // (32, 32, 3)
    for (size_t i = 0; i < pixels; ++i) {
      for (size_t c = 0; c < 3; ++c) image[i * 3 + c] = planes[c * pixels + i];
    }
  }
}

// One name a line; the official files end with an empty line.
std::vector<std::string> read_names(const std::filesystem::path& path, size_t classes) {
  std::vector<std::string> names(1);
  for (const uint8_t byte : read_file(path)) {
    if (byte == '\n') {
      names.emplace_back();
    } else if (byte != '\r') {
      names.back() += char(byte);
    }
  }
  std::erase(names, "");
  if (names.size() != classes) {
    throw Error(fmt::format("{}: {} class names; expected {}, one a line", path.string(), names.size(), classes));
  }
  return names;
}

}  // namespace

std::filesystem::path find_cifar(const std::filesystem::path& folder, Cifar which) {
  const Format& format = format_of(which);
  for (const auto& candidate : {folder, folder / format.folder}) {
    const auto is_there = [&](const std::string& file) { return is_present(candidate / file); };
    if (is_there(format.test_file) || std::any_of(format.train_files.begin(), format.train_files.end(), is_there)) {
      return candidate;
    }
  }
  return {};
}

Split read_cifar(const std::filesystem::path& folder, Cifar which) {
  const Format& format = format_of(which);
  const std::filesystem::path found = find_cifar(folder, which);
  if (found.empty()) {
    throw Error(fmt::format("{}: no {} here; expected {} in it or in its folder {}", folder.string(), format.title,
                            cifar_files(which), format.folder));
  }
  Dataset empty{side, side, format.standard_names, {}, {}};
  if (is_present(found / format.names_file)) {
    empty.class_names = read_names(found / format.names_file, format.standard_names.size());
  }
  const auto read = [&](std::span<const std::string> files) {
    Dataset dataset = empty;
    for (const std::string& file : files) {
      if (!is_present(found / file)) {
        throw Error(fmt::format("{}: {} is missing; expected {}", found.string(), file, cifar_files(which)));
      }
      append_records(dataset, format, found / file);
    }
    return dataset;
  };
  return {read(format.train_files), read({&format.test_file, 1})};
}

std::string cifar_files(Cifar which) {
  const Format& format = format_of(which);
  return fmt::format("{} ({}, binary version)", format.files, format.title);
}

std::string cifar_folder(Cifar which) { return format_of(which).folder; }

}  // namespace data
