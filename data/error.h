#pragma once

#include <stdexcept>

namespace data {

// Bad input: a file or folder that is missing, unreadable, damaged or not what was expected. The message is one line
// that names the path, what is wrong with it and what would be right. Misuse by the calling code (an index out of
// range) is std::invalid_argument instead.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace data
