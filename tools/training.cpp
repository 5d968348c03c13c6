#include "tools/training.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>

#include "engine/autograd/functions.h"
#include "engine/device/run.h"
#include "engine/error.h"
#include "engine/io/checkpoint.h"
#include "engine/io/file.h"
#include "kernels/loss_totals/loss_totals.h"
#include "tools/command.h"
#include "tools/report.h"

namespace tools {
namespace {

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
          {"waited", s.waited},
          {"best_epoch", s.best_epoch},
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
  s.waited = j.at("waited").get<double>();
  s.best_epoch = j.at("best_epoch").get<int>();
  s.best_accuracy = j.at("best_accuracy").get<double>();
  for (const json& r : j.at("history")) s.history.push_back(epoch_result(r));
  return s;
}

// A loader's options for a test: the set's order, no augmentation.
data::LoaderOptions test_loading(const TrainOptions& o, const data::Normalization& normalization) {
  return tools::test_loading(normalization, o.batch, o.resolution, o.workers);
}

data::LoaderOptions train_loading(const TrainOptions& o, const data::Normalization& normalization) {
  data::LoaderOptions loading = test_loading(o, normalization);
  loading.shuffle = true;
  loading.seed = o.seed;
  set_ranges(loading.augment, o.ranges);
  return loading;
}

constexpr size_t most_examples = 40;  // test images that result.json shows

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

Training::Training(const TrainOptions& options, const TrainingData& training_data, std::filesystem::path folder,
                   json config, engine::Device& device)
    : options_(options),
      data_(training_data),
      folder_(std::move(folder)),
      config_(std::move(config)),
      device_(device),
      model_data_{data_.train.class_names, {}},
      init_{.device = device.type(), .seed = options.seed},
      model_(init_, network_config(options, static_cast<int>(data_.train.class_names.size()))),
      optimizer_(model_.parameters(), optimizer_options(options), model_.buffers()),
      schedule_{.kind = engine::optim::parse_schedule(options.schedule),
                .lr = static_cast<float>(options.lr),
                .total_steps = steps() * options.epochs,
                .warmup_steps = std::llround(options.warmup_epochs * static_cast<double>(steps())),
                .min_lr = static_cast<float>(options.min_lr)},
      totals_(engine::Tensor::zeros({sizeof(kernels::TrainingTotals)}, device.type(), engine::DType::uint8)),
      guard_(engine::Tensor::zeros({1}, device.type())),
      train_batches_(data_.train, train_loading(options, model_data_.normalization), device),
      validation_batches_(data_.chooses(), test_loading(options, model_data_.normalization), device) {
  model_.fused = options.block == "fused";
}

int64_t Training::steps() const {
  return static_cast<int64_t>((data_.train.size() + options_.batch - 1) / options_.batch);
}

int64_t Training::images_after(int64_t step) const {
  return std::min(step * options_.batch, static_cast<int64_t>(data_.train.size()));
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
  // The rows that the run took, so that it goes on to the same bits whatever was timed since.
  const json saved = engine::io::checkpoint_state(checkpoint);
  if (device_.tuner == nullptr || !saved.contains("kernels")) return;
  try {
    if (!device_.tuner->resume(saved.at("kernels")))
      progress_.message(fmt::format("kernels: the run took its rows on another device ({}), so they are chosen anew",
                                    saved.at("kernels").at("device").get<std::string>()));
  } catch (const json::exception&) {
    throw engine::InputError(checkpoint.path.string(),
                             "no checkpoint of `mobilenet train`: its \"kernels\" is damaged");
  }
}

void Training::save_checkpoint() {
  json state = {{"training", to_json(state_)}, {"options", config_.at("options")}, {"data", config_.at("data")}};
  if (device_.tuner != nullptr) state["kernels"] = device_.tuner->record();
  engine::io::save_checkpoint(folder_ / checkpoint_file, model_, optimizer_, state);
}

void Training::write_outputs() {
  engine::io::write_file(folder_ / metrics_file, metrics_csv(state_.history));
  write_report(folder_);
}

bool Training::is_finished() const {
  return state_.epoch >= options_.epochs ||
         (options_.patience > 0 && state_.epoch - state_.best_epoch >= options_.patience);
}

bool Training::run(const Interrupt& interrupt) {
  // What an earlier end of this run came to says nothing of the epochs that come now.
  if (!is_finished()) std::filesystem::remove(folder_ / result_file);
  while (!is_finished()) {
    bool complete = train_epoch(interrupt);
    if (complete) {
      const auto tested = validate(interrupt);
      complete = tested.has_value();
      if (complete) finish_epoch(*tested);
    }
    if (!complete) {
      progress_.clear();
      save_checkpoint();
      return false;
    }
  }
  if (state_.epoch < options_.epochs)
    progress_.message(fmt::format("no better epoch than {} in {} epochs: the end (--patience {})", state_.best_epoch,
                                  state_.epoch - state_.best_epoch, options_.patience));
  return test_best(interrupt);
}

bool Training::train_epoch(const Interrupt& interrupt) {
  const int64_t on_this_device = device_.type() == engine::DeviceType::cuda ? 50 : 1;
  const int64_t loss_every = options_.loss_every > 0 ? options_.loss_every : on_this_device;
  train_batches_.start(static_cast<uint32_t>(state_.epoch), state_.step);
  write_totals();
  while (state_.step < steps()) {
    const bool interrupted = interrupt.requested();
    const auto start = std::chrono::steady_clock::now();
    if (!interrupted) step();
    keep_tuning();
    const bool saves = options_.save_steps > 0 && state_.step % options_.save_steps == 0;
    const bool last = interrupted || state_.step == steps();
    if (last || saves || state_.step % loss_every == 0) read_totals();
    const double seconds = seconds_since(start);
    state_.seconds += seconds;
    timed_seconds_ += seconds;
    if (interrupted) return false;
    ++timed_steps_;
    progress_.show(progress_state(state_.step, steps()));
    if (saves) save_checkpoint();
  }
  return !interrupt.requested();
}

std::optional<Evaluation> Training::validate(const Interrupt& interrupt) {
  const engine::optim::UseAverages averages(optimizer_);  // where --ema-decay keeps them
  ProgressState shown = progress_state(0, static_cast<int64_t>(data_.chooses().size()));
  shown.label += " validation";
  return evaluate_showing_progress(model_, validation_batches_, std::move(shown), interrupt);
}

std::optional<Evaluation> Training::evaluate_showing_progress(models::MobileNetV1& model, Batches& batches,
                                                              ProgressState shown, const Interrupt& interrupt) {
  const auto evaluation = evaluate(model, batches, [&](int64_t done) {
    shown.done = done;
    progress_.show(shown);
    return !interrupt.requested();
  });
  keep_tuning();
  return evaluation;
}

void Training::keep_tuning() {
  if (device_.tuner == nullptr) return;
  for (const std::string& message : device_.tuner->save()) progress_.message(message);
}

void Training::step() {
  // Not too far ahead of the device: an interrupt waits for what lies between.
  std::unique_ptr<engine::Event>& mark = last_steps_[static_cast<size_t>(state_.step) % last_steps_.size()];
  if (mark != nullptr) mark->synchronize();
  const double waited = train_batches_.seconds_waited();
  const int64_t images = train_batches_.load();
  state_.waited += train_batches_.seconds_waited() - waited;
  optimizer_.lr = engine::optim::learning_rate(schedule_, state_.epoch * steps() + state_.step);
  optimizer_.begin_step();
  run_step(images);
  if (mark == nullptr) mark = std::make_unique<engine::Event>(device_);
  mark->record();
  ++state_.step;
}

void Training::run_step(int64_t images) {
  if (options_.graph == "off") return work();
  std::unique_ptr<engine::Graph>& graph = graphs_[images];
  if (graph != nullptr) return graph->launch();
  // The first step of its size runs by itself. Then all memory that the step needs lies in the allocator's cache, from
  // where the capture takes it.
  work();
  graph = std::make_unique<engine::Graph>(device_, [this] { work(); });
}

void Training::work() {
  const Batch batch = train_batches_.make();
  const auto scored =
      engine::cross_entropy(model_(batch.images), batch.labels, static_cast<float>(options_.label_smoothing));
  optimizer_.zero_grad();
  engine::backward(scored.loss);
  const kernels::LossTotalsShape shape = {static_cast<int>(batch.labels.count())};
  engine::run(device_, &kernels::LossTotals::add, shape, scored.losses.data<float>(), scored.correct.data<int32_t>(),
              scored.loss.data<float>(), static_cast<kernels::TrainingTotals*>(totals_.data()), guard_.data<float>());
  optimizer_.apply_step(guard_);  // which changes nothing where the loss is no number, or an earlier one was none
}

void Training::write_totals() {
  const kernels::TrainingTotals totals = {
      .loss_sum = state_.loss_sum, .correct = state_.correct, .steps = state_.step, .bad_loss = 0, .bad = 0};
  totals_.write<uint8_t>({reinterpret_cast<const uint8_t*>(&totals), sizeof totals});
  read_step_ = state_.step;
}

void Training::read_totals() {
  if (read_step_ == state_.step) return;
  kernels::TrainingTotals totals;
  totals_.read<uint8_t>({reinterpret_cast<uint8_t*>(&totals), sizeof totals});
  if (totals.bad != 0) {
    // The weights are those that this step met, and the loader makes its batch again, so that the pass can be looked
    // at.
    train_batches_.start(static_cast<uint32_t>(state_.epoch), totals.steps);
    const Batch batch = train_batches_.next();
    const std::string where =
        models::first_not_finite(model_, batch.images, batch.labels, static_cast<float>(options_.label_smoothing));
    throw std::runtime_error(fmt::format(
        "the loss became {} in epoch {}, step {} of {} (step {} of the run), where {} first held NaN or "
        "infinity; {} holds the state before it: a smaller --lr may help",
        totals.bad_loss, state_.epoch + 1, totals.steps + 1, steps(), state_.epoch * steps() + totals.steps + 1,
        where.empty() ? "the sum of losses" : where, (folder_ / checkpoint_file).string()));
  }
  state_.loss_sum = totals.loss_sum;
  state_.correct = totals.correct;
  read_step_ = state_.step;
}

void Training::finish_epoch(const Evaluation& tested) {
  const auto images = static_cast<double>(data_.train.size());
  const EpochResult result = {
      .epoch = state_.epoch + 1,
      .train_loss = state_.loss_sum / images,
      .train_accuracy = static_cast<double>(state_.correct) / images,
      .val_loss = tested.loss,
      .accuracy = tested.accuracy(),
      .lr = engine::optim::learning_rate(schedule_, (state_.epoch + 1) * steps() - 1),
      .images_per_second = images / std::max(state_.seconds, 1e-9),
      .seconds = state_.seconds + tested.seconds,
      .data_wait = state_.waited / std::max(state_.seconds, 1e-9),
  };
  const bool best = result.accuracy > state_.best_accuracy;
  state_.history.push_back(result);
  ++state_.epoch;
  state_.step = 0, state_.loss_sum = 0, state_.correct = 0, state_.seconds = 0, state_.waited = 0;
  test_seconds_ = tested.seconds;
  // The weights first: were the program killed between the two, the epoch would be trained again, to the same weights.
  if (best) {
    state_.best_accuracy = result.accuracy;
    state_.best_epoch = result.epoch;
    const engine::optim::UseAverages averages(optimizer_);
    save_model(folder_ / weights_file, model_, model_data_);
  }
  if (options_.tensorboard) write_events(result);  // a run that goes on from before writes these points again
  save_checkpoint();
  write_outputs();
  progress_.message(fmt::format(
      "epoch {}/{}: loss {:.4f}, accuracy {:.2f} %; validation loss {:.4f}, accuracy {:.2f} %{}; {:.0f} images/s, {}",
      result.epoch, options_.epochs, result.train_loss, 100 * result.train_accuracy, result.val_loss,
      100 * result.accuracy, best ? " (best)" : "", result.images_per_second, duration(result.seconds)));
}

void Training::write_events(const EpochResult& r) {
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  const int64_t step = r.epoch * steps();
  if (!events_) events_.emplace(folder_ / "tensorboard", step - steps() + 1, now);
  events_->scalar("loss/train", step, now, r.train_loss);
  events_->scalar("loss/validation", step, now, r.val_loss);
  events_->scalar("accuracy/train", step, now, r.train_accuracy);
  events_->scalar("accuracy/validation", step, now, r.accuracy);
  events_->scalar("learning_rate", step, now, r.lr);
  events_->scalar("images_per_second", step, now, r.images_per_second);
}

bool Training::test_best(const Interrupt& interrupt) {
  LoadedModel best = load_model(folder_ / weights_file, {}, device_.type());
  Batches batches(data_.test, test_loading(options_, model_data_.normalization), device_);
  const auto tested = evaluate_showing_progress(
      *best.model, batches, {.label = "test", .total = static_cast<int64_t>(data_.test.size()), .details = {}},
      interrupt);
  progress_.clear();
  if (!tested) return false;
  test_accuracy_ = tested->accuracy();
  RunResult result{
      .epoch = state_.best_epoch,
      .validation = options_.val_fraction > 0 ? fmt::format("fraction {}", options_.val_fraction) : options_.val,
      .val_accuracy = state_.best_accuracy,
      .test_loss = tested->loss,
      .test_accuracy = tested->accuracy(),
      .classes = data_.test.class_names,
      .confusion = confusion_matrix(data_.test, *tested),
      .examples = {}};
  // Spread over the whole set: where images of a class lie together, the first ones would show one class only.
  const size_t shown = std::min<size_t>(most_examples, data_.test.size());
  for (size_t k = 0; k < shown; ++k) {
    const size_t i = k * data_.test.size() / shown;
    const uint8_t* pixels = data_.test.image(i);
    result.examples.push_back(
        {.index = static_cast<int64_t>(i),
         .label = data_.test.labels[i],
         .predicted = tested->predicted[i],
         .probability = tested->probability[i],
         .image = png_data_uri({data_.test.height, data_.test.width, {pixels, pixels + data_.test.image_bytes()}})});
  }
  engine::io::write_file(folder_ / result_file, to_json(result).dump(1) + "\n");
  write_outputs();
  return true;
}

ProgressState Training::progress_state(int64_t done, int64_t total) const {
  ProgressState shown;
  shown.label = fmt::format("epoch {}/{}", state_.epoch + 1, options_.epochs);
  shown.done = done, shown.total = total;
  const auto images = static_cast<double>(images_after(state_.step));
  if (const auto read = static_cast<double>(images_after(read_step_)); read > 0) {
    shown.details = {fmt::format("loss {:.4f}", state_.loss_sum / read),
                     fmt::format("accuracy {:.1f} %", 100 * static_cast<double>(state_.correct) / read),
                     fmt::format("{:.0f} images/s", images / std::max(state_.seconds, 1e-9))};
  }
  if (timed_steps_ > 0) {
    const double step_seconds = timed_seconds_ / static_cast<double>(timed_steps_);
    const auto images_a_test = static_cast<double>(data_.chooses().size());
    // Before the first test: a forward pass is about a third of a training step.
    const double test = test_seconds_ > 0 ? test_seconds_ : step_seconds / 3 * images_a_test / options_.batch;
    const auto steps_left = static_cast<double>((options_.epochs - state_.epoch) * steps() - state_.step);
    shown.seconds_left = steps_left * step_seconds + (options_.epochs - state_.epoch) * test;
  }
  return shown;
}

}  // namespace tools
