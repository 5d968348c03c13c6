// mobilenet bench: how fast the kernels are, and how fast a training step is.
#include "tools/bench.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <memory>
#include <nlohmann/json.hpp>

#include "engine/io/file.h"
#include "tools/bench_shapes.h"
#include "tools/options.h"

namespace tools {
namespace bench {

void add_network_options(CLI::App& app, models::MobileNetV1Config& config) {
  app.add_option("--width", config.width, "scales the channels of every layer: the paper's alpha, in (0, 1]")
      ->check(width_number())
      ->capture_default_str();
  app.add_option("--resolution", config.resolution, "height and width of the images: a multiple of 32, 32 to 224")
      ->check(resolution_number())
      ->capture_default_str();
  app.add_option("--classes", config.classes, "how many classes it tells apart")
      ->check(whole_number(1, 100'000))
      ->capture_default_str();
}

void add_clock_option(CLI::App& app, std::string& clock) {
  app.add_option("--clock", clock,
                 "device: events on the device; processor (of the CPU device): processor time divided by the threads, "
                 "for a machine that does other work too")
      ->check(one_of({"device", "processor"}))
      ->capture_default_str();
}

Clock parse_clock(const std::string& word, const engine::Device& device) {
  if (word == "device") return Clock::device;
  if (device.type() == engine::DeviceType::cuda) throw UsageError("--clock processor: of device cpu only");
  return Clock::processor;
}

void add_json_option(CLI::App& app, JsonOption& o) {
  const auto take = [&o](const CLI::results_t& words) {
    o.given = true;
    if (!words.empty()) o.file = words.back();
    return true;
  };
  app.add_option("--json", take, "one JSON object: into FILE, or without one on standard output, in place of the table")
      ->expected(0, 1)
      ->type_name("[FILE]");
}

void write_json(const JsonOption& o, const nlohmann::json& json) {
  if (!o.given) return;
  if (o.alone())
    print_json(json);
  else
    engine::io::write_file(o.file, to_text(json, 1) + "\n");
}

Command add_shapes(CLI::App& bench) {
  CLI::App* app = bench.add_subcommand("shapes", "Print a network's layers as a file of shapes for bench kernels");
  struct Options {
    models::MobileNetV1Config config;
    int batch = 128;
  };
  const auto o = std::make_shared<Options>();
  app->add_option("--batch", o->batch, "images a batch")
      ->check(whole_number(1, most_images_in_batch))
      ->capture_default_str();
  add_network_options(*app, o->config);
  return {app, [o] {
            fmt::print("{}", shapes_text(o->config, o->batch));
            return 0;
          }};
}

}  // namespace bench

Command add_bench(CLI::App& program) {
  CLI::App* app = program.add_subcommand("bench", "Measure the kernels, or a training step");
  app->require_subcommand(1);
  const auto commands = std::make_shared<std::vector<Command>>();
  for (const auto add : {bench::add_kernels, bench::add_step, bench::add_shapes}) commands->push_back(add(*app));
  return {app, [commands] {
            for (const Command& command : *commands)
              if (command.app->parsed()) return command.run();
            return exit_usage;  // cannot be: CLI11 requires one
          }};
}

}  // namespace tools
