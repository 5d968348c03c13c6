// mobilenet predict: what a trained model sees in image files.

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

#include <sys/ioctl.h>
#include <unistd.h>

#include "data/image.h"
#include "engine/autograd/autograd.h"
#include "tools/command.h"
#include "tools/model_file.h"
#include "tools/options.h"
#include "tools/sheet.h"

namespace tools {
namespace {

using engine::Tensor;

struct Options {
  std::string weights;
  std::vector<std::string> images;
  ModelOptions model;
  DeviceOptions device;
  std::string sheet;
  int top = 5;
  bool json = false;
};

constexpr size_t images_at_once = 64;  // bounds the memory for the network's activations

struct Classified {
  std::vector<double> probabilities;  // (classes)
  data::Image picture;                // for the sheet, where one is asked for
};

// Some files' images, in one batch.
std::vector<Classified> classify(LoadedModel& loaded, std::span<const std::string> files, bool keep_pictures,
                                 engine::DeviceType device) {
  const int size = loaded.model->config.resolution;
  std::vector<float> pixels;  // (B, size, size, 3)
  std::vector<Classified> all(files.size());
  for (size_t i = 0; i < files.size(); ++i) {
    const data::Image image = data::read_square(files[i], size);  // as training sees a folder's images
    pixels.resize(pixels.size() + image.pixels.size());
    data::normalize(image.pixels.data(), size_t(size) * size, loaded.data.normalization,
                    pixels.data() + pixels.size() - image.pixels.size());
    if (keep_pictures) all[i].picture = fitted(data::read_image(files[i]), tile_size);
  }
  const engine::NoGrad no_grad;
  const auto count = static_cast<int64_t>(files.size());
  const Tensor logits = models::FoldedMobileNetV1(*loaded.model)(
      Tensor::from_host(pixels, {count, size, size, 3}, device));  // (B, classes)
  const std::vector<float> values = logits.to_host<float>();
  const size_t classes = loaded.data.class_names.size();
  for (size_t i = 0; i < files.size(); ++i) {
    std::vector<double>& p = all[i].probabilities;
    p.assign(values.begin() + i * classes, values.begin() + (i + 1) * classes);
    const double highest = *std::max_element(p.begin(), p.end());
    for (double& x : p) x = std::exp(x - highest);
    const double sum = std::accumulate(p.begin(), p.end(), 0.0);
    for (double& x : p) x /= sum;
  }
  return all;
}

// The classes of the `top` highest probabilities, highest first.
std::vector<size_t> best(const std::vector<double>& p, size_t top) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] > p[b]; });
  order.resize(std::min(top, order.size()));
  return order;
}

// Columns of the terminal that standard output is; 0 where it is none.
int output_columns() {
  winsize size{};
  if (::isatty(STDOUT_FILENO) != 1) return 0;
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

// A bar of `width` columns at most, in steps of an eighth of a column.
std::string bar(double share, int width) {
  constexpr const char* eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const int parts = static_cast<int>(std::lround(std::clamp(share, 0.0, 1.0) * width * 8));
  std::string text;
  for (int i = 0; i < parts / 8; ++i) text += "█";
  return text + eighths[parts % 8];
}

// "photo.png: class 3, cat, 93.21 %", then the likeliest classes; on a terminal that is wide enough, each with a bar.
void print_prediction(const std::string& file, const std::vector<double>& p, const std::vector<size_t>& classes,
                      const std::vector<std::string>& names, int columns) {
  constexpr int narrowest_bar = 8, widest_bar = 40;
  const size_t first = classes.front();
  fmt::print("{}: class {}, {}, {:.2f} %\n", file, first, names[first], 100 * p[first]);
  size_t widest = 0;
  for (const std::string& name : names) widest = std::max(widest, name.size());
  // Two columns before a name, one between it and the number, nine for the number, two before the bar; one stays free.
  const int room = columns - static_cast<int>(2 + widest + 1 + 9 + 2 + 1);
  for (const size_t c : classes)
    fmt::print("  {:<{}} {:7.2f} %{}{}\n", names[c], widest, 100 * p[c], room >= narrowest_bar ? "  " : "",
               room >= narrowest_bar ? bar(p[c], std::min(room, widest_bar)) : "");
}

int predict(const Options& o) {
  engine::Device& device = open_device(o.device);
  LoadedModel loaded = load_model(o.weights, o.model, device.type());
  const std::vector<std::string>& names = loaded.data.class_names;
  std::vector<Classified> all;
  for (size_t from = 0; from < o.images.size(); from += images_at_once) {
    const auto some = std::span(o.images).subspan(from, std::min(images_at_once, o.images.size() - from));
    for (Classified& c : classify(loaded, some, !o.sheet.empty(), device.type())) all.push_back(std::move(c));
  }

  save_tuning(device);

  if (!o.sheet.empty()) {  // before anything is printed: it may fail
    std::vector<Tile> tiles;
    for (Classified& c : all) {
      const size_t first = best(c.probabilities, 1).front();
      tiles.push_back({std::move(c.picture), fmt::format("{}\n{:.2f} %", names[first], 100 * c.probabilities[first])});
    }
    data::write_png(o.sheet, make_sheet(tiles, sheet_columns(tiles.size())));
    print_message(fmt::format("wrote {}", o.sheet));
  }
  nlohmann::json images = nlohmann::json::array();
  const int columns = output_columns();
  for (size_t i = 0; i < o.images.size(); ++i) {
    const std::vector<double>& p = all[i].probabilities;
    const std::vector<size_t> classes = best(p, o.top);
    if (!o.json) {
      print_prediction(o.images[i], p, classes, names, columns);
      continue;
    }
    nlohmann::json predictions = nlohmann::json::array();
    for (const size_t c : classes) predictions.push_back({{"class", c}, {"name", names[c]}, {"probability", p[c]}});
    images.push_back({{"file", o.images[i]}, {"predictions", predictions}});
  }
  if (o.json) print_json({{"weights", o.weights}, {"images", images}});
  return 0;
}

}  // namespace

Command add_predict(CLI::App& program) {
  CLI::App* app = program.add_subcommand("predict", "Classify image files with a trained model");
  const auto o = std::make_shared<Options>();
  o->device.tune = "cached";  // one pass never earns what timing its rows costs
  app->add_option("--weights", o->weights, "a run's model.safetensors, or weights with timm's names")->required();
  app->add_option("IMAGE", o->images, "JPEG, PNG or BMP files of any size")->required();
  app->add_option("--top", o->top, "how many classes to name")->check(whole_number(1, 100'000))->capture_default_str();
  app->add_option("--sheet", o->sheet, "write the images with what they were taken for as one PNG file");
  add_options(*app, o->model);
  add_options(*app, o->device);
  app->add_flag("--json", o->json, "one JSON object on standard output");
  return {app, [o] { return predict(*o); }};
}

}  // namespace tools
