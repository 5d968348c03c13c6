// mobilenet summary: the network's layers, and what they cost.

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <memory>
#include <nlohmann/json.hpp>

#include "models/mobilenet_v1.h"
#include "tools/command.h"
#include "tools/options.h"

namespace tools {
namespace {

struct Options {
  models::MobileNetV1Config config;
  bool json = false;
};

struct Cost {
  int64_t parameters = 0, multiply_adds = 0;
};

std::string with_commas(int64_t n) {
  std::string text = std::to_string(n);
  for (int at = static_cast<int>(text.size()) - 3; at > 0; at -= 3) text.insert(at, ",");
  return text;
}

std::string shape_text(const engine::Shape& shape) { return fmt::format("{}", fmt::join(shape, "×")); }

double percent(int64_t part, int64_t of) { return 100 * static_cast<double>(part) / static_cast<double>(of); }

int summary(const Options& o) {
  using models::LayerKind;
  const std::vector<models::Layer> layers = models::layers(o.config);
  // As in the paper's table 2, a convolution's parameters are its filters'; its batch norm's are counted apart.
  std::map<LayerKind, Cost> kinds;
  Cost total;
  int64_t norms = 0;
  for (const models::Layer& layer : layers) {
    kinds[layer.kind].parameters += layer.parameters;
    kinds[layer.kind].multiply_adds += layer.multiply_adds;
    norms += layer.norm_parameters;
    total.parameters += layer.parameters + layer.norm_parameters;
    total.multiply_adds += layer.multiply_adds;
  }
  kinds.erase(LayerKind::pool);

  if (o.json) {
    nlohmann::json rows = nlohmann::json::array(), shares;
    for (const models::Layer& layer : layers)
      rows.push_back({{"name", layer.name},
                      {"kind", models::to_string(layer.kind)},
                      {"stride", layer.stride},
                      {"input", layer.input},
                      {"output", layer.output},
                      {"parameters", layer.parameters},
                      {"batchnorm_parameters", layer.norm_parameters},
                      {"multiply_adds", layer.multiply_adds}});
    for (const auto& [kind, cost] : kinds)
      shares[models::to_string(kind)] = {{"parameters", cost.parameters},
                                         {"parameters_percent", percent(cost.parameters, total.parameters)},
                                         {"multiply_adds", cost.multiply_adds},
                                         {"multiply_adds_percent", percent(cost.multiply_adds, total.multiply_adds)}};
    shares["batchnorm"] = {{"parameters", norms},
                           {"parameters_percent", percent(norms, total.parameters)},
                           {"multiply_adds", 0},
                           {"multiply_adds_percent", 0.0}};
    print_json({{"model", models::to_string(o.config.convolutions)},
                {"width", o.config.width},
                {"resolution", o.config.resolution},
                {"classes", o.config.classes},
                {"parameters", total.parameters},
                {"multiply_adds", total.multiply_adds},
                {"layers", rows},
                {"shares", shares}});
    return 0;
  }

  fmt::print(
      "{}, width {}, {}×{} RGB images, {} classes\n\n",
      o.config.convolutions == models::Convolutions::separable ? "MobileNetV1" : "MobileNetV1 of standard convolutions",
      o.config.width, o.config.resolution, o.config.resolution, o.config.classes);
  fmt::print("{:<18} {:<10} {:>13} {:>11} {:>10} {:>14}\n", "layer", "kind", "output", "parameters", "batch norm",
             "multiply-adds");
  for (const models::Layer& layer : layers)
    fmt::print("{:<18} {:<10} {:>13} {:>11} {:>10} {:>14}\n", layer.name,
               fmt::format("{}{}", models::to_string(layer.kind), layer.stride == 1 ? "" : " /2"),
               shape_text(layer.output), with_commas(layer.parameters), with_commas(layer.norm_parameters),
               with_commas(layer.multiply_adds));
  fmt::print("{:<18} {:<10} {:>13} {:>11} {:>10} {:>14}\n\n", "sum", "", "", with_commas(total.parameters - norms),
             with_commas(norms), with_commas(total.multiply_adds));

  fmt::print("{:<18} {:>13} {:>9} {:>14} {:>9}\n", "share", "parameters", "", "multiply-adds", "");
  const auto print_share = [&](const char* name, const Cost& cost) {
    fmt::print("{:<18} {:>13} {:>7.2f} % {:>14} {:>7.2f} %\n", name, with_commas(cost.parameters),
               percent(cost.parameters, total.parameters), with_commas(cost.multiply_adds),
               percent(cost.multiply_adds, total.multiply_adds));
  };
  for (const auto& [kind, cost] : kinds) print_share(models::to_string(kind), cost);
  print_share("batch norm", {norms, 0});
  print_share("all", total);
  fmt::print("\nMultiply-adds are an image's, in convolutions and the linear layer. ReLU6 follows each batch norm.\n");
  return 0;
}

}  // namespace

Command add_summary(CLI::App& program) {
  CLI::App* app = program.add_subcommand("summary", "Show the network's layers, parameters and multiply-adds");
  const auto o = std::make_shared<Options>();
  app->add_option_function<std::string>(
         "--model", [o](const std::string& name) { o->config.convolutions = models::parse_model(name); },
         "standard: the same network with standard convolutions")
      ->check(one_of({"mobilenet_v1", "standard"}))
      ->default_str("mobilenet_v1");
  app->add_option("--width", o->config.width, "scales the channels of every layer: the paper's alpha, in (0, 1]")
      ->check(width_number())
      ->capture_default_str();
  app->add_option("--resolution", o->config.resolution, "height and width of the images: a multiple of 32, 32 to 224")
      ->check(resolution_number())
      ->capture_default_str();
  app->add_option("--classes", o->config.classes, "how many classes it tells apart")
      ->check(whole_number(1, 100'000))
      ->capture_default_str();
  app->add_flag("--json", o->json, "one JSON object on standard output");
  return {app, [o] { return summary(*o); }};
}

}  // namespace tools
