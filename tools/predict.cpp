// mobilenet predict: what a trained model sees in image files.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

#include "data/image.h"
#include "engine/autograd/autograd.h"
#include "tools/command.h"
#include "tools/model_file.h"
#include "tools/options.h"

namespace tools {
namespace {

using engine::Tensor;

struct Options {
  std::string weights;
  std::vector<std::string> images;
  ModelOptions model;
  DeviceOptions device;
  int top = 5;
  bool json = false;
};

constexpr size_t images_at_once = 64;  // bounds the memory for the network's activations

// Files → probabilities, one vector of (classes) a file.
std::vector<std::vector<double>> classify(LoadedModel& loaded, std::span<const std::string> files,
                                          engine::DeviceType device) {
  const int size = loaded.model->config.resolution;
  std::vector<float> pixels;  // (B, size, size, 3)
  for (const std::string& file : files) {
    const data::Image image = data::resize(data::read_image(file), size, size);
    pixels.resize(pixels.size() + image.pixels.size());
    data::normalize(image.pixels.data(), size_t(size) * size, loaded.data.normalization,
                    pixels.data() + pixels.size() - image.pixels.size());
  }
  const engine::NoGrad no_grad;
  const auto count = static_cast<int64_t>(files.size());
  const Tensor logits = (*loaded.model)(Tensor::from_host(pixels, {count, size, size, 3}, device));  // (B, classes)
  const std::vector<float> values = logits.to_host<float>();
  const size_t classes = loaded.data.class_names.size();
  std::vector<std::vector<double>> all;
  for (size_t i = 0; i < files.size(); ++i) {
    std::vector<double> p(values.begin() + i * classes, values.begin() + (i + 1) * classes);
    const double highest = *std::max_element(p.begin(), p.end());
    for (double& x : p) x = std::exp(x - highest);
    const double sum = std::accumulate(p.begin(), p.end(), 0.0);
    for (double& x : p) x /= sum;
    all.push_back(std::move(p));
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

int predict(const Options& o) {
  engine::Device& device = open_device(o.device);
  LoadedModel loaded = load_model(o.weights, o.model, device.type());
  const std::vector<std::string>& names = loaded.data.class_names;
  std::vector<std::vector<double>> probabilities;
  for (size_t from = 0; from < o.images.size(); from += images_at_once) {
    const auto some = std::span(o.images).subspan(from, std::min(images_at_once, o.images.size() - from));
    for (auto& p : classify(loaded, some, device.type())) probabilities.push_back(std::move(p));
  }

  nlohmann::json images = nlohmann::json::array();
  size_t widest = 0;
  for (const std::string& name : names) widest = std::max(widest, name.size());
  for (size_t i = 0; i < o.images.size(); ++i) {
    nlohmann::json predictions = nlohmann::json::array();
    if (!o.json) fmt::print("{}\n", o.images[i]);
    for (const size_t c : best(probabilities[i], o.top)) {
      if (!o.json) fmt::print("  {:<{}}  {:6.2f} %\n", names[c], widest, 100 * probabilities[i][c]);
      predictions.push_back({{"class", c}, {"name", names[c]}, {"probability", probabilities[i][c]}});
    }
    images.push_back({{"file", o.images[i]}, {"predictions", predictions}});
  }
  if (o.json) print_json({{"weights", o.weights}, {"images", images}});
  return 0;
}

}  // namespace

Command add_predict(CLI::App& program) {
  CLI::App* app = program.add_subcommand("predict", "Classify image files with a trained model");
  const auto o = std::make_shared<Options>();
  app->add_option("--weights", o->weights, "a run's model.safetensors, or weights with timm's names")->required();
  app->add_option("IMAGE", o->images, "JPEG, PNG or BMP files of any size")->required();
  app->add_option("--top", o->top, "how many classes to name")->check(whole_number(1, 100'000))->capture_default_str();
  add_options(*app, o->model);
  add_options(*app, o->device);
  app->add_flag("--json", o->json, "one JSON object on standard output");
  return {app, [o] { return predict(*o); }};
}

}  // namespace tools
