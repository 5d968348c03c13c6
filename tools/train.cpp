// mobilenet train: trains a network and writes the run's folder.

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "build_info.h"
#include "data/hold_out.h"
#include "engine/error.h"
#include "engine/io/file.h"
#include "tools/command.h"
#include "tools/open_data.h"
#include "tools/training.h"

namespace tools {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Options {
  TrainOptions train;
  DownloadOptions download;
  std::string out, resume;
};

constexpr const char* footer =
    "A run's folder: config.json, metrics.csv, model.safetensors (the best weights so far), checkpoint.safetensors,\n"
    "result.json (the test at the end), report.html. Ctrl-C (or SIGTERM) finishes the step, saves a checkpoint and\n"
    "ends with 130.\n"
    "--resume DIR goes on from the checkpoint, with the options that the run was started with. --epochs (the total)\n"
    "and --patience may be given anew to extend it, --data, --device, --kernels, --block, --threads and --workers to\n"
    "follow the machine; whatever else changes what is computed must be the same. With the same device, kernels and "
    "block the\n"
    "result is byte for byte that of a run that was never stopped; with a schedule other than constant, if --epochs\n"
    "is the same.";

// Who trains, who validates and who tests.
TrainingData training_data(data::Split split, const TrainOptions& o) {
  if (o.val_fraction > 0) {
    data::HeldOut parts = data::hold_out(std::move(split.train), o.val_fraction, o.seed);
    return {std::move(parts.rest), std::move(parts.validation), std::move(split.test), false};
  }
  if (o.val == "article") {
    data::HeldOut parts = data::hold_out_first(std::move(split.test));
    return {std::move(split.train), std::move(parts.validation), std::move(parts.rest), false};
  }
  return {std::move(split.train), {}, std::move(split.test), true};
}

json config_of(const TrainOptions& options, const std::string& data_name, const TrainingData& data,
               const engine::Device& device) {
  const int classes = static_cast<int>(data.train.class_names.size());
  int64_t parameters = 0, multiply_adds = 0;
  for (const models::Layer& layer : models::layers(network_config(options, classes))) {
    parameters += layer.parameters + layer.norm_parameters;
    multiply_adds += layer.multiply_adds;
  }
  const engine::DeviceProperties properties = device.runtime().properties();
  return {{"options", to_json(options)},
          {"model", {{"name", options.model}, {"parameters", parameters}, {"multiply_adds", multiply_adds}}},
          {"data",
           {{"name", data_name},
            {"classes", classes},
            {"train", data.train.size()},
            {"validation", data.validation.size()},
            {"test", data.test.size()}}},
          {"device",
           {{"type", engine::to_string(device.type())},
            {"name", properties.name},
            {"multiprocessors", properties.multiprocessors}}},
          {"versions",
           {{"mobilenet", build::version},
            {"compiler", build::compiler},
            {"cuda", build::cuda},
            {"cudnn", build::cudnn},
            {"onednn", build::onednn}}}};
}

engine::io::Safetensors read_checkpoint(const fs::path& folder) {
  const fs::path path = folder / checkpoint_file;
  if (!fs::exists(path))
    throw UsageError(fmt::format("--resume {}: there is no {} in it; expected the folder of a run", folder.string(),
                                 checkpoint_file));
  return engine::io::read_safetensors(path);
}

int train(const CLI::App& app, Options o) {
  const Interrupt interrupt;  // before the device starts its threads
  const bool resume = !o.resume.empty();
  engine::io::Safetensors checkpoint;
  SavedRun saved;
  if (resume) {
    checkpoint = read_checkpoint(o.resume);
    saved = saved_run(checkpoint);
    o.train = resumed(saved.options, o.train, app, checkpoint.path.string());
  } else {
    resolve(o.train, app);
  }

  engine::Device& device = open_device(o.train.device);
  const std::string block_message = resolve_block(o.train.block, models::parse_model(o.train.model), app, device);
  data::Opened opened = open_data(o.train.data, o.train.resolution, o.train.limit, o.download, &interrupt);
  // `auto` becomes what was found, so that a run that goes on finds the same, wherever it is started from.
  const bool by_name = o.train.data == "auto" || o.train.data == opened.name;
  o.train.data = by_name ? opened.name : fs::absolute(o.train.data).lexically_normal().string();
  o.train.device.device = engine::to_string(device.type());
  const TrainingData data = training_data(std::move(opened.split), o.train);
  const json config = config_of(o.train, opened.name, data, device);
  if (resume && config.at("data") != saved.data)
    throw UsageError(fmt::format("--resume {}: the run trains on {}, but --data {} is {}", o.resume,
                                 to_text(saved.data), o.train.data, to_text(config.at("data"))));

  const fs::path folder = resume ? fs::path(o.resume) : create_run_folder(o.out, opened.name);
  engine::io::write_file(folder / config_file, to_text(config, 2) + "\n");
  Training training(o.train, data, folder, config, device);
  if (resume) training.load(checkpoint);
  checkpoint = {};

  print_message(opened.message);
  if (!block_message.empty()) print_message(block_message);
  print_message(fmt::format("training on {} images, choosing the best epoch on {}, {} parameters, on {} ({})",
                            data.train.size(),
                            data.validates_on_test ? fmt::format("the {} test images", data.test.size())
                                                   : fmt::format("{} others", data.validation.size()),
                            config["model"]["parameters"].get<int64_t>(), engine::to_string(device.type()),
                            config["device"]["name"].get<std::string>()));
  print_message(fmt::format("run: {}", folder.string()));
  if (resume) {
    const TrainingState& s = training.state();
    print_message(fmt::format("going on after {} epochs and {} steps{}", s.epoch, s.step,
                              training.is_finished() ? "; there is nothing left to train (more --epochs?)" : ""));
    training.write_outputs();
  } else {
    training.save_checkpoint();  // so that a run can be resumed from its first step on
  }

  if (!training.run(interrupt)) {
    const TrainingState& s = training.state();
    print_message(fmt::format("saved after {} epochs and {} steps; to go on: mobilenet train --resume {}", s.epoch,
                              s.step, folder.string()));
    return exit_interrupted;
  }
  const TrainingState& s = training.state();
  print_message(fmt::format("the best epoch, {}: {:.2f} % of the {} test images{}; {} holds {}, {}, {}", s.best_epoch,
                            100 * training.test_accuracy(), data.test.size(),
                            data.validates_on_test ? ", which chose it" : "", folder.string(), weights_file,
                            result_file, report_file));
  return 0;
}

}  // namespace

Command add_train(CLI::App& program) {
  CLI::App* app = program.add_subcommand("train", "Train MobileNetV1 on a set of images");
  const auto options = std::make_shared<Options>();
  add_options(*app, options->train);
  add_options(*app, options->download);
  CLI::Option* out =
      app->add_option("--out", options->out, "the run's folder, which holds no run yet; left out: runs/DATA-1, -2, …");
  app->add_option("--resume", options->resume, "go on with the run in this folder")->excludes(out);
  app->footer(footer);
  return {app, [app, options] { return train(*app, *options); }};
}

}  // namespace tools
