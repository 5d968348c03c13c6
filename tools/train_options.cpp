#include "tools/train_options.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/error.h"
#include "tools/command.h"

namespace tools {
namespace {

// Every option: visit(key, value, may --resume change it, check, help). The command line says --weight-decay where the
// key is weight_decay.
constexpr bool changeable = true, fixed = false;
template <class Options, class Visit>
void for_each_option(Options& o, Visit visit) {
  const CLI::Validator any("");
  visit("data", o.data, changeable, any, data_help);
  visit("device", o.device.device, changeable, one_of({"auto", "cpu", "cuda"}), device_help);
  visit("kernels", o.device.kernels, changeable, any, kernels_help);
  visit("threads", o.device.threads, changeable, whole_number(0, 1024), threads_help);
  visit("epochs", o.epochs, changeable, whole_number(1, 1'000'000), "how often to go through the training images");
  visit("batch", o.batch, fixed, whole_number(1, most_images_in_batch), "images a step");
  visit("lr", o.lr, fixed, positive_number(), "learning rate: the schedule's highest");
  visit("optimizer", o.optimizer, fixed, one_of({"adam", "adamw", "sgd"}), "how to step");
  visit("momentum", o.momentum, fixed, number_below_one(), "of sgd");
  visit("weight_decay", o.weight_decay, fixed, number_from_zero(),
        "of adamw: decoupled; of adam and sgd: added to the gradient");
  visit("schedule", o.schedule, fixed, one_of({"constant", "cosine", "onecycle"}),
        "how the learning rate goes over all --epochs");
  visit("width", o.width, fixed, width_number(), "scales the channels of every layer: the paper's alpha, in (0, 1]");
  visit("resolution", o.resolution, fixed, resolution_number(),
        "height and width that images are resized to: a multiple of 32 from 32 to 224");
  visit("augment", o.augment, fixed, one_of({"flip", "none"}), "flip: mirror each training image half of the time");
  visit("limit", o.limit, fixed, whole_number(0, INT64_MAX),
        "train on the first N images only, and test on the same share of the test images; 0: all");
  visit("seed", o.seed, fixed, seed_number(), "of weights, order and augmentation");
}

std::string option_name(std::string key) {
  std::replace(key.begin(), key.end(), '_', '-');
  return "--" + key;
}

}  // namespace

void add_options(CLI::App& app, TrainOptions& o) {
  for_each_option(o, [&](const char* key, auto& value, bool, const CLI::Validator& check, const char* help) {
    app.add_option(option_name(key), value, help)->check(check)->capture_default_str();
  });
}

nlohmann::json to_json(const TrainOptions& o) {
  nlohmann::json json;
  for_each_option(o, [&](const char* key, const auto& value, auto&&...) { json[key] = value; });
  return json;
}

TrainOptions resumed(const nlohmann::json& saved, const TrainOptions& given, const CLI::App& app,
                     const std::string& where) {
  TrainOptions options = given;
  for_each_option(options, [&](const char* key, auto& value, bool may_change, const CLI::Validator& check, auto&&...) {
    using Value = std::decay_t<decltype(value)>;
    Value before;
    try {
      before = saved.at(key).template get<Value>();
    } catch (const nlohmann::json::exception&) {
      throw UsageError(fmt::format("{}: the run's options have no proper \"{}\"", where, key));
    }
    if (const std::string problem = check(fmt::format("{}", before)); !problem.empty())
      throw UsageError(fmt::format("{}: the run's option {}: {}", where, key, problem));
    const bool is_given = app.get_option(option_name(key))->count() > 0;
    if (is_given && !may_change && value != before)
      throw UsageError(
          fmt::format("{} {}: the run to go on with has {}; --resume can change --epochs, --data, --device, "
                      "--kernels and --threads only",
                      option_name(key), value, before));
    if (!is_given || !may_change) value = before;
  });
  return options;
}

engine::optim::Options optimizer_options(const TrainOptions& o) {
  using engine::optim::Method;
  return {.method = o.optimizer == "sgd"     ? Method::sgd
                    : o.optimizer == "adamw" ? Method::adamw
                                             : Method::adam,
          .lr = static_cast<float>(o.lr),
          .momentum = static_cast<float>(o.momentum),
          .weight_decay = static_cast<float>(o.weight_decay)};
}

}  // namespace tools
