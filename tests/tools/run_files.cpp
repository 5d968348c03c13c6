#include "run_files.h"

#include "catch.h"

namespace program {

std::vector<std::string> cells(const std::string& row) {
  std::vector<std::string> all = {""};
  for (const char c : row) {
    if (c == ',') {
      all.emplace_back();
    } else {
      all.back() += c;
    }
  }
  return all;
}

std::vector<std::vector<std::string>> metrics(const fs::path& run) {
  std::vector<std::vector<std::string>> rows;
  for (const std::string& line : lines(read(run / "metrics.csv"))) {
    rows.push_back(cells(line));
    REQUIRE(rows.back().size() == 9);
    rows.back().resize(6);
  }
  return rows;
}

std::pair<nlohmann::json, std::string> parts(const fs::path& file) {
  const std::string bytes = read(file);
  size_t header = 0;
  for (int i = 7; i >= 0; --i) header = header << 8 | static_cast<unsigned char>(bytes.at(i));
  return {nlohmann::json::parse(bytes.substr(8, header)), bytes.substr(8 + header)};
}

nlohmann::json training_state(const fs::path& run) {
  const auto header = parts(run / "checkpoint.safetensors").first;
  return nlohmann::json::parse(header.at("__metadata__").at("state").get<std::string>()).at("training");
}

void check_same_run(const fs::path& a, const fs::path& b) {
  CHECK((read(a / "model.safetensors") == read(b / "model.safetensors")));  // () so that no failure prints the bytes
  // The checkpoints' headers hold times; weights, running statistics and moments must agree.
  CHECK((parts(a / "checkpoint.safetensors").second == parts(b / "checkpoint.safetensors").second));
  CHECK(metrics(a) == metrics(b));
}

}  // namespace program
