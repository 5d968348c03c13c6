// The exceptions that the engine throws.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace engine {

// A failure while running, or a misuse by the calling code (shapes that do not fit, a graph that was used before).
// what() reads "operation: message (file:line)", where file:line is the place that threw; messages about tensors name
// their shapes, messages about files the file.
struct Error : std::runtime_error {
  Error(std::string_view operation, std::string_view message, const char* file = __builtin_FILE(),
        int line = __builtin_LINE())  // std::source_location, which clang 14 has not
      : std::runtime_error(std::string(operation) + ": " + std::string(message) + " (" + from_root(file) + ":" +
                           std::to_string(line) + ")") {}

 protected:
  explicit Error(const std::string& what) : std::runtime_error(what) {}

 private:
  // The path from the project's root on.
  static std::string from_root(std::string_view file) {
    const size_t engine = file.rfind("engine/");
    return std::string(engine == std::string_view::npos ? file.substr(file.rfind('/') + 1) : file.substr(engine));
  }
};

// What the user handed in is wrong: a file that is missing, damaged or of another model, a folder that cannot be
// written, a device that is not there. what() is one line that says what is wrong, where, and what would be right.
struct InputError : Error {
  InputError(std::string_view where, std::string_view message)
      : Error(std::string(where) + ": " + std::string(message)) {}
};

}  // namespace engine
