// mobilenet eval: a trained model's loss and accuracy on the test images of a set.

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

#include "data/open.h"
#include "tools/command.h"
#include "tools/evaluate.h"
#include "tools/model_file.h"
#include "tools/open_data.h"
#include "tools/options.h"
#include "tools/progress.h"

namespace tools {
namespace {

struct Options {
  std::string weights, data = "auto";
  DownloadOptions download;
  ModelOptions model;
  DeviceOptions device;
  int batch = 128, workers = 1;
  int64_t limit = 0;
  bool json = false;
};

Evaluation evaluate_showing_progress(LoadedModel& loaded, const data::Dataset& set, const Options& o,
                                     engine::Device& device) {
  Progress progress;
  const auto start = std::chrono::steady_clock::now();
  const auto watch = [&](int64_t done) {
    ProgressState state{.label = "eval", .done = done, .total = static_cast<int64_t>(set.size()), .details = {}};
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (done > 0) state.seconds_left = seconds / static_cast<double>(done) * static_cast<double>(state.total - done);
    progress.show(state);
    return true;
  };
  Batches batches(set, test_loading(loaded.data.normalization, o.batch, loaded.model->config.resolution, o.workers),
                  device);
  return *evaluate(*loaded.model, batches, watch);
}

double share(int64_t part, int64_t of) { return of > 0 ? static_cast<double>(part) / static_cast<double>(of) : 0; }

int eval(const Options& o) {
  engine::Device& device = open_device(o.device);
  LoadedModel loaded = load_model(o.weights, o.model, device.type());
  data::Opened opened = open_data(o.data, loaded.model->config.resolution, 0, o.download);
  print_message(opened.message);
  data::Dataset set = std::move(opened.split.test);
  if (o.limit > 0) set = data::take(std::move(set), o.limit);
  if (static_cast<int>(set.class_names.size()) != loaded.model->config.classes)
    throw UsageError(fmt::format("{}: a model of {} classes, but {} has {}", o.weights, loaded.model->config.classes,
                                 opened.name, set.class_names.size()));

  const Evaluation e = evaluate_showing_progress(loaded, set, o, device);
  save_tuning(device);
  const std::vector<std::vector<int64_t>> confusion = confusion_matrix(set, e);
  const auto class_images = [&](size_t i) {
    return std::accumulate(confusion[i].begin(), confusion[i].end(), int64_t{0});
  };
  const double images_per_second = static_cast<double>(e.images) / std::max(e.seconds, 1e-9);
  if (o.json) {
    nlohmann::json classes = nlohmann::json::array();
    for (size_t i = 0; i < set.class_names.size(); ++i)
      classes.push_back({{"name", set.class_names[i]},
                         {"images", class_images(i)},
                         {"correct", confusion[i][i]},
                         {"accuracy", share(confusion[i][i], class_images(i))}});
    print_json({{"weights", o.weights},
                {"data", opened.name},
                {"device", engine::to_string(device.type())},
                {"images", e.images},
                {"correct", e.correct},
                {"accuracy", e.accuracy()},
                {"loss", e.loss},
                {"images_per_second", images_per_second},
                {"seconds", e.seconds},
                {"classes", classes},
                {"confusion", confusion}});
    return 0;
  }
  size_t widest = 0;
  for (const std::string& name : set.class_names) widest = std::max(widest, name.size());
  for (size_t i = 0; i < set.class_names.size(); ++i)
    fmt::print("  {:<{}}  {:6.2f} %  ({} of {})\n", set.class_names[i], widest,
               100 * share(confusion[i][i], class_images(i)), confusion[i][i], class_images(i));
  fmt::print("accuracy {:.2f} % ({} of {} test images), loss {:.4f}, {:.0f} images/s\n", 100 * e.accuracy(), e.correct,
             e.images, e.loss, images_per_second);
  return 0;
}

}  // namespace

Command add_eval(CLI::App& program) {
  CLI::App* app = program.add_subcommand("eval", "Test a trained model: loss and accuracy, of each class too");
  const auto o = std::make_shared<Options>();
  app->add_option("--weights", o->weights, "a run's model.safetensors, or weights with timm's names")->required();
  app->add_option("--data", o->data, data_help)->capture_default_str();
  add_options(*app, o->download);
  add_options(*app, o->model);
  o->device.tune = "cached";  // one pass over a test set seldom earns what timing its rows costs
  add_options(*app, o->device);
  app->add_option("--batch", o->batch, "images at once")
      ->check(whole_number(1, most_images_in_batch))
      ->capture_default_str();
  app->add_option("--workers", o->workers, "threads that prepare batches ahead; 0: none")
      ->check(whole_number(0, 64))
      ->capture_default_str();
  app->add_option("--limit", o->limit, "the first N test images only; 0: all")
      ->check(whole_number(0, INT64_MAX))
      ->capture_default_str();
  app->add_flag("--json", o->json, "one JSON object on standard output");
  return {app, [o] { return eval(*o); }};
}

}  // namespace tools
