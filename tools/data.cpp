// mobilenet data: what a set of images holds, and some of its test images as files.

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <memory>

#include "data/image.h"
#include "data/open.h"
#include "engine/error.h"
#include "tools/command.h"
#include "tools/options.h"

namespace tools {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string data = "auto", folder;
  int64_t count = 10;
};

// A class name as a part of a file's name.
std::string in_file_name(std::string name) {
  for (char& c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '-') c = '_';
  return name;
}

int data(const Options& o) {
  const data::Opened opened = data::open(o.data);
  fmt::print("{}\n", opened.message);
  const data::Dataset &train = opened.split.train, &test = opened.split.test;
  std::vector<int64_t> train_images(train.class_names.size()), test_images(train.class_names.size());
  for (const int32_t label : train.labels) ++train_images[label];
  for (const int32_t label : test.labels) ++test_images[label];
  for (size_t i = 0; i < train.class_names.size(); ++i)
    fmt::print("  {:3} {}: {} training, {} test images\n", i, train.class_names[i], train_images[i], test_images[i]);
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
  app->add_option("--export", o->folder, "write the first --count test images into this folder, as NUMBER-CLASS.png");
  app->add_option("--count", o->count, "how many images to export")
      ->check(whole_number(1, INT64_MAX))
      ->capture_default_str();
  return {app, [o] { return data(*o); }};
}

}  // namespace tools
