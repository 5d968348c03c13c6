// The training loop, with all that makes it exact: what epoch e, step s computes depends on the options and on the
// state before it, and on nothing else, so that a run that was stopped anywhere goes on to the same bytes.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "data/open.h"
#include "engine/io/safetensors.h"
#include "tools/evaluate.h"
#include "tools/interrupt.h"
#include "tools/model_file.h"
#include "tools/progress.h"
#include "tools/run_folder.h"
#include "tools/train_options.h"

namespace tools {

// What the checkpoint keeps beside weights, moments and options.
struct TrainingState {
  int epoch = 0;              // finished, tests included
  int64_t step = 0;           // taken in the epoch under way; all of them where only the test is missing
  double loss_sum = 0;        // over the images of those steps
  int64_t correct = 0;        // of those images
  double seconds = 0;         // that those steps took
  double best_accuracy = -1;  // on the test images; that of model.safetensors
  std::vector<EpochResult> history;
};

class Training {
 public:
  // `split` is what to train and test on; `config` is config.json's object.
  Training(const TrainOptions&, const data::Split& split, std::filesystem::path folder, nlohmann::json config,
           engine::Device&);

  // Goes on from a checkpoint's weights, moments and state. Throws engine::InputError where it is no such file or of
  // another network or optimiser.
  void load(const engine::io::Safetensors& checkpoint);
  void save_checkpoint();
  void write_outputs();  // metrics.csv and report.html

  // Trains to the last epoch and writes the folder's files after each. Returns false where the user interrupted it: the
  // checkpoint then holds the last step. Throws std::runtime_error where the loss stops being a number.
  bool run(const Interrupt&);

  const TrainingState& state() const { return state_; }

 private:
  int64_t steps() const;                     // an epoch's
  int64_t images_after(int64_t step) const;  // of the epoch, in its first `step` steps
  bool train_epoch(const Interrupt&);        // from state_.step on
  void step(std::span<const size_t> indices);
  void finish_epoch(const Evaluation&);
  ProgressState progress_state(int64_t done, int64_t total) const;

  const TrainOptions options_;
  const data::Split& split_;
  const std::filesystem::path folder_;
  const nlohmann::json config_;
  engine::Device& device_;
  const ModelData model_data_;
  engine::nn::Init init_;
  models::MobileNetV1 model_;
  engine::optim::Optimizer optimizer_;
  engine::optim::Schedule schedule_;
  TrainingState state_;
  std::vector<float> images_;    // (B, H, W, 3), of the step at hand
  std::vector<int32_t> labels_;  // (B)
  Progress progress_;
  // To foretell the time left: this process's steps, the seconds they took, and the last test's seconds (0: none yet).
  int64_t timed_steps_ = 0;
  double timed_seconds_ = 0, test_seconds_ = 0;
};

// The options that a checkpoint's run was started with, and the data that it trains on (see `data_description`).
struct SavedRun {
  nlohmann::json options, data;
};
SavedRun saved_run(const engine::io::Safetensors& checkpoint);  // throws engine::InputError

}  // namespace tools
