#include "tools/model_file.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "engine/io/checkpoint.h"
#include "kernels/common/simd_levels.h"
#include "tools/command.h"
#include "tools/options.h"

namespace tools {
namespace {

using engine::InputError;
using engine::io::Safetensors;
using nlohmann::json;

// A JSON value in the metadata, as a T.
template <class T>
T from_json(const Safetensors& file, const char* key) {
  try {
    return json::parse(file.metadata.at(key)).get<T>();
  } catch (const std::exception&) {
    throw InputError(file.path.string(), fmt::format("its metadata has no proper \"{}\"", key));
  }
}

ModelData read_data(const Safetensors& file, int classes) {
  ModelData data;
  if (file.metadata.count("class_names") == 0) {
    for (int i = 0; i < classes; ++i) data.class_names.push_back(fmt::format("class {}", i));
    return data;
  }
  data.class_names = from_json<std::vector<std::string>>(file, "class_names");
  if (data.class_names.size() != static_cast<size_t>(classes))
    throw InputError(file.path.string(), fmt::format("its metadata names {} classes, the network has {}",
                                                     data.class_names.size(), classes));
  data.normalization.mean = from_json<std::array<float, 3>>(file, "mean");
  data.normalization.std = from_json<std::array<float, 3>>(file, "std");
  for (int c = 0; c < 3; ++c)
    if (!std::isfinite(data.normalization.mean[c]) || !(data.normalization.std[c] > 0))
      throw InputError(file.path.string(), "its metadata's mean and std are no finite numbers above 0");
  return data;
}

models::MobileNetV1Config read_config(const Safetensors& file, const ModelOptions& options) {
  models::MobileNetV1Config config;
  if (file.metadata.count("model") > 0) {
    config = models::from_metadata(file.metadata, file.path.string());
  } else {
    if (!options.resolution)
      throw InputError(file.path.string(),
                       "its metadata does not say which network it is for; give --resolution (and --width if not 1)");
    const engine::io::Array* weight = file.find("classifier.weight");
    if (weight == nullptr || weight->shape.size() != 2)
      throw InputError(file.path.string(), "no weights of a MobileNetV1: there is no matrix classifier.weight");
    if (file.find("blocks.0.0.conv.weight") != nullptr) config.convolutions = models::Convolutions::standard;
    config.classes = static_cast<int>(std::min<int64_t>(weight->shape[0], INT32_MAX));
  }
  if (options.width) config.width = *options.width;
  if (options.resolution) config.resolution = *options.resolution;
  models::check(config, file.path.string());
  return config;
}

}  // namespace

void check_precision(models::Convolutions convolutions, const engine::Device& device) {
  if (device.policy.precision != kernels::Precision::bf16) return;
  // Its convolutions but the first would need bfloat16 inputs, which conv2d has not.
  if (convolutions == models::Convolutions::standard)
    throw UsageError("--precision bf16 and the model standard: its convolutions are for fp32 and tf32");
  if (device.type() == engine::DeviceType::cpu && kernels::cpu::simd_level() < kernels::cpu::SimdLevel::avx512bf16)
    print_message("precision bf16: no AVX512-BF16 on this processor, so products of bfloat16 run as fp32");
}

void save_model(const std::filesystem::path& path, const models::MobileNetV1& model, const ModelData& data) {
  std::map<std::string, std::string> metadata = models::to_metadata(model.config);
  metadata["format"] = "pt";
  metadata["class_names"] = to_text(data.class_names);
  metadata["mean"] = to_text(data.normalization.mean);
  metadata["std"] = to_text(data.normalization.std);
  engine::io::save_weights(path, model, metadata);
}

void add_options(CLI::App& app, ModelOptions& o) {
  app.add_option("--width", o.width, "the network's width, where the weights' file does not say it")
      ->check(width_number());
  app.add_option("--resolution", o.resolution, "the images' size, where the weights' file does not say it")
      ->check(resolution_number());
}

LoadedModel load_model(const std::filesystem::path& path, const ModelOptions& options, engine::DeviceType device) {
  const Safetensors file = engine::io::read_safetensors(path);
  const models::MobileNetV1Config config = read_config(file, options);
  check_precision(config.convolutions, engine::device(device));
  LoadedModel loaded;
  loaded.data = read_data(file, config.classes);
  engine::nn::Init init{.device = device};
  loaded.model = std::make_unique<models::MobileNetV1>(init, config);
  engine::io::load_weights(file, *loaded.model);
  loaded.model->eval();
  return loaded;
}

}  // namespace tools
