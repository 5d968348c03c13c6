// mobilenet bench: the parts that its files share.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "models/mobilenet_v1.h"
#include "tools/bench_timing.h"
#include "tools/command.h"

namespace tools::bench {

// The subcommands of bench, a file each.
Command add_kernels(CLI::App& bench);
Command add_step(CLI::App& bench);
Command add_shapes(CLI::App& bench);

// --width, --resolution, --classes
void add_network_options(CLI::App&, models::MobileNetV1Config&);

// --clock device|processor. parse_clock throws UsageError for the latter on a GPU.
void add_clock_option(CLI::App&, std::string& clock);
Clock parse_clock(const std::string&, const engine::Device&);

// --json [FILE]: without a file, one JSON object on standard output, and no table.
struct JsonOption {
  bool given = false;
  std::string file;
  bool alone() const { return given && file.empty(); }  // on standard output, where then nothing else may be
};
void add_json_option(CLI::App&, JsonOption&);
void write_json(const JsonOption&, const nlohmann::json&);  // where the option was given

// The object that `bench kernels --json` prints, as a page of its own: rooflines and ladders.
std::string kernels_page(const nlohmann::json&);

}  // namespace tools::bench
