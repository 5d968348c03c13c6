// The training loop, with all that makes it exact: what epoch e, step s computes depends on the options and on the
// state before it, and on nothing else, so that a run that was stopped anywhere goes on to the same bytes.
#pragma once

#include <array>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "data/open.h"
#include "engine/io/safetensors.h"
#include "tools/evaluate.h"
#include "tools/interrupt.h"
#include "tools/model_file.h"
#include "tools/progress.h"
#include "tools/run_folder.h"
#include "tools/tensorboard.h"
#include "tools/train_options.h"

namespace tools {

// What the checkpoint keeps beside weights, moments and options.
struct TrainingState {
  int epoch = 0;              // finished, tests included
  int64_t step = 0;           // taken in the epoch under way; all of them where only the test is missing
  double loss_sum = 0;        // over the images of those steps
  int64_t correct = 0;        // of those images
  double seconds = 0;         // that those steps took
  double waited = 0;          // of those seconds, for data
  double best_accuracy = -1;  // on the validation images; that of model.safetensors
  int best_epoch = 0;
  std::vector<EpochResult> history;
};

// What a run trains on, what chooses its best epoch, and what tests that at the end.
struct TrainingData {
  data::Dataset train, validation, test;
  bool validates_on_test = false;  // `validation` is empty, and the test images do its work
  const data::Dataset& chooses() const { return validates_on_test ? test : validation; }
};

class Training {
 public:
  // `config` is config.json's object. Keeps a reference to the data.
  Training(const TrainOptions&, const TrainingData&, std::filesystem::path folder, nlohmann::json config,
           engine::Device&);

  // Goes on from a checkpoint's weights, moments and state. Throws engine::InputError where it is no such file or of
  // another network or optimiser.
  void load(const engine::io::Safetensors& checkpoint);
  void save_checkpoint();
  void write_outputs();  // metrics.csv and report.html

  // Trains to the last epoch, or until --patience is at its end, writes the folder's files after each, and tests the
  // best weights. Returns false where the user interrupted it: the checkpoint then holds the last step. Throws
  // std::runtime_error where the loss stops being a number; the last checkpoint stays.
  bool run(const Interrupt&);

  const TrainingState& state() const { return state_; }
  bool is_finished() const;                                // no epoch is left, or --patience is at its end
  double test_accuracy() const { return test_accuracy_; }  // of the best weights, once run() returned true

 private:
  int64_t steps() const;                     // an epoch's
  int64_t images_after(int64_t step) const;  // of the epoch, in its first `step` steps
  bool train_epoch(const Interrupt&);        // from state_.step on
  void step();                               // loads the next batch and puts its step on the device, waiting for none
  void run_step(int64_t images);             // of the batch that was loaded: as a graph where that is wanted
  void keep_tuning();                        // what the device timed, to its file, saying so
  void work();                               // what run_step runs or captures: launches only
  void write_totals();                       // the state's sums to the device
  void read_totals();                        // and back; throws where a loss was no number
  std::optional<Evaluation> validate(const Interrupt&);  // nothing where it was interrupted
  void finish_epoch(const Evaluation&);
  void write_events(const EpochResult&);
  bool test_best(const Interrupt&);  // false where it was interrupted
  std::optional<Evaluation> evaluate_showing_progress(models::MobileNetV1&, Batches&, ProgressState shown,
                                                      const Interrupt&);
  ProgressState progress_state(int64_t done, int64_t total) const;

  const TrainOptions options_;
  const TrainingData& data_;
  const std::filesystem::path folder_;
  const nlohmann::json config_;
  engine::Device& device_;
  const ModelData model_data_;
  engine::nn::Init init_;
  models::MobileNetV1 model_;
  engine::optim::Optimizer optimizer_;
  engine::optim::Schedule schedule_;
  TrainingState state_;    // its sums are those of the first read_step_ steps
  int64_t read_step_ = 0;  // of the epoch
  engine::Tensor totals_;  // kernels::TrainingTotals of the epoch under way, as uint8
  engine::Tensor guard_;   // (1) the step's loss, NaN from the first on that is no number
  Batches train_batches_, validation_batches_;
  std::map<int64_t, std::unique_ptr<engine::Graph>> graphs_;  // of a step with so many images
  std::array<std::unique_ptr<engine::Event>, 4> last_steps_;  // marks behind them: how far the host may be ahead
  double test_accuracy_ = 0;
  std::optional<TensorboardWriter> events_;  // once there is something to write, where it is asked for
  Progress progress_;
  // To foretell the time left: this process's steps, the seconds they took, and the last test's seconds (0: none yet).
  int64_t timed_steps_ = 0;
  double timed_seconds_ = 0, test_seconds_ = 0;
};

// The options that a checkpoint's run was started with, and the data that it trains on (config.json's "data").
struct SavedRun {
  nlohmann::json options, data;
};
SavedRun saved_run(const engine::io::Safetensors& checkpoint);  // throws engine::InputError

}  // namespace tools
