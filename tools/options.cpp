#include "tools/options.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <simt/simt.h>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <memory>

#include "engine/device/tuner.h"
#include "kernels/common/versions.h"
#include "tools/command.h"

namespace tools {
namespace {

template <class T, class Accept>
CLI::Validator number(std::string expected, Accept accept) {
  const auto check = [expected, accept](const std::string& word) -> std::string {
    T value{};
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error == std::errc() && end == word.data() + word.size() && accept(value)) return {};
    return fmt::format("\"{}\" is not {}", word, expected);
  };
  return CLI::Validator(check, "");
}

}  // namespace

CLI::Validator whole_number(int64_t from, int64_t to) {
  return number<int64_t>(fmt::format("a whole number from {} to {}", from, to),
                         [=](int64_t n) { return from <= n && n <= to; });
}

CLI::Validator positive_number() {
  return number<double>("a number above 0", [](double x) { return x > 0 && std::isfinite(static_cast<float>(x)); });
}

CLI::Validator number_from_zero() {
  return number<double>("a number from 0 on", [](double x) { return x >= 0 && std::isfinite(static_cast<float>(x)); });
}

CLI::Validator number_below_one() {
  return number<double>("a number from 0 to below 1", [](double x) { return x >= 0 && x < 1; });
}

CLI::Validator share_number() { return number_between(0, 1); }

CLI::Validator number_between(double from, double to) {
  return number<double>(fmt::format("a number from {} to {}", from, to),
                        [=](double x) { return from <= x && x <= to; });
}

CLI::Validator width_number() {
  return number<double>("a number above 0 and up to 1", [](double x) { return x > 0 && x <= 1; });
}

CLI::Validator resolution_number() {
  return number<int>("a multiple of 32 from 32 to 224", [](int n) { return n >= 32 && n <= 224 && n % 32 == 0; });
}

CLI::Validator seed_number() {
  return number<uint64_t>("a whole number from 0 on", [](uint64_t) { return true; });
}

CLI::Validator one_of(std::vector<std::string> words) {
  const std::string list = fmt::format("{}", fmt::join(words, "|"));
  const auto check = [words, list](const std::string& word) -> std::string {
    if (std::find(words.begin(), words.end(), word) != words.end()) return {};
    return fmt::format("\"{}\" is none of {}", word, list);
  };
  return CLI::Validator(check, list);
}

void add_options(CLI::App& app, DeviceOptions& o) {
  app.add_option("--device", o.device, device_help)->check(one_of({"auto", "cpu", "cuda"}))->capture_default_str();
  app.add_option("--kernels", o.kernels, kernels_help)->capture_default_str();
  app.add_option("--precision", o.precision, precision_help)
      ->check(one_of({"fp32", "tf32", "bf16"}))
      ->capture_default_str();
  app.add_option("--tune", o.tune, tune_help)->check(one_of({"on", "cached", "off"}))->capture_default_str();
  app.add_option("--threads", o.threads, threads_help)->check(whole_number(0, 1024))->capture_default_str();
}

engine::Device& open_device(const DeviceOptions& o) {
  if (o.threads > 0) simt::set_threads(o.threads);
  engine::Device& device = engine::device(engine::parse_device(o.device));
  try {
    device.policy = kernels::parse_policy(o.kernels, device.type());
  } catch (const std::invalid_argument& error) {
    throw UsageError(fmt::format("--{} (device {})", error.what(), engine::to_string(device.type())));
  }
  device.policy.precision = o.precision == "bf16"   ? kernels::Precision::bf16
                            : o.precision == "tf32" ? kernels::Precision::tf32
                                                    : kernels::Precision::fp32;
  device.tuner = nullptr;
  if (o.tune != "off" && device.policy.preference == kernels::Policy::Preference::automatic)
    device.tuner = std::make_shared<engine::Tuner>(engine::tuning_name(device), kernels::versions(device.type()),
                                                   tuning_file(), o.tune == "on");
  return device;
}

std::filesystem::path tuning_file() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::filesystem::path(value != nullptr ? value : "");
  };
  const char* const name = "tuning.json";
  if (const auto path = variable("MOBILENET_CACHE"); !path.empty()) return path / name;
  // The XDG Base Directory Specification: a relative path is invalid and to be ignored.
  if (const auto path = variable("XDG_CACHE_HOME"); path.is_absolute()) return path / "mobilenet" / name;
  if (const auto path = variable("HOME"); !path.empty()) return path / ".cache" / "mobilenet" / name;
  return {};
}

void save_tuning(engine::Device& device) {
  if (device.tuner == nullptr) return;
  for (const std::string& message : device.tuner->save()) print_message(message);
}

}  // namespace tools
