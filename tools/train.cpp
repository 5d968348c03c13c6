// mobilenet train: trains a network and writes the run's folder.

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "build_info.h"
#include "engine/error.h"
#include "engine/io/file.h"
#include "tools/command.h"
#include "tools/training.h"

namespace tools {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Options {
  TrainOptions train;
  std::string out, resume;
};

constexpr const char* footer =
    "A run's folder: config.json, metrics.csv, model.safetensors (the best weights so far), checkpoint.safetensors,\n"
    "report.html. Ctrl-C (or SIGTERM) finishes the step, saves a checkpoint and ends with 130.\n"
    "--resume DIR goes on from the checkpoint, with the options that the run was started with; of those given again,\n"
    "--epochs, --data, --device, --kernels and --threads count (the first may extend a run, the others follow the\n"
    "machine), and any other must be the same. --epochs is the total. With the same device and kernels the result is\n"
    "byte for byte that of a run that was never stopped; with a schedule other than constant, if --epochs is the same.";

// Of the training images the first `limit`, of the test images the same share.
void limit_images(data::Split& split, int64_t limit) {
  const size_t train = split.train.size(), test = split.test.size();
  if (limit == 0 || static_cast<size_t>(limit) >= train) return;
  split.train = data::take(std::move(split.train), limit);
  split.test = data::take(std::move(split.test), std::max<size_t>((test * limit + train - 1) / train, 1));
}

json config_of(const TrainOptions& options, const data::Opened& opened, const engine::Device& device) {
  const data::Dataset& train = opened.split.train;
  const int classes = static_cast<int>(train.class_names.size());
  int64_t parameters = 0, multiply_adds = 0;
  for (const models::Layer& layer : models::layers({options.width, options.resolution, classes})) {
    parameters += layer.parameters + layer.norm_parameters;
    multiply_adds += layer.multiply_adds;
  }
  const engine::DeviceProperties properties = device.runtime().properties();
  return {{"options", to_json(options)},
          {"model", {{"name", "mobilenet_v1"}, {"parameters", parameters}, {"multiply_adds", multiply_adds}}},
          {"data",
           {{"name", opened.name}, {"classes", classes}, {"train", train.size()}, {"test", opened.split.test.size()}}},
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
  }

  engine::Device& device = open_device(o.train.device);
  data::Opened opened = data::open(o.train.data);
  limit_images(opened.split, o.train.limit);
  // `auto` becomes what was found, so that a run that goes on finds the same, wherever it is started from.
  const bool by_name = o.train.data == "auto" || o.train.data == opened.name;
  o.train.data = by_name ? opened.name : fs::absolute(o.train.data).lexically_normal().string();
  o.train.device.device = engine::to_string(device.type());
  const json config = config_of(o.train, opened, device);
  if (resume && config.at("data") != saved.data)
    throw UsageError(fmt::format("--resume {}: the run trains on {}, but --data {} is {}", o.resume,
                                 to_text(saved.data), o.train.data, to_text(config.at("data"))));

  const fs::path folder = resume ? fs::path(o.resume) : create_run_folder(o.out, opened.name);
  engine::io::write_file(folder / config_file, to_text(config, 2) + "\n");
  Training training(o.train, opened.split, folder, config, device);
  if (resume) training.load(checkpoint);
  checkpoint = {};

  print_message(opened.message);
  print_message(fmt::format("training on {} images, testing on {}, {} parameters, on {} ({})",
                            opened.split.train.size(), opened.split.test.size(),
                            config["model"]["parameters"].get<int64_t>(), engine::to_string(device.type()),
                            config["device"]["name"].get<std::string>()));
  print_message(fmt::format("run: {}", folder.string()));
  if (resume) {
    const TrainingState& s = training.state();
    print_message(fmt::format("going on after {} epochs and {} steps{}", s.epoch, s.step,
                              s.epoch >= o.train.epochs ? "; there is nothing left to do (more --epochs?)" : ""));
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
  print_message(fmt::format("best accuracy on the test images: {:.2f} %; written to {}: {}, {}, {}",
                            100 * training.state().best_accuracy, folder.string(), weights_file, metrics_file,
                            report_file));
  return 0;
}

}  // namespace

Command add_train(CLI::App& program) {
  CLI::App* app = program.add_subcommand("train", "Train MobileNetV1 on a set of images");
  const auto options = std::make_shared<Options>();
  add_options(*app, options->train);
  CLI::Option* out =
      app->add_option("--out", options->out, "the run's folder, which holds no run yet; left out: runs/DATA-1, -2, …");
  app->add_option("--resume", options->resume, "go on with the run in this folder")->excludes(out);
  app->footer(footer);
  return {app, [app, options] { return train(*app, *options); }};
}

}  // namespace tools
