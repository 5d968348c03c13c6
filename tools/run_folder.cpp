#include "tools/run_folder.h"

#include <fmt/format.h>

#include <limits>

#include "engine/error.h"
#include "tools/command.h"

namespace tools {
namespace {

namespace fs = std::filesystem;

constexpr struct {
  const char* name;
  double EpochResult::*value;
} columns[] = {{"train_loss", &EpochResult::train_loss},
               {"train_accuracy", &EpochResult::train_accuracy},
               {"val_loss", &EpochResult::val_loss},
               {"accuracy", &EpochResult::accuracy},
               {"lr", &EpochResult::lr},
               {"images_per_second", &EpochResult::images_per_second},
               {"seconds", &EpochResult::seconds}};

}  // namespace

nlohmann::json to_json(const EpochResult& r) {
  nlohmann::json json = {{"epoch", r.epoch}};
  for (const auto& column : columns) json[column.name] = r.*column.value;
  return json;
}

EpochResult epoch_result(const nlohmann::json& json) {
  EpochResult r{};
  r.epoch = json.at("epoch").get<int>();
  for (const auto& column : columns) {
    const nlohmann::json& value = json.at(column.name);  // null is how JSON says NaN
    r.*column.value = value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
  }
  return r;
}

fs::path create_run_folder(const std::string& out, const std::string& name) {
  const auto make = [](const fs::path& folder) {
    std::error_code error;
    fs::create_directories(folder, error);
    if (error)
      throw engine::InputError(
          folder.string(), fmt::format("the run's folder cannot be made: {}; --out names another", error.message()));
  };
  if (!out.empty()) {
    if (fs::exists(fs::path(out) / checkpoint_file))
      throw UsageError(fmt::format("--out {}: holds a run already; --resume {} goes on with it", out, out));
    make(out);
    return out;
  }
  const fs::path runs = "runs";
  make(runs);
  for (int i = 1;; ++i) {
    const fs::path folder = runs / fmt::format("{}-{}", name, i);
    std::error_code error;
    if (fs::create_directory(folder, error)) return folder;  // false where it was there: another run may be starting
    if (error)
      throw engine::InputError(
          folder.string(), fmt::format("the run's folder cannot be made: {}; --out names another", error.message()));
  }
}

std::string metrics_csv(const std::vector<EpochResult>& history) {
  std::string text = "epoch";
  for (const auto& column : columns) text += fmt::format(",{}", column.name);
  text += "\n";
  for (const EpochResult& r : history) {
    text += std::to_string(r.epoch);
    for (const auto& column : columns) text += fmt::format(",{:.6g}", r.*column.value);
    text += "\n";
  }
  return text;
}

}  // namespace tools
