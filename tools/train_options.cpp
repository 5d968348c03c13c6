#include "tools/train_options.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <type_traits>
#include <vector>

#include "engine/error.h"
#include "kernels/batchnorm/batchnorm.h"
#include "kernels/conv2d/conv2d.h"
#include "kernels/depthwise_conv/depthwise_conv.h"
#include "kernels/global_avg_pool/global_avg_pool.h"
#include "kernels/pointwise_conv/pointwise_conv.h"
#include "kernels/relu6/relu6.h"
#include "tools/command.h"
#include "tools/model_file.h"
#include "tools/open_data.h"

namespace tools {
namespace {

constexpr bool changeable = true, fixed = false;  // by --resume

// The options as visit(key, value, may --resume change it, check, help). The command line says --weight-decay where the
// key is weight_decay. First those of augmentation alone.
template <class Word, class Ranges, class Visit>
void for_each_augment_option(Word& augment, Ranges& r, Visit visit) {
  visit("augment", augment, fixed, one_of({"article", "flip-crop", "none"}),
        "what happens to a training image; each of the next nine options overrides its part");
  visit("flip", r.flip, fixed, share_number(), "probability of mirroring left to right");
  visit("rotation", r.rotation, fixed, number_between(0, 180), "degrees, either way");
  visit("shear", r.shear, fixed, number_between(0, 60), "degrees, either way, along the rows");
  visit("scale", r.scale, fixed, number_between(0, 0.9), "0.2: by 0.8 to 1.2");
  visit("brightness", r.brightness, fixed, share_number(), "0.2: by 0.8 to 1.2");
  visit("contrast", r.contrast, fixed, share_number(), "0.2: by 0.8 to 1.2");
  visit("saturation", r.saturation, fixed, share_number(), "0.2: by 0.8 to 1.2");
  visit("crop_padding", r.crop_padding, fixed, whole_number(0, 112),
        "crop at random after padding with so many black pixels on each side");
  visit("cutout", r.cutout, fixed, whole_number(0, 224), "side of a square that is blanked at random; 0: none");
}

// Every option.
template <class Options, class Visit>
void for_each_option(Options& o, Visit visit) {
  const CLI::Validator any("");
  visit("data", o.data, changeable, any, data_help);
  visit("device", o.device.device, changeable, one_of({"auto", "cpu", "cuda"}), device_help);
  visit("kernels", o.device.kernels, changeable, any, kernels_help);
  visit("precision", o.device.precision, fixed, one_of({"fp32", "tf32", "bf16"}), precision_help);
  visit("tune", o.device.tune, changeable, one_of({"on", "cached", "off"}), tune_help);
  visit("threads", o.device.threads, changeable, whole_number(0, 1024), threads_help);
  visit("workers", o.workers, changeable, whole_number(0, 64), "threads that prepare batches ahead; 0: none");
  visit("epochs", o.epochs, changeable, whole_number(1, 1'000'000), "how often to go through the training images");
  visit("patience", o.patience, changeable, whole_number(0, 1'000'000),
        "end when so many epochs in a row were not better than the best; 0: never");
  visit("batch", o.batch, fixed, whole_number(1, most_images_in_batch), "images a step");
  visit("lr", o.lr, fixed, positive_number(), "learning rate: the schedule's highest");
  visit("optimizer", o.optimizer, fixed, one_of({"adam", "adamw", "sgd"}), "how to step");
  visit("momentum", o.momentum, fixed, number_below_one(), "of sgd");
  visit("weight_decay", o.weight_decay, fixed, number_from_zero(),
        "of adamw: decoupled; of adam and sgd: added to the gradient");
  visit("clip_norm", o.clip_norm, fixed, number_from_zero(),
        "scale all gradients down to this norm where they are longer; 0: off");
  visit("ema_decay", o.ema_decay, fixed, number_below_one(),
        "test and keep an exponential moving average of the weights; 0: off");
  visit("schedule", o.schedule, fixed, one_of({"constant", "cosine", "onecycle"}),
        "how the learning rate goes over all --epochs");
  visit("warmup_epochs", o.warmup_epochs, fixed, number_from_zero(),
        "of constant and cosine: the learning rate rises linearly at first");
  visit("min_lr", o.min_lr, fixed, number_from_zero(), "of cosine: where the learning rate ends");
  visit("label_smoothing", o.label_smoothing, fixed, number_below_one(),
        "share of each label that is spread over all classes");
  visit("model", o.model, fixed, one_of({"mobilenet_v1", "standard"}),
        "standard: the same network with standard convolutions, the paper's comparison");
  visit("block", o.block, changeable, one_of({"fused", "plain"}), block_help);
  visit("width", o.width, fixed, width_number(), "scales the channels of every layer: the paper's alpha, in (0, 1]");
  visit("resolution", o.resolution, fixed, resolution_number(),
        "height and width that images are resized to: a multiple of 32 from 32 to 224");
  for_each_augment_option(o.augment, o.ranges, visit);
  visit("val", o.val, fixed, one_of({"test", "article"}),
        "which images choose the best epoch: test, all test images (so their accuracy flatters a little), or article, "
        "the first 1,000 test images, while the others test it at the end");
  visit(
      "val_fraction", o.val_fraction, fixed, number_below_one(),
      "hold out this share of the training images to choose the best epoch, so that the test images are used once, at "
      "the end; 0: as --val says");
  visit("limit", o.limit, fixed, whole_number(0, INT64_MAX),
        "train on the first N images only, and test on the same share of the test images; 0: all");
  visit("seed", o.seed, fixed, seed_number(), "of weights, order and augmentation");
  visit("save_steps", o.save_steps, changeable, whole_number(0, INT64_MAX),
        "save a checkpoint every N steps too, not only after each epoch; 0: no");
  visit("graph", o.graph, changeable, one_of({"on", "off"}),
        "capture the training step once for each size of batch and replay it, as a CUDA graph or the CPU device's");
  visit("loss_every", o.loss_every, changeable, whole_number(0, INT64_MAX),
        "read the sum of losses back from the device every N steps, which waits for them; 0: 50 on a GPU, 1 on the "
        "CPU, where there is nothing to wait for");
  visit("tensorboard", o.tensorboard, changeable, CLI::Validator(""), "write TensorBoard's event files too");
}

std::string option_name(std::string key) {
  std::replace(key.begin(), key.end(), '_', '-');
  return "--" + key;
}

// Adds what it visits to a command line.
auto adder(CLI::App& app) {
  return [&app](const char* key, auto& value, bool, const CLI::Validator& check, const char* help) {
    if constexpr (std::is_same_v<std::decay_t<decltype(value)>, bool>) {
      app.add_flag(option_name(key), value, help);
    } else {
      app.add_option(option_name(key), value, help)->check(check)->capture_default_str();
    }
  };
}

std::string changeable_options() {
  std::vector<std::string> names;
  TrainOptions any;
  for_each_option(any, [&](const char* key, const auto&, bool may_change, auto&&...) {
    if (may_change) names.push_back(option_name(key));
  });
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

void add_options(CLI::App& app, TrainOptions& o) { for_each_option(o, adder(app)); }

void add_augment_options(CLI::App& app, std::string& augment, AugmentRanges& ranges) {
  for_each_augment_option(augment, ranges, adder(app));
}

void resolve(AugmentRanges& ranges, const std::string& augment, const CLI::App& app) {
  AugmentRanges preset;
  if (augment != "article") preset = {0, 0, 0, 0, 0, 0, 0, 0, 0};
  if (augment == "flip-crop") preset.flip = 0.5, preset.crop_padding = 4;
  const auto take = [&](const char* name, auto& value, auto from_preset) {
    if (app.get_option(name)->count() == 0) value = from_preset;
  };
  take("--flip", ranges.flip, preset.flip);
  take("--rotation", ranges.rotation, preset.rotation);
  take("--shear", ranges.shear, preset.shear);
  take("--scale", ranges.scale, preset.scale);
  take("--brightness", ranges.brightness, preset.brightness);
  take("--contrast", ranges.contrast, preset.contrast);
  take("--saturation", ranges.saturation, preset.saturation);
  take("--crop-padding", ranges.crop_padding, preset.crop_padding);
  take("--cutout", ranges.cutout, preset.cutout);
}

void resolve(TrainOptions& o, const CLI::App& app) {
  resolve(o.ranges, o.augment, app);
  if (o.val_fraction > 0 && o.val != "test")
    throw UsageError(fmt::format("--val-fraction {} and --val {}: one of them", o.val_fraction, o.val));
  if (o.warmup_epochs > 0 && o.schedule == "onecycle")
    throw UsageError("--warmup-epochs: onecycle has a rise of its own; constant and cosine take it");
  if (o.min_lr > 0 && o.schedule != "cosine") throw UsageError("--min-lr: of --schedule cosine only");
  if (o.min_lr > o.lr) throw UsageError(fmt::format("--min-lr {}: above --lr {}", o.min_lr, o.lr));
}

namespace {

// "OP=NAME" where --kernels names a row of the operation that has no fused pass, else "".
template <class Row>
std::string named_without_fused_pass(const engine::Device& device) {
  const auto named = device.policy.named.find(Row::operation);
  if (named == device.policy.named.end()) return "";
  for (const Row& row : kernels::implementations<Row>(device.type()))
    if (named->second == row.name && row.forward_fused != nullptr) return "";
  return named->first + "=" + named->second;
}

template <class T>
std::string named_without_fused_pass_for(const engine::Device& device) {
  for (const std::string& row : {named_without_fused_pass<kernels::Conv2dOf<T>>(device),
                                 named_without_fused_pass<kernels::DepthwiseConvOf<T>>(device),
                                 named_without_fused_pass<kernels::PointwiseConvOf<T>>(device),
                                 named_without_fused_pass<kernels::GlobalAvgPoolOf<T>>(device)})
    if (!row.empty()) return row;
  return "";
}

// Throws UsageError where --kernels names a row that is not for bfloat16 activations.
template <class... Rows>
void check_named_for_bf16(const engine::Device& device) {
  const auto check = [&](const char* operation, const auto& rows) {
    const auto named = device.policy.named.find(operation);
    if (named == device.policy.named.end()) return;
    std::string names;
    for (const auto& row : rows) {
      if (named->second == row.name) return;
      names += fmt::format("{}{}", names.empty() ? "" : ", ", row.name);
    }
    throw UsageError(fmt::format("--precision bf16 and --kernels {}={}: for bfloat16 activations there is {}",
                                 operation, named->second, names));
  };
  (check(Rows::operation, kernels::implementations<Rows>(device.type())), ...);
}

}  // namespace

std::string resolve_block(std::string& block, models::Convolutions convolutions, const CLI::App& app,
                          const engine::Device& device) {
  const bool bf16 = device.policy.precision == kernels::Precision::bf16;
  std::string why;
  check_precision(convolutions, device);
  using kernels::Bf16;
  if (bf16)
    check_named_for_bf16<kernels::Conv2dOf<Bf16>, kernels::DepthwiseConvOf<Bf16>, kernels::PointwiseConvOf<Bf16>,
                         kernels::BatchNormOf<Bf16>, kernels::Relu6Of<Bf16>, kernels::GlobalAvgPoolOf<Bf16>>(device);
  if (convolutions == models::Convolutions::standard) {
    why = "--model standard";
  } else {
    const std::string row =
        bf16 ? named_without_fused_pass_for<kernels::Bf16>(device) : named_without_fused_pass_for<float>(device);
    if (!row.empty()) why = "--kernels " + row;
  }
  if (block == "plain" || why.empty()) return "";
  if (app.get_option("--block")->count() > 0)
    throw UsageError(fmt::format("--block fused and {}, which has no fused passes: one of them", why));
  block = "plain";
  return fmt::format("--block plain, because {} has no fused passes", why);
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
    if (may_change && !saved.contains(key)) return;  // of a program of before there was such an option
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
      throw UsageError(fmt::format("{} {}: the run to go on with has {}; --resume can change only {}", option_name(key),
                                   value, before, changeable_options()));
    if (!is_given || !may_change) value = before;
  });
  return options;
}

void set_ranges(kernels::AugmentOptions& to, const AugmentRanges& from) {
  const auto number = [](double x) { return static_cast<float>(x); };
  to.flip = number(from.flip);
  to.rotation = number(from.rotation), to.shear = number(from.shear);
  to.scale_low = number(1 - from.scale), to.scale_high = number(1 + from.scale);
  to.brightness = number(from.brightness), to.contrast = number(from.contrast), to.saturation = number(from.saturation);
  to.crop_padding = from.crop_padding, to.cutout = from.cutout;
}

models::MobileNetV1Config network_config(const TrainOptions& o, int classes) {
  return {o.width, o.resolution, classes, models::parse_model(o.model)};
}

engine::optim::Options optimizer_options(const TrainOptions& o) {
  using engine::optim::Method;
  return {.method = o.optimizer == "sgd"     ? Method::sgd
                    : o.optimizer == "adamw" ? Method::adamw
                                             : Method::adam,
          .lr = static_cast<float>(o.lr),
          .momentum = static_cast<float>(o.momentum),
          .weight_decay = static_cast<float>(o.weight_decay),
          .max_norm = static_cast<float>(o.clip_norm),
          .ema_decay = static_cast<float>(o.ema_decay)};
}

}  // namespace tools
