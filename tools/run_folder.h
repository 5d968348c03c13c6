// The folder of a training run:
//   config.json             every option as resolved, versions, device, data
//   metrics.csv             a row an epoch
//   model.safetensors       the weights of the best epoch so far (tools/model_file.h)
//   checkpoint.safetensors  all that an exact resume needs
//   result.json             the final test: what the best epoch's weights come to on the test images
//   report.html             all of this for a browser (tools/report.h)
// Each is written beside and renamed. The checkpoint is the truth: the others follow from it, except the weights.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "data/image.h"

namespace tools {

inline constexpr const char *config_file = "config.json", *metrics_file = "metrics.csv",
                            *weights_file = "model.safetensors", *checkpoint_file = "checkpoint.safetensors",
                            *result_file = "result.json", *report_file = "report.html";

// What an epoch came to. Accuracies are fractions, 0 … 1.
struct EpochResult {
  int epoch;                          // from 1 on
  double train_loss, train_accuracy;  // means over the epoch's images as it trained on them
  double val_loss, accuracy;          // on the test images, after the epoch
  double lr;                          // of the epoch's last step
  double images_per_second;           // trained on, without the time of testing
  double seconds;                     // with it
  double data_wait = 0;               // share of the training seconds in which it waited for images
};
nlohmann::json to_json(const EpochResult&);
EpochResult epoch_result(const nlohmann::json&);  // throws nlohmann::json::exception

// Makes the folder `out`, or where that is empty runs/NAME-1, runs/NAME-2, …: the first that is not there yet. Throws
// UsageError where `out` holds a run already, engine::InputError where it cannot be made.
std::filesystem::path create_run_folder(const std::string& out, const std::string& name);

// RFC 4180: a row of names, then a row an epoch, plain numbers.
std::string metrics_csv(const std::vector<EpochResult>&);

// The final test: what the weights of the best epoch come to on the test images. Accuracies and probabilities are
// fractions, 0 … 1; a label is an index into `classes`.
struct RunResult {
  int epoch = 0;            // whose weights they are
  std::string validation;   // the images that it was the best epoch on: "test", "article" or "fraction F"
  double val_accuracy = 0;  // on those
  double test_loss = 0, test_accuracy = 0;
  std::vector<std::string> classes;
  std::vector<std::vector<int64_t>> confusion;  // (classes, classes): images of true class [row] taken for [column]
  struct Example {                              // a test image, to show
    int64_t index = 0;                          // in the test set
    int32_t label = 0, predicted = 0;           // the true class and the likeliest one
    double probability = 0;                     // of `predicted`
    std::string image;                          // png_data_uri() of it
  };
  std::vector<Example> examples;
};
nlohmann::json to_json(const RunResult&);
// Throws engine::InputError, which names `where`, for anything that to_json could not have written: a page is made from
// it.
RunResult run_result(const nlohmann::json&, const std::string& where);

std::string png_data_uri(const data::Image&);  // "data:image/png;base64,…"

// metrics.csv as it was written by this or another version: columns go by their names.
struct Metrics {
  std::vector<std::string> columns;
  std::vector<std::vector<double>> rows;  // (epochs, columns); NaN where a cell is empty
  // A column's values; empty where there is no such column.
  std::vector<double> values(const std::string& column) const;
};
// Throws engine::InputError, which names `where` and the line, for what is no table of numbers.
Metrics parse_metrics(const std::string& csv, const std::string& where);

// All of a run that a report shows.
struct Run {
  std::string name;       // the folder's
  nlohmann::json config;  // an object
  Metrics metrics;
  std::optional<RunResult> result;  // not before the run has ended
  std::vector<float> stem;          // (filters, 3, 3, 3): channel, row, column; empty before the first epoch's end
};
// Throws engine::InputError, which names the file, where the folder, config.json or metrics.csv is missing or a file is
// damaged.
Run read_run(const std::filesystem::path& folder);

}  // namespace tools
