// The program's subcommands, and how they end: 0; 1 for a failure at run time; 2 for a bad argument or file, with one
// line that says what is wrong, where, and what would be right; 130 where Ctrl-C or SIGTERM ended a training.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <stdexcept>

namespace CLI {
class App;
}

namespace tools {

inline constexpr int exit_failure = 1, exit_usage = 2, exit_interrupted = 130;

// What the user asked for cannot be; what() is the line to print.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A subcommand adds itself to the program, in a file of its own. `run`, called after the command line was read, does
// its work and returns the exit code.
struct Command {
  CLI::App* app;
  std::function<int()> run;
};
Command add_train(CLI::App& program);
Command add_eval(CLI::App& program);
Command add_predict(CLI::App& program);
Command add_summary(CLI::App& program);
Command add_data(CLI::App& program);
Command add_report(CLI::App& program);
Command add_bench(CLI::App& program);
Command add_info(CLI::App& program);

// One JSON object as the last line of standard output. Text that is no UTF-8 (a file's name) is repaired.
void print_json(const nlohmann::json&);
std::string to_text(const nlohmann::json&, int indent = -1);

// A line on standard error.
void print_message(const std::string&);

}  // namespace tools
