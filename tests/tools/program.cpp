#include "program.h"

#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "catch.h"

namespace program {

fs::path& tuning_folder() {
  static const Folder of_this_process;
  static fs::path path = of_this_process.path;
  return path;
}

namespace {

// In a child process: becomes the program.
[[noreturn]] void become_program(const std::vector<std::string>& arguments, const fs::path& in, const fs::path& cache) {
  if (!in.empty() && ::chdir(in.c_str()) != 0) ::_exit(127);
  ::setenv("MOBILENET_DATA", "/nonexistent", 1);
  ::setenv("MOBILENET_CACHE", cache.c_str(), 1);
  std::vector<char*> words = {const_cast<char*>(MOBILENET_PROGRAM)};
  for (const std::string& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  ::execv(words[0], words.data());
  ::_exit(127);
}

// The program as a child process that writes into the files `out` and `err` of the folder. They are there even if it is
// killed at once.
pid_t start(const std::vector<std::string>& arguments, const fs::path& in, const Folder& folder) {
  const std::string out_name = folder / "out", err_name = folder / "err";
  const int out = ::open(out_name.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  const int err = ::open(err_name.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (out < 0 || err < 0) throw std::runtime_error("cannot write into " + folder.path.string());
  const fs::path cache = tuning_folder();
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child == 0) {
    ::dup2(out, STDOUT_FILENO);
    ::dup2(err, STDERR_FILENO);
    become_program(arguments, in, cache);
  }
  ::close(out);
  ::close(err);
  return child;
}

int exit_code(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

Result run(const std::vector<std::string>& arguments, const fs::path& in) {
  const Folder folder;
  const pid_t child = start(arguments, in, folder);
  const int code = exit_code(child);
  return {code, read(folder / "out"), read(folder / "err")};
}

Result run_killed(const std::vector<std::string>& arguments, int milliseconds) {
  const Folder folder;
  const pid_t child = start(arguments, {}, folder);
  ::usleep(1000 * milliseconds);
  ::kill(child, SIGKILL);  // no harm where it has ended: it is not waited for yet, so its number is not another's
  const int code = exit_code(child);
  return {code, read(folder / "out"), read(folder / "err")};
}

Result run_on_terminal(const std::vector<std::string>& arguments, int columns,
                       const std::function<void(const std::string& so_far, int process)>& watch) {
  winsize size{};
  size.ws_row = 24, size.ws_col = static_cast<unsigned short>(columns);
  int terminal = -1;
  const fs::path cache = tuning_folder();
  const pid_t child = ::forkpty(&terminal, nullptr, nullptr, &size);
  if (child < 0) throw std::runtime_error("forkpty failed");
  if (child == 0) become_program(arguments, {}, cache);
  std::string all;
  char buffer[4096];
  for (;;) {
    const ssize_t n = ::read(terminal, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;  // EIO: the program has ended
    all.append(buffer, n);
    watch(all, child);
  }
  const int code = exit_code(child);
  ::close(terminal);
  return {code, all, ""};
}

nlohmann::json json_of(const Result& result) {
  CAPTURE(result.out, result.err);
  REQUIRE(result.code == 0);
  REQUIRE(lines(result.out).size() == 1);
  const auto json = nlohmann::json::parse(result.out);
  REQUIRE(json.is_object());
  return json;
}

Folder::Folder() {
  std::string name = (fs::temp_directory_path() / "tools_tests_XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  path = name;
}

Folder::~Folder() {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path.string());
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void write(const fs::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  if (!file.flush()) throw std::runtime_error("cannot write " + path.string());
}

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> all;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) all.push_back(line);
  return all;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::vector<std::string> small_training(const std::string& out, const std::vector<std::string>& more, int images) {
  std::vector<std::string> arguments = {"train",   "--data", "shapes",  "--limit", std::to_string(images),
                                        "--width", "0.25",   "--batch", "8",       "--seed",
                                        "7",       "--out",  out};
  if (std::find(more.begin(), more.end(), "--kernels") == more.end())
    arguments.insert(arguments.end(), {"--kernels", "auto", "--tune", "off"});
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

const fs::path& trained_run() {
  static const Folder folder;
  static const fs::path path = [] {
    const std::string out = folder / "run";
    const Result result = run(small_training(out, {"--epochs", "2"}));
    CAPTURE(result.err);
    REQUIRE(result.code == 0);
    return fs::path(out);
  }();
  return path;
}

}  // namespace program
