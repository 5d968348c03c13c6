// mobilenet: trains, tests and uses MobileNetV1. `mobilenet --help` lists the subcommands.

#include <fmt/format.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <vector>

#include "build_info.h"
#include "data/error.h"
#include "engine/error.h"
#include "tools/command.h"

namespace {

// A message in one line, whatever a file's name or CLI11 put into it.
std::string one_line(std::string text) {
  for (char& c : text)
    if (c == '\n' || c == '\r') c = ' ';
  return text;
}

int fail(int code, const std::string& command, const std::string& message) {
  tools::print_message(fmt::format("mobilenet{}{}: {}", command.empty() ? "" : " ", command, one_line(message)));
  return code;
}

// oneDNN's threads are OpenMP's, and those by default spin for milliseconds after each of its calls, on the cores that
// the next kernel needs: a training step with both kinds of kernels then takes several times as long. OpenMP reads how
// its threads should wait when it is loaded, before main, so the program starts itself once more.
void let_openmp_threads_sleep(char** argv) {
  if (*tools::build::onednn == 0 || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  ::setenv("OMP_WAIT_POLICY", "passive", 1);
  ::execv("/proc/self/exe", argv);  // returns only where it fails; then it goes on, and is slower
}

}  // namespace

int main(int argc, char** argv) {
  let_openmp_threads_sleep(argv);
  CLI::App app("Trains MobileNetV1 and uses it, with kernels of its own for the GPU and the CPU.", "mobilenet");
  app.set_version_flag("--version", tools::build::version);
  app.require_subcommand(0, 1);
  std::vector<tools::Command> commands;
  for (const auto add : {tools::add_train, tools::add_eval, tools::add_predict, tools::add_summary, tools::add_data,
                         tools::add_report, tools::add_bench, tools::add_info})
    commands.push_back(add(app));

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    return app.exit(help);  // --help and --version
  } catch (const CLI::ParseError& error) {
    const auto given = app.get_subcommands();
    const std::string name = given.empty() ? "" : given.front()->get_name();
    return fail(tools::exit_usage, name,
                fmt::format("{} (see mobilenet {}{}--help)", error.what(), name, name.empty() ? "" : " "));
  }

  const auto chosen = std::find_if(commands.begin(), commands.end(), [](const auto& c) { return c.app->parsed(); });
  if (chosen == commands.end()) {
    std::vector<std::string> names;
    for (const auto& c : commands) names.push_back(c.app->get_name());
    return fail(tools::exit_usage, "",
                fmt::format("a subcommand is missing: one of {} (see mobilenet --help)", fmt::join(names, ", ")));
  }
  const std::string command = chosen->app->get_name();
  try {
    return chosen->run();
  } catch (const tools::UsageError& error) {
    return fail(tools::exit_usage, command, error.what());
  } catch (const engine::InputError& error) {
    return fail(tools::exit_usage, command, error.what());
  } catch (const data::Interrupted& error) {
    return fail(tools::exit_interrupted, command, error.what());
  } catch (const data::Error& error) {
    return fail(tools::exit_usage, command, error.what());
  } catch (const std::bad_alloc&) {
    return fail(tools::exit_failure, command, "out of memory");
  } catch (const std::exception& error) {
    return fail(tools::exit_failure, command, error.what());
  }
}
