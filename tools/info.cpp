// mobilenet info: what this build holds, and what it found on this machine.

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "build_info.h"
#include "data/download.h"
#include "data/open.h"
#include "engine/device/device.h"
#include "kernels/common/versions.h"
#include "tools/command.h"
#include "tools/options.h"

namespace tools {
namespace {

using engine::DeviceType;
using nlohmann::json;

// A device as {"built", "present", …}, with the reason where something is missing.
json device_info(DeviceType type) {
  const bool built = type == DeviceType::cpu || *build::cuda != 0;
  if (!built) return {{"built", false}, {"present", false}, {"why_not", build::no_cuda}};
  const engine::Runtime& runtime = engine::runtime(type);
  json info = {{"built", true}, {"present", runtime.device_count() > 0}, {"rows", kernels::all_rows(type)}};
  if (runtime.device_count() == 0) {
    info["why_not"] = "this machine has no GPU, or no driver for it";
    return info;
  }
  info["versions"] = kernels::versions(type);  // only here: it loads cuBLASLt
  const engine::DeviceProperties p = runtime.properties();
  info["name"] = p.name;
  info["multiprocessors"] = p.multiprocessors;
  info["memory_bytes"] = p.total_memory;
  if (type == DeviceType::cuda) {
    info["compute_capability"] = fmt::format("{}.{}", p.compute_capability / 10, p.compute_capability % 10);
    info["runtime"] = fmt::format("{}.{}", p.runtime_version / 1000, p.runtime_version % 1000 / 10);
  }
  return info;
}

json feature(const char* version, const char* why_not) {
  if (*version == 0) return {{"built", false}, {"why_not", why_not}};
  return {{"built", true}, {"version", version}};
}

json info() {
  json cuda = feature(build::cuda, build::no_cuda);
  if (*build::cuda != 0) cuda["architectures"] = build::cuda_architectures;
  const std::string download = data::download_libraries();
  return {{"version", build::version},
          {"build", {{"type", build::type}, {"compiler", build::compiler}, {"sanitizers", build::sanitizers}}},
          {"libraries",
           {{"cuda", cuda},
            {"cudnn", feature(build::cudnn, build::no_cudnn)},
            {"onednn", feature(build::onednn, build::no_onednn)},
            {"download", feature(download.c_str(), build::no_download)}}},
          {"devices", {{"cpu", device_info(DeviceType::cpu)}, {"cuda", device_info(DeviceType::cuda)}}},
          {"default_device", engine::to_string(engine::best_device())},
          {"cores", std::thread::hardware_concurrency()},
          {"data_folder", data::data_folder().string()},
          {"tuning_file", tuning_file().string()}};
}

void print_rows(const json& rows) {
  for (const auto& [operation, names] : rows.items())
    fmt::print("    {:<16} {}\n", operation, fmt::join(names.get<std::vector<std::string>>(), ", "));
}

void print_text(const json& i) {
  const auto text = [](const json& value) { return value.get<std::string>(); };
  fmt::print("mobilenet {}, {}, {}", build::version, build::type, build::compiler);
  if (*build::sanitizers != 0) fmt::print(", sanitizers {}", build::sanitizers);
  fmt::print("\n");
  for (const auto& [name, library] : i["libraries"].items()) {
    const bool built = library["built"].get<bool>();
    fmt::print("  {:<8} {}\n", name, built ? text(library["version"]) : "left out: " + text(library["why_not"]));
  }
  fmt::print("{} cores; data sets are looked for in {}\n", i["cores"].get<int>(), text(i["data_folder"]));
  fmt::print("times of kernels, for --kernels auto, are kept in {}\n", text(i["tuning_file"]));
  fmt::print("default device: {}\n", text(i["default_device"]));
  for (const auto& [name, device] : i["devices"].items()) {
    const bool built = device["built"].get<bool>(), present = device["present"].get<bool>();
    fmt::print("device {}: {}{}\n", name, built ? "" : "left out: ", text(device[present ? "name" : "why_not"]));
    if (device.contains("rows")) {
      fmt::print("  kernels, as --kernels OP=NAME names them:\n");
      print_rows(device["rows"]);
    }
  }
}

}  // namespace

Command add_info(CLI::App& program) {
  CLI::App* app = program.add_subcommand("info", "Show what this build holds, its devices and their kernels");
  const auto as_json = std::make_shared<bool>(false);
  app->add_flag("--json", *as_json, "one JSON object on standard output");
  return {app, [as_json] {
            if (*as_json) {
              print_json(info());
            } else {
              print_text(info());
            }
            return 0;
          }};
}

}  // namespace tools
