#include "tools/training.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>

#include "data/random.h"
#include "engine/autograd/functions.h"
#include "engine/error.h"
#include "engine/io/checkpoint.h"
#include "engine/io/file.h"
#include "tools/command.h"
#include "tools/report.h"

namespace tools {
namespace {

using engine::Tensor;
using nlohmann::json;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

json to_json(const TrainingState& s) {
  json history = json::array();
  for (const EpochResult& r : s.history) history.push_back(to_json(r));
  return {{"epoch", s.epoch},
          {"step", s.step},
          {"loss_sum", s.loss_sum},
          {"correct", s.correct},
          {"seconds", s.seconds},
          {"best_accuracy", s.best_accuracy},
          {"history", std::move(history)}};
}

TrainingState training_state(const json& j) {
  TrainingState s;
  s.epoch = j.at("epoch").get<int>();
  s.step = j.at("step").get<int64_t>();
  s.loss_sum = j.at("loss_sum").get<double>();
  s.correct = j.at("correct").get<int64_t>();
  s.seconds = j.at("seconds").get<double>();
  s.best_accuracy = j.at("best_accuracy").get<double>();
  for (const json& r : j.at("history")) s.history.push_back(epoch_result(r));
  return s;
}

// A part of the checkpoint's JSON.
json part(const engine::io::Safetensors& checkpoint, const char* name) {
  const json state = engine::io::checkpoint_state(checkpoint);
  if (!state.is_object() || !state.contains(name))
    throw engine::InputError(checkpoint.path.string(),
                             fmt::format("no checkpoint of `mobilenet train`: it has no \"{}\"", name));
  return state.at(name);
}

}  // namespace

SavedRun saved_run(const engine::io::Safetensors& checkpoint) {
  return {part(checkpoint, "options"), part(checkpoint, "data")};
}

Training::Training(const TrainOptions& options, const data::Split& split, std::filesystem::path folder, json config,
                   engine::Device& device)
    : options_(options),
      split_(split),
      folder_(std::move(folder)),
      config_(std::move(config)),
      device_(device),
      model_data_{split.train.class_names, {}},
      init_{.device = device.type(), .seed = options.seed},
      model_(init_, {options.width, options.resolution, static_cast<int>(split.train.class_names.size())}),
      optimizer_(model_.parameters(), optimizer_options(options)),
      schedule_{.kind = engine::optim::parse_schedule(options.schedule),
                .lr = static_cast<float>(options.lr),
                .total_steps = steps() * options.epochs} {}

int64_t Training::steps() const {
  return static_cast<int64_t>((split_.train.size() + options_.batch - 1) / options_.batch);
}

int64_t Training::images_after(int64_t step) const {
  return std::min(step * options_.batch, static_cast<int64_t>(split_.train.size()));
}

void Training::load(const engine::io::Safetensors& checkpoint) {
  try {
    state_ = training_state(part(checkpoint, "training"));
  } catch (const json::exception&) {
    throw engine::InputError(checkpoint.path.string(),
                             "no checkpoint of `mobilenet train`: its \"training\" is damaged");
  }
  if (state_.epoch < 0 || state_.step < 0 || state_.step > steps())
    throw engine::InputError(checkpoint.path.string(),
                             fmt::format("epoch {}, step {}: no such step in this run", state_.epoch, state_.step));
  engine::io::load_checkpoint(checkpoint, model_, optimizer_);
}

void Training::save_checkpoint() {
  const json state = {{"training", to_json(state_)}, {"options", config_.at("options")}, {"data", config_.at("data")}};
  engine::io::save_checkpoint(folder_ / checkpoint_file, model_, optimizer_, state);
}

void Training::write_outputs() {
  engine::io::write_file(folder_ / metrics_file, metrics_csv(state_.history));
  const std::filesystem::path path = (std::filesystem::absolute(folder_) / "").lexically_normal();
  const std::string name = path.parent_path().filename().string();  // of the folder, whether or not "/" ends its path
  engine::io::write_file(folder_ / report_file, report_html(name, config_, state_.history));
}

bool Training::run(const Interrupt& interrupt) {
  while (state_.epoch < options_.epochs) {
    bool complete = train_epoch(interrupt);
    if (complete) {
      const int64_t test_images = static_cast<int64_t>(split_.test.size());
      const auto tested =
          evaluate(model_, split_.test, model_data_.normalization, options_.batch, device_.type(), [&](int64_t done) {
            ProgressState shown = progress_state(done, test_images);
            shown.label += " test";
            progress_.show(shown);
            return !interrupt.requested();
          });
      complete = tested.has_value();
      if (complete) finish_epoch(*tested);
    }
    if (!complete) {
      progress_.clear();
      save_checkpoint();
      return false;
    }
  }
  return true;
}

bool Training::train_epoch(const Interrupt& interrupt) {
  const std::vector<size_t> order = data::shuffled_indices(split_.train.size(), options_.seed, state_.epoch);
  while (state_.step < steps()) {
    if (interrupt.requested()) return false;
    const auto start = std::chrono::steady_clock::now();
    const int64_t from = images_after(state_.step), to = images_after(state_.step + 1);
    step(std::span(order).subspan(from, to - from));
    const double seconds = seconds_since(start);
    state_.seconds += seconds;
    ++timed_steps_, timed_seconds_ += seconds;
    progress_.show(progress_state(state_.step, steps()));
  }
  return !interrupt.requested();
}

void Training::step(std::span<const size_t> indices) {
  const auto count = static_cast<int64_t>(indices.size()), size = int64_t{options_.resolution};
  images_.resize(count * size * size * 3);
  labels_.resize(count);
  data::fill_batch(split_.train, indices,
                   {.normalization = model_data_.normalization,
                    .resolution = options_.resolution,
                    .flip = options_.augment == "flip",
                    .seed = options_.seed,
                    .epoch = static_cast<uint32_t>(state_.epoch)},
                   images_.data(), labels_.data());
  const Tensor x = Tensor::from_host(images_, {count, size, size, 3}, device_.type());
  const Tensor labels = Tensor::from_host(labels_, {count}, device_.type());

  const int64_t run_step = state_.epoch * steps() + state_.step;
  optimizer_.lr = engine::optim::learning_rate(schedule_, run_step);
  const auto scored = engine::cross_entropy(model_(x), labels);
  optimizer_.zero_grad();
  engine::backward(scored.loss);
  optimizer_.step();

  double loss_sum = 0;
  for (const float loss : scored.losses.to_host<float>()) loss_sum += loss;
  if (!std::isfinite(loss_sum))
    throw std::runtime_error(fmt::format(
        "the loss became {} in epoch {}, step {} of {} (step {} of the run); {} holds the state before it: "
        "a smaller --lr may help",
        loss_sum, state_.epoch + 1, state_.step + 1, steps(), run_step + 1, (folder_ / checkpoint_file).string()));
  for (const int32_t correct : scored.correct.to_host<int32_t>()) state_.correct += correct;
  state_.loss_sum += loss_sum;
  ++state_.step;
}

void Training::finish_epoch(const Evaluation& tested) {
  const auto images = static_cast<double>(split_.train.size());
  const EpochResult result = {
      .epoch = state_.epoch + 1,
      .train_loss = state_.loss_sum / images,
      .train_accuracy = static_cast<double>(state_.correct) / images,
      .val_loss = tested.loss,
      .accuracy = tested.accuracy(),
      .lr = engine::optim::learning_rate(schedule_, (state_.epoch + 1) * steps() - 1),
      .images_per_second = images / std::max(state_.seconds, 1e-9),
      .seconds = state_.seconds + tested.seconds,
  };
  const bool best = result.accuracy > state_.best_accuracy;
  state_.history.push_back(result);
  ++state_.epoch;
  state_.step = 0, state_.loss_sum = 0, state_.correct = 0, state_.seconds = 0;
  test_seconds_ = tested.seconds;
  // The weights first: were the program killed between the two, the epoch would be trained again, to the same weights.
  if (best) {
    state_.best_accuracy = result.accuracy;
    save_model(folder_ / weights_file, model_, model_data_);
  }
  save_checkpoint();
  write_outputs();
  progress_.message(fmt::format(
      "epoch {}/{}: loss {:.4f}, accuracy {:.2f} %; test loss {:.4f}, accuracy {:.2f} %{}; {:.0f} images/s, {}",
      result.epoch, options_.epochs, result.train_loss, 100 * result.train_accuracy, result.val_loss,
      100 * result.accuracy, best ? " (best)" : "", result.images_per_second, duration(result.seconds)));
}

ProgressState Training::progress_state(int64_t done, int64_t total) const {
  ProgressState shown;
  shown.label = fmt::format("epoch {}/{}", state_.epoch + 1, options_.epochs);
  shown.done = done, shown.total = total;
  const auto images = static_cast<double>(images_after(state_.step));
  if (images > 0) {
    shown.details = {fmt::format("loss {:.4f}", state_.loss_sum / images),
                     fmt::format("accuracy {:.1f} %", 100 * static_cast<double>(state_.correct) / images),
                     fmt::format("{:.0f} images/s", images / std::max(state_.seconds, 1e-9))};
  }
  if (timed_steps_ > 0) {
    const double step_seconds = timed_seconds_ / static_cast<double>(timed_steps_);
    const auto images_a_test = static_cast<double>(split_.test.size());
    // Before the first test: a forward pass is about a third of a training step.
    const double test = test_seconds_ > 0 ? test_seconds_ : step_seconds / 3 * images_a_test / options_.batch;
    const auto steps_left = static_cast<double>((options_.epochs - state_.epoch) * steps() - state_.step);
    shown.seconds_left = steps_left * step_seconds + (options_.epochs - state_.epoch) * test;
  }
  return shown;
}

}  // namespace tools
