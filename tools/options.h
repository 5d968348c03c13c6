// Options that several subcommands share, and the checks of their values.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/device/device.h"

namespace CLI {
class App;
class Validator;
}  // namespace CLI

namespace tools {

// Checks for CLI11: each refuses a value with a message that says what would be right.
CLI::Validator whole_number(int64_t from, int64_t to);
CLI::Validator positive_number();   // finite, above 0
CLI::Validator number_from_zero();  // finite, 0 or more
CLI::Validator number_below_one();  // 0 <= x < 1
CLI::Validator share_number();      // 0 <= x <= 1
CLI::Validator number_between(double from, double to);
CLI::Validator width_number();       // 0 < x <= 1
CLI::Validator resolution_number();  // a multiple of 32, 32 … 224
CLI::Validator seed_number();        // 0 … 2^64 - 1
CLI::Validator one_of(std::vector<std::string> words);

inline constexpr int most_images_in_batch = 65536;

// Which device, which of its kernels, and how many threads emulate them.
struct DeviceOptions {
  std::string device = "auto", kernels = "auto", precision = "fp32", tune = "on";
  int threads = 0;  // 0: all cores
};
inline constexpr const char* device_help = "where to compute: cuda (a GPU), cpu, or auto: cuda where there is one";
inline constexpr const char* kernels_help =
    "which kernels: auto, native (this project's), vendor (a library's where there is one), or OP=NAME for single "
    "operations, separated by commas; `mobilenet info` lists them";
inline constexpr const char* precision_help =
    "fp32; tf32: products on tensor cores, which round their factors to 11 bits; bf16: activations and their gradients "
    "are bfloat16, sums, weights and the optimiser fp32";
inline constexpr const char* threads_help = "threads on the CPU that run native kernels; 0: one a core";
inline constexpr const char* tune_help =
    "--kernels auto takes the fastest of the rows that can run a pass: on times those that it does not know yet and "
    "keeps the winners in a file, cached takes what the file has, off goes by the table's order alone";
void add_options(CLI::App&, DeviceOptions&);

// The device, set up as the options say. Throws UsageError or engine::InputError.
engine::Device& open_device(const DeviceOptions&);

// Where --tune keeps what it timed: in $MOBILENET_CACHE, else the user's cache folder. "" where there is none.
std::filesystem::path tuning_file();
// Keeps what the device timed since the last call, and says so on standard error.
void save_tuning(engine::Device&);

}  // namespace tools
