#include "data/shapes.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "data/random.h"

namespace data {
namespace {

constexpr int side = 32;

// Fixed-point units, all powers of two, so that no floating-point rounding decides a pixel:
constexpr int px = 256;       // a pixel, in places and lengths on the image
constexpr int unit = 4096;    // the radius of the circle that a shape just fits in, in the shape's own coordinates
constexpr int turn = 65536;   // a full turn, in angles
constexpr int one = 1 << 14;  // 1, in sines and cosines

// Bhaskara I's approximation (7th century): sin(pi·x) ≈ 16x(1 - x) / (5 - 4x(1 - x)) for x in [0, 1]; off by 0.0016 at
// most, which bends a shape by a twentieth of a pixel or less.
int sine(int angle) {
  angle &= turn - 1;
  const int64_t half = turn / 2, x = angle % half;
  const int64_t product = x * (half - x);
  const int value = int(16 * product * one / (5 * half * half - 4 * product));
  return angle < half ? value : -value;
}
int cosine(int angle) { return sine(angle + turn / 4); }

struct Point {
  int x, y;  // in units; y points down
};

bool in_circle(Point p, Point center, int radius) {
  const int x = p.x - center.x, y = p.y - center.y;
  return x * x + y * y <= radius * radius;
}

// Even-odd rule: count the edges that a ray to the right crosses.
bool in_polygon(Point p, std::span<const Point> corners) {
  bool inside = false;
  for (size_t i = 0; i < corners.size(); ++i) {
    const Point a = corners[i], b = corners[(i + 1) % corners.size()];
    if ((a.y > p.y) == (b.y > p.y)) continue;
    // p.x < a.x + (p.y - a.y) · (b.x - a.x) / (b.y - a.y), without the division
    const int64_t left = int64_t(p.x - a.x) * (b.y - a.y), right = int64_t(p.y - a.y) * (b.x - a.x);
    if (b.y > a.y ? left < right : left > right) inside = !inside;
  }
  return inside;
}

constexpr Point triangle_corners[] = {{0, -4096}, {3547, 2048}, {-3547, 2048}};
constexpr Point star_corners[] = {{0, -4096}, {1011, -1392}, {3896, -1266}, {1636, 532},    {2408, 3314},
                                  {0, 1720},  {-2408, 3314}, {-1636, 532},  {-3896, -1266}, {-1011, -1392}};
constexpr Point arrow_corners[] = {{0, -4096},    {2900, -700},  {1100, -700}, {1100, 3900},
                                   {-1100, 3900}, {-1100, -700}, {-2900, -700}};
constexpr Point heart_corners[] = {{-3560, 120}, {0, -1500}, {3560, 120}, {0, 3900}};

bool circle(Point p) { return in_circle(p, {0, 0}, 3900); }
bool square(Point p) { return std::max(std::abs(p.x), std::abs(p.y)) <= 2896; }
bool triangle(Point p) { return in_polygon(p, triangle_corners); }
bool star(Point p) { return in_polygon(p, star_corners); }
bool cross(Point p) {
  const auto [least, most] = std::minmax({std::abs(p.x), std::abs(p.y)});
  return least <= 1150 && most <= 3900;
}
bool ring(Point p) { return in_circle(p, {0, 0}, 3900) && !in_circle(p, {0, 0}, 2300); }
bool crescent(Point p) { return in_circle(p, {0, 0}, 4050) && !in_circle(p, {1700, 0}, 3200); }
bool heart(Point p) {
  return in_circle(p, {-1850, -900}, 2000) || in_circle(p, {1850, -900}, 2000) || in_polygon(p, heart_corners);
}
bool arrow(Point p) { return in_polygon(p, arrow_corners); }
bool hourglass(Point p) { return std::abs(p.y) <= 3200 && 4 * std::abs(p.x) <= 3 * std::abs(p.y) + 800; }

struct Shape {
  const char* name;
  bool (*contains)(Point);
};
constexpr std::array<Shape, 10> shapes = {{{"circle", circle},
                                           {"square", square},
                                           {"triangle", triangle},
                                           {"star", star},
                                           {"cross", cross},
                                           {"ring", ring},
                                           {"crescent", crescent},
                                           {"heart", heart},
                                           {"arrow", arrow},
                                           {"hourglass", hourglass}}};

// A shape as a bitmap of 256×256 cells, so that drawing looks a sample up where it would test up to ten edges. A cell
// is at most a tenth of a pixel wide.
struct Bitmap {
  static constexpr int cells = 256, cell = 2 * unit / cells;
  std::vector<uint8_t> inside;  // (cells, cells)

  explicit Bitmap(const Shape& shape) : inside(cells * cells) {
    for (int i = 0; i < cells * cells; ++i) {
      inside[size_t(i)] = shape.contains({i % cells * cell + cell / 2 - unit, i / cells * cell + cell / 2 - unit});
    }
  }
  int at(int x, int y) const {
    const int column = (x + unit) / cell, row = (y + unit) / cell;
    if (x < -unit || y < -unit || column >= cells || row >= cells) return 0;
    return inside[size_t(row * cells + column)];
  }
};

using Color = std::array<int, 3>;

Color random_color(Random& random, int low, int high) {
  return {random.between(low, high), random.between(low, high), random.between(low, high)};
}

int difference(const Color& a, const Color& b) {
  return std::abs(a[0] - b[0]) + std::abs(a[1] - b[1]) + std::abs(a[2] - b[2]);
}

// From one colour to another across the image, in a random direction.
void draw_background(Random& random, const Color& from, const Color& to, uint8_t* image) {
  const int angle = random.between(0, turn - 1);
  const int dx = cosine(angle), dy = sine(angle);
  for (int y = 0; y < side; ++y) {
    for (int x = 0; x < side; ++x) {
      const int along = ((2 * x - side + 1) * dx + (2 * y - side + 1) * dy) / 2;  // within ± 23 pixels, times `one`
      const int part = std::clamp(128 + along * 5 / one, 0, 256);                 // 128 / 23 = 5.6 a pixel
      for (int c = 0; c < 3; ++c) *image++ = uint8_t(from[c] + (to[c] - from[c]) * part / 256);
    }
  }
}

// Draws a bitmap at (x, y), with `radius` (all px), turned by `angle`. 4×4 samples a pixel smooth the edges.
void draw(const Bitmap& bitmap, int center_x, int center_y, int radius, int angle, const Color& color, uint8_t* image) {
  // From an offset on the image to the shape's coordinates: times unit / radius, turned back. Scaled by 2^14 = one.
  const int scaled_cosine = cosine(angle) * unit / radius, scaled_sine = sine(angle) * unit / radius;
  const auto first = [&](int center) { return std::max(0, (center - radius) / px); };
  const auto last = [&](int center) { return std::min(side - 1, (center + radius) / px); };
  for (int y = first(center_y); y <= last(center_y); ++y) {
    for (int x = first(center_x); x <= last(center_x); ++x) {
      int covered = 0;  // of 16 samples
      for (int sample = 0; sample < 16; ++sample) {
        const int dx = x * px + sample % 4 * (px / 4) + px / 8 - center_x;
        const int dy = y * px + sample / 4 * (px / 4) + px / 8 - center_y;
        covered +=
            bitmap.at((dx * scaled_cosine + dy * scaled_sine) >> 14, (dy * scaled_cosine - dx * scaled_sine) >> 14);
      }
      uint8_t* pixel = image + (y * side + x) * 3;
      for (int c = 0; c < 3; ++c) pixel[c] = uint8_t((pixel[c] * (16 - covered) + color[c] * covered + 8) / 16);
    }
  }
}

// Sums of two uniform numbers: mostly small, at most ± amplitude.
void add_noise(Random& random, int amplitude, uint8_t* image) {
  for (int i = 0; i < side * side * 3; i += 2) {
    const uint32_t bits = random.next();  // enough for two bytes of the image
    for (int j = 0; j < 2; ++j) {
      const int sum = int(bits >> (16 * j) & 0xFF) + int(bits >> (16 * j + 8) & 0xFF) - 255;
      image[i + j] = uint8_t(std::clamp(image[i + j] + sum * amplitude / 255, 0, 255));
    }
  }
}

void draw_image(Random random, const std::vector<Bitmap>& bitmaps, int label, uint8_t* image) {
  // Light on dark: were either possible, a network would have to learn every edge twice, and take several times as
  // long.
  const Color from = random_color(random, 0, 130);
  Color to = from;
  for (int& channel : to) channel = std::clamp(channel + random.between(-60, 60), 0, 130);
  Color color = random_color(random, 110, 255);
  while (std::min(difference(color, from), difference(color, to)) < 200) color = random_color(random, 110, 255);

  draw_background(random, from, to, image);
  for (int specks = random.between(0, 4); specks > 0; --specks) {
    const int x = random.between(0, side * px), y = random.between(0, side * px);
    const int radius = random.between(px * 3 / 4, px * 5 / 2);
    draw(bitmaps[0], x, y, radius, 0, random_color(random, 0, 255), image);
  }
  const int radius = random.between(8 * px, 14 * px);
  const int x = random.between(radius, side * px - radius), y = random.between(radius, side * px - radius);
  draw(bitmaps[size_t(label)], x, y, radius, random.between(0, turn - 1), color, image);
  add_noise(random, random.between(0, 40), image);
}

Dataset draw_set(size_t size, uint64_t seed, Purpose purpose) {
  Dataset dataset{side, side, {}, std::vector<uint8_t>(size * side * side * 3), std::vector<int32_t>(size)};
  std::vector<Bitmap> bitmaps;  // (classes)
  for (const Shape& shape : shapes) {
    dataset.class_names.emplace_back(shape.name);
    bitmaps.emplace_back(shape);
  }
  for (size_t i = 0; i < size; ++i) {
    const int label = int(i % shapes.size());
    dataset.labels[i] = label;
    draw_image(Random(seed, purpose, 0, uint32_t(i)), bitmaps, label, dataset.image(i));
  }
  return dataset;
}

}  // namespace

Split draw_shapes(size_t train, size_t test, uint64_t seed) {
  return {draw_set(train, seed, Purpose::shapes_train), draw_set(test, seed, Purpose::shapes_test)};
}

}  // namespace data
