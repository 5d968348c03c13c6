// The built program as a user runs it: a process of its own, with its exit code and what it printed.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace program {

namespace fs = std::filesystem;

struct Result {
  int code;  // the exit code; 128 + n where signal n ended it
  std::string out, err;
};

// Where --tune keeps its file: at first a folder of this process's, so that what one run timed the next one knows.
fs::path& tuning_folder();

// Runs `mobilenet ARGUMENTS…` to its end in the folder `in` (empty: where the test runs). The data folder is one that
// does not exist, so that --data auto finds nothing.
Result run(const std::vector<std::string>& arguments, const fs::path& in = {});

// Runs it, and ends it with SIGKILL after so many milliseconds where it still runs then (code 137).
Result run_killed(const std::vector<std::string>& arguments, int milliseconds);

// Runs it on a terminal of so many columns; all that it writes there is in `out`. `watch` is called with what was
// written so far, each time something was; it may send signals.
Result run_on_terminal(const std::vector<std::string>& arguments, int columns,
                       const std::function<void(const std::string& so_far, int process)>& watch);

// The JSON object that the program printed, which must be all that is on standard output. Fails the test otherwise.
nlohmann::json json_of(const Result&);

// A folder that is gone when the test is.
struct Folder {
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  fs::path path;
  std::string operator/(const std::string& name) const { return (path / name).string(); }
};

std::string read(const fs::path&);
void write(const fs::path&, const std::string&);
std::vector<std::string> lines(const std::string&);
bool contains(const std::string& text, const std::string& part);

// Arguments of a training that takes seconds: shapes, width 0.25, batches of 8; unless `more` names kernels, the fast
// ones, untimed.
std::vector<std::string> small_training(const std::string& out, const std::vector<std::string>& more = {},
                                        int images = 40);

// A small trained run, made once for all tests that only read it.
const fs::path& trained_run();

}  // namespace program
