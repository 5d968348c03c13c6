// The options of `mobilenet train`, in one table from which come the command line, config.json, and the rules of
// --resume.
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "engine/optim/optimizer.h"
#include "engine/optim/schedule.h"
#include "tools/options.h"

namespace tools {

struct TrainOptions {
  std::string data = "auto";
  DeviceOptions device;
  int epochs = 20;
  int batch = 128;
  double lr = 1e-3;
  std::string optimizer = "adam";
  double momentum = 0.9;  // sgd
  double weight_decay = 0;
  std::string schedule = "constant";
  double width = 1;
  int resolution = 32;
  std::string augment = "flip";
  int64_t limit = 0;  // images; 0: all
  uint64_t seed = 0;
};

void add_options(CLI::App&, TrainOptions&);

nlohmann::json to_json(const TrainOptions&);  // {"epochs": 20, "weight_decay": 0.0, …}

// The options of a run that goes on: those it was started with (`saved`, as to_json made it), and of those given anew
// on the command line (`app` says which) epochs, data, device, kernels and threads. Throws UsageError where another
// option is given with another value, or `saved` is not as expected; `where` names the file it came from.
TrainOptions resumed(const nlohmann::json& saved, const TrainOptions& given, const CLI::App& app,
                     const std::string& where);

engine::optim::Options optimizer_options(const TrainOptions&);

}  // namespace tools
