// A trained model as one file: weights under timm's names, and in the metadata all that is needed to use them.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/normalize.h"
#include "engine/device/device.h"
#include "models/mobilenet_v1.h"

namespace CLI {
class App;
}

namespace tools {

// What a model was trained on, beside its network.
struct ModelData {
  std::vector<std::string> class_names;  // (classes)
  data::Normalization normalization{};
};

struct LoadedModel {
  std::unique_ptr<models::MobileNetV1> model;  // in inference mode
  ModelData data;
};

// Throws UsageError where the network cannot run in the precision of the device's policy; says where it can, but runs
// slowly.
void check_precision(models::Convolutions, const engine::Device&);

// The metadata: the network's (models::to_metadata), class_names, mean and std as JSON, and "format": "pt", which other
// readers of safetensors ask for. The same model gives the same bytes.
void save_model(const std::filesystem::path&, const models::MobileNetV1&, const ModelData&);

// Weights that come from elsewhere (PyTorch, timm) have no such metadata: then `resolution` must be given, width is 1
// unless given, and the number of classes is that of classifier.weight. Given values win over the file's. Throws
// engine::InputError that names the file, and for weights that do not fit the tensors with both shapes.
struct ModelOptions {
  std::optional<double> width;
  std::optional<int> resolution;
};
void add_options(CLI::App&, ModelOptions&);
// Throws UsageError too, as check_precision does.
LoadedModel load_model(const std::filesystem::path&, const ModelOptions&, engine::DeviceType);

}  // namespace tools
