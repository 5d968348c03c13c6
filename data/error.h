#pragma once

#include <cstdint>
#include <functional>
#include <stdexcept>

namespace data {

// Bad input: a file or folder that is missing, unreadable, damaged or not what was expected. The message is one line
// that names the path, what is wrong with it and what would be right. Misuse by the calling code (an index out of
// range) is std::invalid_argument instead.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What takes long calls this on the calling thread, from time to time and at the end. `what` is a unit and what happens
// to it ("images read"); where the total is not known it is 0. To return false is to stop: the work ends with
// Interrupted.
using Progress = std::function<bool(const char* what, int64_t done, int64_t total)>;

struct Interrupted : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace data
