// What a run's folder holds, for tests to compare.
#pragma once

#include "program.h"

namespace program {

// The comma-separated cells of a row.
std::vector<std::string> cells(const std::string& row);

// metrics.csv without the columns that tell the time.
std::vector<std::vector<std::string>> metrics(const fs::path& run);

// A safetensors file: its header, and the tensors behind it.
std::pair<nlohmann::json, std::string> parts(const fs::path& file);

// Where the checkpoint of a run stands: {"epoch", "step", …}.
nlohmann::json training_state(const fs::path& run);

// Checks that two runs came to the same weights, moments and metrics, to the bit.
void check_same_run(const fs::path& a, const fs::path& b);

}  // namespace program
