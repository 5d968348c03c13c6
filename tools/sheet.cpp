#include "tools/sheet.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <vector>

#include <stb/stb_easy_font.h>

namespace tools {
namespace {

using data::Image;
using Colour = std::array<uint8_t, 3>;  // red, green, blue

constexpr Colour white{255, 255, 255}, ink{34, 34, 34}, frame{204, 204, 204};
// Two that those who do not see red or green tell apart (M. Okabe, K. Ito, "Color universal design", 2008).
constexpr Colour right_colour{0, 114, 178}, wrong_colour{213, 94, 0};
constexpr int gap = 14, border = 3, letter_scale = 2, line_height = 12 * letter_scale, sign_size = 18;

void fill(Image& sheet, int x, int y, int width, int height, const Colour& colour) {
  for (int row = std::max(y, 0); row < std::min(y + height, sheet.height); ++row)
    for (int column = std::max(x, 0); column < std::min(x + width, sheet.width); ++column)
      std::copy(colour.begin(), colour.end(), &sheet.pixels[(size_t(row) * sheet.width + column) * 3]);
}

void paste(Image& sheet, const Image& image, int x, int y) {
  for (int row = 0; row < image.height; ++row)
    std::memcpy(&sheet.pixels[(size_t(y + row) * sheet.width + x) * 3], &image.pixels[size_t(row) * image.width * 3],
                size_t(image.width) * 3);
}

// What the font has: a letter of several bytes (UTF-8) becomes one "?".
std::string ascii(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xC0) == 0x80) continue;  // a letter's second byte, third …
    out += byte >= 32 && byte < 127 ? c : '?';
  }
  return out;
}

int text_width(std::string text) { return stb_easy_font_width(text.data()) * letter_scale; }

std::string shortened(std::string text, int width) {
  if (text_width(text) <= width) return text;
  while (!text.empty() && text_width(text + "..") > width) text.pop_back();
  return text + "..";
}

void draw_text(Image& sheet, int x, int y, std::string text) {
  // Each letter is a handful of rectangles of four corners, of x, y, z and a colour each.
  struct Corner {
    float x, y, z;
    uint8_t colour[4];
  };
  std::vector<Corner> corners(text.size() * 100 + 100);
  const int rectangles = stb_easy_font_print(0, 0, text.data(), nullptr, corners.data(),
                                             static_cast<int>(corners.size() * sizeof(Corner)));
  for (int i = 0; i < rectangles; ++i) {
    const Corner &a = corners[4 * i], &c = corners[4 * i + 2];
    const auto scaled = [](float v) { return static_cast<int>(std::lround(v * letter_scale)); };
    fill(sheet, x + scaled(a.x), y + scaled(a.y), scaled(c.x - a.x), scaled(c.y - a.y), ink);
  }
}

// A tick or a cross in a box, its upper right corner at (right, y).
void draw_sign(Image& sheet, int right, int y, Mark mark) {
  const int x = right - sign_size;
  fill(sheet, x, y, sign_size, sign_size, mark == Mark::right ? right_colour : wrong_colour);
  const auto line = [&](int x0, int y0, int x1, int y1) {  // of pens 2 pixels wide
    const int steps = std::max(std::abs(x1 - x0), std::abs(y1 - y0));
    for (int i = 0; i <= steps; ++i)
      fill(sheet, x + x0 + (x1 - x0) * i / steps, y + y0 + (y1 - y0) * i / steps, 2, 2, white);
  };
  if (mark == Mark::right) {
    line(3, 8, 7, 12), line(7, 12, 13, 4);
  } else {
    line(4, 4, 12, 12), line(12, 4, 4, 12);
  }
}

std::vector<std::string> lines_of(const std::string& caption) {
  std::vector<std::string> lines;
  for (size_t from = 0; !caption.empty() && from <= caption.size();) {
    const size_t end = std::min(caption.find('\n', from), caption.size());
    lines.push_back(ascii(caption.substr(from, end - from)));
    from = end + 1;
  }
  return lines;
}

}  // namespace

Image fitted(const Image& image, int size) {
  const int longer = std::max(image.height, image.width);
  if (longer < 1 || size < 1) throw std::invalid_argument("fitted: an image and a size of at least 1 are needed");
  if (longer > size) {
    const auto shrunk = [&](int side) {
      return std::max(static_cast<int>((int64_t{side} * size + longer / 2) / longer), 1);
    };
    return data::resize(image, shrunk(image.height), shrunk(image.width));
  }
  const int factor = size / longer;
  Image large{image.height * factor, image.width * factor, {}};
  large.pixels.resize(size_t(large.height) * large.width * 3);
  for (int y = 0; y < large.height; ++y)
    for (int x = 0; x < large.width; ++x)
      std::memcpy(&large.pixels[(size_t(y) * large.width + x) * 3],
                  &image.pixels[(size_t(y / factor) * image.width + x / factor) * 3], 3);
  return large;
}

int sheet_columns(size_t tiles, int most) {
  const int square = static_cast<int>(std::ceil(std::sqrt(static_cast<double>(tiles))));
  return std::clamp(square, 1, most);
}

Image make_sheet(std::span<const Tile> tiles, int columns) {
  if (tiles.empty() || columns < 1) throw std::invalid_argument("make_sheet: tiles and columns are needed");
  columns = std::min(columns, static_cast<int>(tiles.size()));
  size_t most_lines = 0;
  for (const Tile& tile : tiles) most_lines = std::max(most_lines, lines_of(tile.caption).size());
  const int rows = static_cast<int>((tiles.size() + columns - 1) / columns), cell_width = tile_size + 2 * border + gap,
            cell_height = tile_size + 2 * border + static_cast<int>(most_lines) * line_height +
                          (most_lines > 0 ? line_height / 2 : 0) + gap;
  Image sheet{rows * cell_height + gap, columns * cell_width + gap, {}};
  sheet.pixels.assign(size_t(sheet.height) * sheet.width * 3, 255);

  for (size_t i = 0; i < tiles.size(); ++i) {
    const Tile& tile = tiles[i];
    const int x = gap + static_cast<int>(i) % columns * cell_width,
              y = gap + static_cast<int>(i) / columns * cell_height;
    const int inside = tile_size + 2 * border;
    const Image image = fitted(tile.image, tile_size);
    if (tile.mark == Mark::none) {
      fill(sheet, x + border - 1, y + border - 1, tile_size + 2, tile_size + 2, frame);
    } else {
      fill(sheet, x, y, inside, inside, tile.mark == Mark::right ? right_colour : wrong_colour);
    }
    fill(sheet, x + border, y + border, tile_size, tile_size, white);
    paste(sheet, image, x + border + (tile_size - image.width) / 2, y + border + (tile_size - image.height) / 2);
    if (tile.mark != Mark::none) draw_sign(sheet, x + inside, y, tile.mark);
    int text_y = y + inside + line_height / 4;
    for (const std::string& line : lines_of(tile.caption)) {
      draw_text(sheet, x + border, text_y, shortened(line, tile_size));
      text_y += line_height;
    }
  }
  return sheet;
}

}  // namespace tools
