// A sheet: many images with captions, as one picture.
#pragma once

#include <span>
#include <string>

#include "data/image.h"

namespace tools {

// Right and wrong have a frame and a sign (a tick, a cross), so that nobody needs to tell colours apart.
enum class Mark { none, right, wrong };

struct Tile {
  data::Image image;    // of any size
  std::string caption;  // lines with "\n" between them; what is too long for the tile ends in ".."
  Mark mark = Mark::none;
};

// The tiles row by row, `columns` in each, on white: each image fitted (below) into a square of `tile_size`, its
// caption under it. Letters are ASCII, in a font that the program carries; others become "?". Throws
// std::invalid_argument for no tiles or columns < 1.
inline constexpr int tile_size = 160;
data::Image make_sheet(std::span<const Tile> tiles, int columns);

// Columns that make a sheet of so many tiles about as wide as high, at most `most`.
int sheet_columns(size_t tiles, int most = 16);

// The image as large as it fits into size × size: enlarged by a whole factor, each pixel a square, so that small images
// show as they are; or shrunk in proportion (data::resize).
data::Image fitted(const data::Image& image, int size);

}  // namespace tools
