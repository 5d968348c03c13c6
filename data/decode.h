#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "data/image.h"

namespace data {

// A JPEG, PNG or BMP file's bytes to pixels, as data/image.h says of read_image; `name` is what errors call it.
Image decode_image(std::span<const uint8_t> bytes, const std::string& name);

}  // namespace data
