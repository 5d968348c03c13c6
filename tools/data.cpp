// mobilenet data: what a set of images holds, some of its test images as files, and a sheet of what training sees.

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <filesystem>
#include <memory>

#include "data/image.h"
#include "data/loader.h"
#include "engine/error.h"
#include "tools/command.h"
#include "tools/evaluate.h"
#include "tools/open_data.h"
#include "tools/options.h"
#include "tools/sheet.h"
#include "tools/train_options.h"

namespace tools {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string data = "auto", folder, sheet;
  DownloadOptions download;
  int64_t count = 10;
  int resolution = 32;
  std::string augment = "article";
  AugmentRanges ranges;
  uint64_t seed = 0;
};

// Normalised floats, (H, W, 3), back to bytes.
data::Image to_image(const float* pixels, int size, const data::Normalization& n) {
  data::Image image{size, size, std::vector<uint8_t>(size_t(3) * size * size)};
  for (size_t i = 0; i < image.pixels.size(); ++i)
    image.pixels[i] =
        static_cast<uint8_t>(std::lround(255 * std::clamp(pixels[i] * n.std[i % 3] + n.mean[i % 3], 0.0f, 1.0f)));
  return image;
}

// A row for each of the first training images: the image, and how the first seven epochs show it.
data::Image augmented_sheet(const data::Dataset& set, const Options& o) {
  constexpr int columns = 8;
  const int rows = static_cast<int>(std::min<size_t>(o.count, set.size()));
  const data::Normalization normalization;
  data::LoaderOptions loading = test_loading(normalization, rows, o.resolution, 0);
  std::vector<Tile> tiles(size_t(rows) * columns);
  const auto add_column = [&](int column, uint32_t epoch) {
    data::Loader loader(set, loading);
    loader.start(epoch);
    const data::HostBatch& batch = loader.next();
    const size_t image = size_t(3) * o.resolution * o.resolution;
    for (int row = 0; row < rows; ++row) {
      tiles[size_t(row) * columns + column] = {
          to_image(&batch.images[row * image], o.resolution, normalization),
          column == 0 ? set.class_names[batch.labels[row]] : fmt::format("epoch {}", epoch + 1), Mark::none};
    }
  };
  add_column(0, 0);
  loading.seed = o.seed;
  set_ranges(loading.augment, o.ranges);
  for (int column = 1; column < columns; ++column) add_column(column, column - 1);
  return make_sheet(tiles, columns);
}

// A class name as a part of a file's name.
std::string in_file_name(std::string name) {
  for (char& c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '-') c = '_';
  return name;
}

int data(const Options& o) {
  const data::Opened opened = open_data(o.data, o.resolution, 0, o.download);
  fmt::print("{}\n", opened.message);
  const data::Dataset &train = opened.split.train, &test = opened.split.test;
  std::vector<int64_t> train_images(train.class_names.size()), test_images(train.class_names.size());
  for (const int32_t label : train.labels) ++train_images[label];
  for (const int32_t label : test.labels) ++test_images[label];
  for (size_t i = 0; i < train.class_names.size(); ++i)
    fmt::print("  {:3} {}: {} training, {} test images\n", i, train.class_names[i], train_images[i], test_images[i]);
  if (!o.sheet.empty()) {
    data::write_png(o.sheet, augmented_sheet(train, o));
    fmt::print("wrote {}: training images, and how the first seven epochs of a run with this seed show them\n",
               o.sheet);
  }
  if (o.folder.empty()) return 0;

  std::error_code error;
  fs::create_directories(o.folder, error);
  if (error) throw engine::InputError(o.folder, fmt::format("the folder cannot be made: {}", error.message()));
  const size_t count = std::min<size_t>(o.count, test.size());
  for (size_t i = 0; i < count; ++i) {
    data::Image image{test.height, test.width, {test.image(i), test.image(i) + test.image_bytes()}};
    const std::string name = fmt::format("{:05}-{}.png", i, in_file_name(test.class_names[test.labels[i]]));
    data::write_png(fs::path(o.folder) / name, image);
  }
  fmt::print("wrote {} test images to {}\n", count, o.folder);
  return 0;
}

}  // namespace

Command add_data(CLI::App& program) {
  CLI::App* app = program.add_subcommand("data", "Show what a set of images holds, and export some of its test images");
  const auto o = std::make_shared<Options>();
  app->add_option("--data", o->data, data_help)->capture_default_str();
  add_options(*app, o->download);
  app->add_option("--export", o->folder, "write the first --count test images into this folder, as NUMBER-CLASS.png");
  app->add_option("--sheet", o->sheet,
                  "write a picture of the first --count training images, augmented, to this PNG file");
  app->add_option("--count", o->count, "how many images to export or to show")
      ->check(whole_number(1, INT64_MAX))
      ->capture_default_str();
  app->add_option("--resolution", o->resolution,
                  "height and width of the images on the sheet, and of those of an image folder")
      ->check(resolution_number())
      ->capture_default_str();
  app->add_option("--seed", o->seed, "of the sheet's augmentation: that of a run")
      ->check(seed_number())
      ->capture_default_str();
  add_augment_options(*app, o->augment, o->ranges);
  return {app, [app, o] {
            resolve(o->ranges, o->augment, *app);
            return data(*o);
          }};
}

}  // namespace tools
