// The folder of a training run:
//   config.json             every option as resolved, versions, device, data
//   metrics.csv             a row an epoch
//   model.safetensors       the weights of the best epoch so far (tools/model_file.h)
//   checkpoint.safetensors  all that an exact resume needs
//   report.html             the curves, for a browser (tools/report.h)
// Each is written beside and renamed. The checkpoint is the truth: the others follow from it, except the weights.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace tools {

inline constexpr const char *config_file = "config.json", *metrics_file = "metrics.csv",
                            *weights_file = "model.safetensors", *checkpoint_file = "checkpoint.safetensors",
                            *report_file = "report.html";

// What an epoch came to. Accuracies are fractions, 0 … 1.
struct EpochResult {
  int epoch;                          // from 1 on
  double train_loss, train_accuracy;  // means over the epoch's images as it trained on them
  double val_loss, accuracy;          // on the test images, after the epoch
  double lr;                          // of the epoch's last step
  double images_per_second;           // trained on, without the time of testing
  double seconds;                     // with it
};
nlohmann::json to_json(const EpochResult&);
EpochResult epoch_result(const nlohmann::json&);  // throws nlohmann::json::exception

// Makes the folder `out`, or where that is empty runs/NAME-1, runs/NAME-2, …: the first that is not there yet. Throws
// UsageError where `out` holds a run already, engine::InputError where it cannot be made.
std::filesystem::path create_run_folder(const std::string& out, const std::string& name);

std::string metrics_csv(const std::vector<EpochResult>&);

}  // namespace tools
