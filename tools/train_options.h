// The options of `mobilenet train`, in one table from which come the command line, config.json, and the rules of
// --resume.
#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "engine/optim/optimizer.h"
#include "engine/optim/schedule.h"
#include "kernels/augment/augment.h"
#include "models/mobilenet_v1.h"
#include "tools/options.h"

namespace tools {

// How far each part of the augmentation goes (kernels/augment/augment.h). The article's is the default.
struct AugmentRanges {
  double flip = 0.5;                                          // probability
  double rotation = 10, shear = 10;                           // degrees either way
  double scale = 0.2;                                         // around 1, either way
  double brightness = 0.2, contrast = 0.2, saturation = 0.2;  // around 1, either way
  int crop_padding = 0, cutout = 0;                           // pixels
};

struct TrainOptions {
  std::string data = "auto";
  DeviceOptions device;
  int workers = 1;
  int epochs = 20;
  int patience = 0;  // epochs; 0: never stop early
  int batch = 128;
  double lr = 1e-3;
  std::string optimizer = "adam";
  double momentum = 0.9;  // sgd
  double weight_decay = 0;
  double clip_norm = 0;  // 0: off
  double ema_decay = 0;  // 0: off
  std::string schedule = "constant";
  double warmup_epochs = 0;
  double min_lr = 0;
  double label_smoothing = 0;
  std::string model = "mobilenet_v1";
  std::string block = "fused";
  double width = 1;
  int resolution = 32;
  std::string augment = "article";
  AugmentRanges ranges;
  std::string val = "test";
  double val_fraction = 0;  // of the training images; 0: --val says which images
  int64_t limit = 0;        // images; 0: all
  uint64_t seed = 0;
  int64_t save_steps = 0;  // 0: after each epoch
  std::string graph = "on";
  int64_t loss_every = 0;  // steps; 0: as the device suggests
  bool tensorboard = false;
};

void add_options(CLI::App&, TrainOptions&);
void add_augment_options(CLI::App&, std::string& augment, AugmentRanges&);  // --augment and what overrides it

// Gives the parts of the augmentation that the command line leaves open what --augment says, and refuses options that
// contradict each other (UsageError).
void resolve(TrainOptions&, const CLI::App&);
void resolve(AugmentRanges&, const std::string& augment, const CLI::App&);  // the former alone

inline constexpr const char* block_help =
    "fused: batch norm and ReLU6 run within the convolutions around them; plain: each by itself, as a textbook shows "
    "it. The same within rounding";
// Where the kernels that --kernels names, or the network, have no fused passes, `block` becomes plain; returns why, or
// "". Throws UsageError where the command line (`app`) asks for fused, or --precision bf16 meets what has no such
// kernels.
std::string resolve_block(std::string& block, models::Convolutions, const CLI::App& app, const engine::Device&);

nlohmann::json to_json(const TrainOptions&);  // {"epochs": 20, "weight_decay": 0.0, …}

// The options of a run that goes on: those it was started with (`saved`, as to_json made it), and of those given anew
// on the command line (`app` says which) those that may change. Throws UsageError where another
// option is given with another value, or `saved` is not as expected; `where` names the file it came from.
TrainOptions resumed(const nlohmann::json& saved, const TrainOptions& given, const CLI::App& app,
                     const std::string& where);

// The kernel's words for the ranges; mean and std stay.
void set_ranges(kernels::AugmentOptions&, const AugmentRanges&);

engine::optim::Options optimizer_options(const TrainOptions&);
models::MobileNetV1Config network_config(const TrainOptions&, int classes);

}  // namespace tools
