#include "tools/bench_shapes.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <sstream>

#include "engine/io/file.h"
#include "kernels/adam/adam.h"
#include "tools/command.h"

namespace tools::bench {
namespace {

constexpr double most_elements = 2147483648.0;         // of one array
constexpr int built_in_batch = 128, large_batch = 32;  // of the built-in networks at 32×32 and at 224×224

struct BuiltIn {
  const char* name;
  double width;
  int resolution, batch;
};
constexpr BuiltIn built_ins[] = {{"mobilenet_v1", 1, 32, built_in_batch},
                                 {"mobilenet_v1_025", 0.25, 32, built_in_batch},
                                 {"mobilenet_v1_224", 1, 224, large_batch},
                                 {"mobilenet_v1_025_224", 0.25, 224, large_batch}};

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t\r"), last = text.find_last_not_of(" \t\r");
  return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}

std::string joined(const std::vector<const char*>& words) { return fmt::format("{}", fmt::join(words, ", ")); }

int64_t most_of(const std::string& field) {
  return field == "stride" ? 2 : field == "height" || field == "width" ? 1 << 14 : 1 << 20;
}

// One line without its comment; `where` is "FILE:LINE".
LayerShape parse_line(const std::string& line, const std::string& where) {
  std::istringstream words(line);
  std::string word;
  words >> word;
  LayerShape shape;
  shape.operation = find_operation(word);
  if (shape.operation == nullptr) {
    std::vector<const char*> names;
    for (const Operation& operation : operations()) names.push_back(operation.name);
    throw UsageError(fmt::format("{}: \"{}\" is no operation; expected one of {}", where, word, joined(names)));
  }
  const auto& fields = shape.operation->fields;
  shape.values.assign(fields.size(), 0);
  while (words >> word) {
    const size_t equals = word.find('=');
    const auto field = std::find(fields.begin(), fields.end(), word.substr(0, equals));
    if (equals == std::string::npos || field == fields.end())
      throw UsageError(fmt::format("{}: \"{}\" is no field of {}; expected {}, each as NAME=NUMBER", where, word,
                                   shape.operation->name, joined(fields)));
    int64_t value = 0;
    const char* end = word.data() + word.size();
    const auto [stop, error] = std::from_chars(word.data() + equals + 1, end, value);
    const int64_t most = most_of(*field);
    if (error != std::errc() || stop != end || value < 1 || value > most)
      throw UsageError(fmt::format("{}: \"{}\": expected a whole number from 1 to {}", where, word, most));
    int64_t& slot = shape.values[field - fields.begin()];
    if (slot != 0) throw UsageError(fmt::format("{}: {} is given twice", where, *field));
    slot = value;
  }
  for (size_t i = 0; i < fields.size(); ++i)
    if (shape.values[i] == 0)
      throw UsageError(
          fmt::format("{}: {} is missing; {} needs {}", where, fields[i], shape.operation->name, joined(fields)));
  return shape;
}

void check_arrays(const LayerShape& shape, const std::string& where) {
  double product = 1;  // no less than the elements of the largest array; they could pass the largest int64
  for (const int64_t value : shape.values) product *= static_cast<double>(value);
  if (product > 1e18) throw UsageError(fmt::format("{}: sizes that multiply to {:.2g}", where, product));
  const AnyShape any = shape.operation->make(shape.values);
  for (const Array& array : shape.operation->passes.front().arrays(any.get()))
    if (static_cast<double>(array.count) > most_elements)
      throw UsageError(fmt::format("{}: {} would have {} elements; at most {:.0f} can be", where, array.name,
                                   array.count, most_elements));
}

void append(std::vector<LayerShape>& shapes, LayerShape&& more) {
  for (LayerShape& shape : shapes)
    if (shape.operation == more.operation && shape.values == more.values) {
      shape.layers.insert(shape.layers.end(), more.layers.begin(), more.layers.end());
      return;
    }
  shapes.push_back(std::move(more));
}

}  // namespace

std::vector<LayerShape> parse_shapes(const std::string& text, const std::string& file) {
  std::vector<LayerShape> shapes;
  std::istringstream lines(text);
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    const std::string where = fmt::format("{}:{}", file, ++number);
    const size_t hash = line.find('#');
    const std::string content = trimmed(line.substr(0, hash));
    if (content.empty()) continue;
    LayerShape shape = parse_line(content, where);
    check_arrays(shape, where);
    const std::string layer = hash == std::string::npos ? "" : trimmed(line.substr(hash + 1));
    shape.layers.push_back(layer.empty() ? fmt::format("line {}", number) : layer);
    append(shapes, std::move(shape));
  }
  if (shapes.empty())
    throw UsageError(
        fmt::format("{}: holds no shape; expected lines such as \"depthwise_conv batch=128 height=32 "
                    "width=32 channels=32 stride=1\"",
                    file));
  return shapes;
}

std::string shapes_text(const models::MobileNetV1Config& config, int batch) {
  using models::LayerKind;
  std::string text = fmt::format(
      "# {}, width {}, resolution {}, {} classes: mobilenet bench shapes --width {} --resolution {} --classes {} "
      "--batch {}\n",
      models::to_string(config.convolutions), config.width, config.resolution, config.classes, config.width,
      config.resolution, config.classes, batch);
  const auto line = [&](const std::string& shape, const std::string& layer) {
    text += fmt::format("{:<87} # {}\n", shape, layer);
  };
  for (const models::Layer& layer : models::layers(config)) {
    const auto &in = layer.input, &out = layer.output;
    switch (layer.kind) {
      case LayerKind::stem:
      case LayerKind::standard:
        line(fmt::format("conv2d batch={} height={} width={} in_channels={} out_channels={} stride={}", batch, in[0],
                         in[1], in[2], out[2], layer.stride),
             layer.name);
        break;
      case LayerKind::depthwise:
        line(fmt::format("depthwise_conv batch={} height={} width={} channels={} stride={}", batch, in[0], in[1], in[2],
                         layer.stride),
             layer.name);
        break;
      case LayerKind::pointwise:
        line(fmt::format("pointwise_conv batch={} height={} width={} in_channels={} out_channels={}", batch, in[0],
                         in[1], in[2], out[2]),
             layer.name);
        break;
      case LayerKind::pool:
        line(fmt::format("global_avg_pool batch={} height={} width={} channels={}", batch, in[0], in[1], in[2]),
             layer.name);
        break;
      case LayerKind::linear:
        line(fmt::format("linear batch={} in_features={} out_features={}", batch, in[0], out[0]), layer.name);
        break;
    }
    if (layer.norm_parameters > 0)
      for (const char* operation : {"batchnorm", "relu6"})
        line(fmt::format("{} batch={} height={} width={} channels={}", operation, batch, out[0], out[1], out[2]),
             layer.name);
  }
  line(fmt::format("cross_entropy batch={} classes={}", batch, config.classes), "loss");
  int64_t parameters = 0;
  for (const models::Layer& layer : models::layers(config)) parameters += layer.parameters + layer.norm_parameters;
  line(fmt::format("adam chunks={}", (parameters + kernels::optimizer_chunk - 1) / kernels::optimizer_chunk),
       fmt::format("all {} parameters", parameters));
  return text;
}

std::vector<LayerShape> load_shapes(const std::string& shapes, int batch) {
  std::optional<std::string> text;
  for (const BuiltIn& b : built_ins)
    if (shapes == b.name) text = shapes_text({b.width, b.resolution, 10}, batch > 0 ? batch : b.batch);
  if (!text) {
    if (!std::filesystem::exists(shapes)) {
      std::vector<const char*> names;
      for (const BuiltIn& b : built_ins) names.push_back(b.name);
      throw UsageError(fmt::format("--shapes {}: no such file, and none of {}", shapes, joined(names)));
    }
    const auto bytes = engine::io::read_file(shapes);
    text.emplace(bytes.begin(), bytes.end());
  }
  std::vector<LayerShape> all;
  for (LayerShape& shape : parse_shapes(*text, shapes)) {
    if (batch > 0 && std::string(shape.operation->fields[0]) == "batch") {
      shape.values[0] = batch;
      check_arrays(shape, shapes);
    }
    append(all, std::move(shape));
  }
  return all;
}

std::string describe(const LayerShape& shape) {
  std::string text;
  for (size_t i = 0; i < shape.values.size(); ++i) {
    std::string field = shape.operation->fields[i];
    std::replace(field.begin(), field.end(), '_', ' ');
    text += fmt::format("{}{} {}", i == 0 ? "" : ", ", field, shape.values[i]);
  }
  return text;
}

}  // namespace tools::bench
