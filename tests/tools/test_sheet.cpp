// Sheets of images: what lies where, and the letters and signs on them.
#include "tools/sheet.h"

#include <array>

#include "catch.h"

using tools::Mark;
using tools::Tile;

namespace {

using Colour = std::array<uint8_t, 3>;

data::Image plain(int height, int width, const Colour& colour) {
  data::Image image{height, width, {}};
  for (int i = 0; i < height * width; ++i) image.pixels.insert(image.pixels.end(), colour.begin(), colour.end());
  return image;
}

Colour at(const data::Image& image, int y, int x) {
  const uint8_t* pixel = &image.pixels[(size_t(y) * image.width + x) * 3];
  return {pixel[0], pixel[1], pixel[2]};
}

int64_t count(const data::Image& image, const Colour& colour) {
  int64_t n = 0;
  for (int y = 0; y < image.height; ++y)
    for (int x = 0; x < image.width; ++x) n += at(image, y, x) == colour;
  return n;
}

constexpr Colour red{250, 10, 10}, green{10, 250, 10}, white{255, 255, 255};

}  // namespace

TEST_CASE("small images are enlarged by a whole factor, each pixel a square") {
  data::Image image = plain(2, 3, red);
  std::copy(green.begin(), green.end(), &image.pixels[(1 * 3 + 2) * 3]);  // row 1, column 2
  const data::Image large = tools::fitted(image, 160);                    // 160 / 3 = 53
  REQUIRE(large.width == 3 * 53);
  REQUIRE(large.height == 2 * 53);
  for (int y = 0; y < large.height; ++y)
    for (int x = 0; x < large.width; ++x) REQUIRE(at(large, y, x) == (y >= 53 && x >= 106 ? green : red));
}

TEST_CASE("large images are shrunk in proportion") {
  const data::Image wide = tools::fitted(plain(100, 400, red), 160), thin = tools::fitted(plain(1000, 1, red), 160);
  CHECK((wide.height == 40 && wide.width == 160));
  CHECK((thin.height == 160 && thin.width == 1));
  CHECK(count(wide, red) == 40 * 160);
}

TEST_CASE("a sheet shows every image in its place, row by row") {
  const std::vector<Tile> tiles = {{plain(32, 32, red), "", Mark::none},
                                   {plain(32, 32, green), "", Mark::none},
                                   {plain(64, 64, red), "", Mark::none}};
  const data::Image sheet = tools::make_sheet(tiles, 2);
  CHECK(count(sheet, red) == 160 * 160 + 128 * 128);  // 64 goes twice into 160
  CHECK(count(sheet, green) == 160 * 160);
  const int left = sheet.width / 4, right = sheet.width * 3 / 4, top = sheet.height / 4, bottom = sheet.height * 3 / 4;
  CHECK(at(sheet, top, left) == red);
  CHECK(at(sheet, top, right) == green);
  CHECK(at(sheet, bottom, left) == red);
  CHECK(at(sheet, bottom, right) == white);
}

TEST_CASE("captions and signs are drawn, and stay within their tile") {
  const auto sheet_with = [](const std::string& caption, Mark mark) {
    return tools::make_sheet(std::vector<Tile>{{plain(32, 32, red), caption, mark}}, 1);
  };
  const data::Image bare = sheet_with("", Mark::none), one = sheet_with("cat", Mark::none),
                    two = sheet_with("cat\n93.21 %", Mark::none);
  CHECK(bare.height < one.height);
  CHECK(one.height < two.height);
  CHECK(bare.width == two.width);
  constexpr Colour ink{34, 34, 34};
  CHECK(count(bare, ink) == 0);
  CHECK(count(one, ink) > 0);
  CHECK(count(two, ink) > count(one, ink));
  // Letters that the font does not have, and a caption that is far too long.
  CHECK(sheet_with("Gürtel", Mark::none).pixels == sheet_with("G?rtel", Mark::none).pixels);
  const data::Image longest = sheet_with(std::string(1000, 'W'), Mark::none);
  CHECK(longest.width == bare.width);
  for (int y = 0; y < longest.height; ++y) REQUIRE(at(longest, y, longest.width - 1) == white);
  // Right and wrong differ from each other and from no mark, in colour and in shape.
  const data::Image right = sheet_with("cat", Mark::right), wrong = sheet_with("cat", Mark::wrong);
  constexpr Colour blue{0, 114, 178}, orange{213, 94, 0};
  CHECK((count(right, blue) > 0 && count(right, orange) == 0));
  CHECK((count(wrong, orange) > 0 && count(wrong, blue) == 0));
  CHECK(count(right, white) != count(wrong, white));
}

TEST_CASE("the columns of a sheet") {
  CHECK(tools::sheet_columns(1) == 1);
  CHECK(tools::sheet_columns(10) == 4);
  CHECK(tools::sheet_columns(100000) == 16);
  CHECK_THROWS_AS(tools::make_sheet({}, 1), std::invalid_argument);
}
