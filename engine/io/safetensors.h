// The safetensors format (https://github.com/huggingface/safetensors, "Format"):
//   8 bytes   N, little-endian
//   N bytes   JSON: {"NAME": {"dtype": "F32", "shape": […], "data_offsets": [begin, end]}, …, "__metadata__": {"k":
//   "v"}} the rest  the tensors' bytes, little-endian, row-major; offsets count from its start and leave no byte out
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "engine/tensor/tensor.h"

namespace engine::io {

// One tensor of a file.
struct Array {
  std::string name;
  std::string dtype;  // the format's word: "F32", "I32", "U8", "I64", …
  Shape shape;
  std::vector<unsigned char> data;  // little-endian
};

struct Safetensors {
  std::map<std::string, std::string> metadata;
  std::vector<Array> arrays;                         // sorted by name after reading
  std::filesystem::path path;                        // where it was read from, for messages
  const Array* find(const std::string& name) const;  // nullptr where there is none
};

// Throws InputError, with the file and what was expected, for anything that is not a sound file: nothing in the header
// is trusted.
Safetensors read_safetensors(const std::filesystem::path&);

// Writes as write_file does. The same content gives the same bytes: keys are sorted, and the data lies in order of
// element size (largest first, so that all is aligned), then name; the header is padded to a multiple of 8. Throws
// Error for two arrays of one name, or one whose size does not fit its shape.
void write_safetensors(const std::filesystem::path&, const Safetensors&);

}  // namespace engine::io
