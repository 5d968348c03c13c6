#include "tools/run_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <string_view>

#include "engine/error.h"
#include "engine/io/file.h"
#include "engine/io/safetensors.h"
#include "tools/command.h"

namespace tools {
namespace {

namespace fs = std::filesystem;

constexpr struct {
  const char* name;
  double EpochResult::*value;
} columns[] = {{"train_loss", &EpochResult::train_loss},
               {"train_accuracy", &EpochResult::train_accuracy},
               {"val_loss", &EpochResult::val_loss},
               {"accuracy", &EpochResult::accuracy},
               {"lr", &EpochResult::lr},
               {"images_per_second", &EpochResult::images_per_second},
               {"seconds", &EpochResult::seconds},
               {"data_wait", &EpochResult::data_wait}};

double number(const nlohmann::json& value) {  // null is how JSON says NaN
  return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
}

constexpr std::string_view png_start = "data:image/png;base64,";
std::string read_text(const fs::path& path) {
  const std::vector<unsigned char> bytes = engine::io::read_file(path);
  return {bytes.begin(), bytes.end()};
}

nlohmann::json read_json(const fs::path& path) {
  nlohmann::json json = nlohmann::json::parse(read_text(path), nullptr, false);
  if (!json.is_object()) throw engine::InputError(path.string(), "damaged: expected one JSON object");
  return json;
}

// RFC 4180's rows of cells: commas between them, quotes around them or not, lines that end in "\n" or "\r\n".
std::vector<std::vector<std::string>> csv_rows(const std::string& text, const std::string& where) {
  std::vector<std::vector<std::string>> rows;
  constexpr std::string_view byte_order_mark = "\xef\xbb\xbf";  // which spreadsheets write
  for (size_t i = text.rfind(byte_order_mark, 0) == 0 ? byte_order_mark.size() : 0; i < text.size();) {
    std::vector<std::string>& row = rows.emplace_back();
    for (bool row_ends = false; !row_ends;) {
      std::string& cell = row.emplace_back();
      if (i < text.size() && text[i] == '"') {
        for (++i;; ++i) {
          if (i >= text.size())
            throw engine::InputError(where, fmt::format("line {}: a quote is not closed", rows.size()));
          if (text[i] == '"' && (i + 1 >= text.size() || text[i + 1] != '"')) break;
          if (text[i] == '"') ++i;  // two stand for one
          cell += text[i];
        }
        ++i;
      } else {
        while (i < text.size() && text[i] != ',' && text[i] != '\n') cell += text[i++];
        if (!cell.empty() && cell.back() == '\r') cell.pop_back();
      }
      if (i < text.size() && text[i] == '\r') ++i;
      row_ends = i >= text.size() || text[i] == '\n';
      if (!row_ends && text[i] != ',')
        throw engine::InputError(where, fmt::format("line {}: expected a comma behind a quoted cell", rows.size()));
      ++i;
    }
    if (row.size() == 1 && row[0].empty()) rows.pop_back();  // an empty line
  }
  return rows;
}

double cell_number(const std::string& cell, const std::string& where, size_t line) {
  double value = std::numeric_limits<double>::quiet_NaN();
  if (cell.empty()) return value;
  const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  if (error != std::errc() || end != cell.data() + cell.size())
    throw engine::InputError(where, fmt::format("line {}: \"{}\" is no number", line, cell.substr(0, 40)));
  return value;
}

constexpr const char* base64_digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

nlohmann::json to_json(const EpochResult& r) {
  nlohmann::json json = {{"epoch", r.epoch}};
  for (const auto& column : columns) json[column.name] = r.*column.value;
  return json;
}

EpochResult epoch_result(const nlohmann::json& json) {
  EpochResult r{};
  r.epoch = json.at("epoch").get<int>();
  for (const auto& column : columns) r.*column.value = number(json.at(column.name));
  return r;
}

fs::path create_run_folder(const std::string& out, const std::string& name) {
  const auto make = [](const fs::path& folder) {
    std::error_code error;
    fs::create_directories(folder, error);
    if (error)
      throw engine::InputError(
          folder.string(), fmt::format("the run's folder cannot be made: {}; --out names another", error.message()));
  };
  if (!out.empty()) {
    if (fs::exists(fs::path(out) / checkpoint_file))
      throw UsageError(fmt::format("--out {}: holds a run already; --resume {} goes on with it", out, out));
    make(out);
    return out;
  }
  const fs::path runs = "runs";
  make(runs);
  for (int i = 1;; ++i) {
    const fs::path folder = runs / fmt::format("{}-{}", name, i);
    std::error_code error;
    if (fs::create_directory(folder, error)) return folder;  // false where it was there: another run may be starting
    if (error)
      throw engine::InputError(
          folder.string(), fmt::format("the run's folder cannot be made: {}; --out names another", error.message()));
  }
}

std::string metrics_csv(const std::vector<EpochResult>& history) {
  std::string text = "epoch";
  for (const auto& column : columns) text += fmt::format(",{}", column.name);
  text += "\n";
  for (const EpochResult& r : history) {
    text += std::to_string(r.epoch);
    for (const auto& column : columns) text += fmt::format(",{:.6g}", r.*column.value);
    text += "\n";
  }
  return text;
}

nlohmann::json to_json(const RunResult& r) {
  nlohmann::json examples = nlohmann::json::array();
  for (const RunResult::Example& e : r.examples)
    examples.push_back({{"index", e.index},
                        {"label", e.label},
                        {"predicted", e.predicted},
                        {"probability", e.probability},
                        {"image", e.image}});
  return {{"epoch", r.epoch},         {"validation", r.validation},       {"val_accuracy", r.val_accuracy},
          {"test_loss", r.test_loss}, {"test_accuracy", r.test_accuracy}, {"classes", r.classes},
          {"confusion", r.confusion}, {"examples", std::move(examples)}};
}

RunResult run_result(const nlohmann::json& json, const std::string& where) {
  const auto refuse = [&](const std::string& why) { throw engine::InputError(where, why); };
  const auto fraction = [](double p) { return p >= 0 && p <= 1; };  // false for NaN
  RunResult r;
  try {
    r.epoch = json.at("epoch").get<int>();
    r.validation = json.at("validation").get<std::string>();
    r.val_accuracy = json.at("val_accuracy").get<double>();
    r.test_loss = number(json.at("test_loss"));
    r.test_accuracy = json.at("test_accuracy").get<double>();
    r.classes = json.at("classes").get<std::vector<std::string>>();
    r.confusion = json.at("confusion").get<std::vector<std::vector<int64_t>>>();
    for (const nlohmann::json& e : json.at("examples"))
      r.examples.push_back({e.at("index").get<int64_t>(), e.at("label").get<int32_t>(),
                            e.at("predicted").get<int32_t>(), e.at("probability").get<double>(),
                            e.at("image").get<std::string>()});
  } catch (const nlohmann::json::exception& error) {
    refuse(fmt::format("no result of `mobilenet train`: {}", error.what()));
  }
  if (!fraction(r.val_accuracy) || !fraction(r.test_accuracy)) refuse("an accuracy in it is no number from 0 to 1");
  const size_t classes = r.classes.size();
  if (r.confusion.size() != classes)
    refuse(fmt::format("its confusion matrix has {} rows, expected {}, one a class", r.confusion.size(), classes));
  for (const std::vector<int64_t>& row : r.confusion) {
    if (row.size() != classes)
      refuse(fmt::format("a row of its confusion matrix has {} columns, expected {}", row.size(), classes));
    if (std::any_of(row.begin(), row.end(), [](int64_t n) { return n < 0 || n > INT32_MAX; }))
      refuse("its confusion matrix holds a number that is no count of images");
  }
  const auto is_class = [&](int32_t label) { return label >= 0 && static_cast<size_t>(label) < classes; };
  for (const RunResult::Example& e : r.examples) {
    if (!is_class(e.label) || !is_class(e.predicted) || !fraction(e.probability))
      refuse(fmt::format("the example of test image {} has a label or probability out of range", e.index));
    const std::string_view data = std::string_view(e.image).substr(0, png_start.size());
    if (data != png_start ||
        e.image.find_first_not_of(base64_digits + std::string("="), png_start.size()) != e.image.npos)
      refuse(fmt::format("the picture of test image {} is no {}…", e.index, png_start));
  }
  return r;
}

std::string png_data_uri(const data::Image& image) {
  const std::vector<uint8_t> bytes = data::encode_png(image);
  std::string text(png_start);
  text.reserve(text.size() + (bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {  // three bytes are four digits; missing ones are written as "="
    const size_t left = std::min<size_t>(bytes.size() - i, 3);
    uint32_t bits = 0;
    for (size_t j = 0; j < 3; ++j) bits = bits << 8 | (j < left ? bytes[i + j] : 0);
    for (size_t j = 0; j < 4; ++j) text += j <= left ? base64_digits[bits >> (18 - 6 * j) & 63] : '=';
  }
  return text;
}

std::vector<double> Metrics::values(const std::string& column) const {
  const auto found = std::find(columns.begin(), columns.end(), column);
  std::vector<double> all;
  if (found == columns.end()) return all;
  for (const std::vector<double>& row : rows) all.push_back(row[found - columns.begin()]);
  return all;
}

Metrics parse_metrics(const std::string& csv, const std::string& where) {
  Metrics metrics;
  const std::vector<std::vector<std::string>> table = csv_rows(csv, where);
  if (table.empty()) throw engine::InputError(where, "empty; expected a row of names, then a row an epoch");
  metrics.columns = table.front();
  if (std::find(metrics.columns.begin(), metrics.columns.end(), "epoch") == metrics.columns.end())
    throw engine::InputError(where, "its first row does not name a column \"epoch\"");
  double before = 0;
  for (size_t i = 1; i < table.size(); ++i) {
    if (table[i].size() != metrics.columns.size())
      throw engine::InputError(
          where, fmt::format("line {} has {} cells, the first has {}", i + 1, table[i].size(), metrics.columns.size()));
    std::vector<double>& row = metrics.rows.emplace_back();
    for (size_t j = 0; j < table[i].size(); ++j) {
      row.push_back(cell_number(table[i][j], where, i + 1));
      if (metrics.columns[j] != "epoch") continue;
      if (!(row[j] > before) || row[j] != std::floor(row[j]) || row[j] > 1e9)
        throw engine::InputError(where, fmt::format("line {}: the epoch is {}; expected a whole number above {}", i + 1,
                                                    table[i][j], before));
      before = row[j];
    }
  }
  return metrics;
}

Run read_run(const fs::path& folder) {
  if (!fs::is_directory(folder)) throw engine::InputError(folder.string(), "no such folder; expected that of a run");
  Run run;
  // The last part of the path, whether or not "/" ends it.
  run.name = (fs::absolute(folder) / "").lexically_normal().parent_path().filename().string();
  run.config = read_json(folder / config_file);
  run.metrics = parse_metrics(read_text(folder / metrics_file), (folder / metrics_file).string());
  if (fs::exists(folder / result_file))
    run.result = run_result(read_json(folder / result_file), (folder / result_file).string());
  if (fs::exists(folder / weights_file)) {
    const engine::io::Safetensors weights = engine::io::read_safetensors(folder / weights_file);
    const engine::io::Array* stem = weights.find("conv_stem.weight");  // (filters, 3, 3, 3)
    if (stem == nullptr || stem->dtype != "F32" || stem->shape.size() != 4 || stem->shape[1] != 3 ||
        stem->shape[2] != 3 || stem->shape[3] != 3)
      throw engine::InputError(weights.path.string(), "no weights of a MobileNetV1: no conv_stem.weight (N, 3, 3, 3)");
    run.stem.resize(stem->data.size() / sizeof(float));
    std::memcpy(run.stem.data(), stem->data.data(), run.stem.size() * sizeof(float));
  }
  return run;
}

}  // namespace tools
