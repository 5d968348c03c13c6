#include "data/batch.h"

#include <cmath>
#include <numeric>

#include "catch.h"
#include "data/image.h"
#include "data/random.h"

using namespace data;

namespace {

Dataset random_set(size_t size, int height, int width) {
  Dataset set{height, width, {"a", "b", "c"}, {}, {}};
  set.images.resize(size * set.image_bytes());
  set.labels.resize(size);
  Random random(5, Purpose::shuffle, 0, 0);
  for (uint8_t& value : set.images) value = uint8_t(random.next());
  for (int32_t& label : set.labels) label = int32_t(random.below(3));
  return set;
}

struct Batch {
  std::vector<float> images;    // (B, H, W, 3)
  std::vector<int32_t> labels;  // (B)
};

Batch make_batch(const Dataset& set, const std::vector<size_t>& indices, const BatchOptions& options) {
  const int height = options.resolution ? options.resolution : set.height;
  const int width = options.resolution ? options.resolution : set.width;
  Batch batch{std::vector<float>(indices.size() * size_t(height * width * 3)), std::vector<int32_t>(indices.size())};
  fill_batch(set, indices, options, batch.images.data(), batch.labels.data());
  return batch;
}

// The float of (y, x, c) in image b of a batch of images of that size.
float at(const Batch& batch, int height, int width, int b, int y, int x, int c) {
  return batch.images[size_t(((b * height + y) * width + x) * 3 + c)];
}

}  // namespace

TEST_CASE("a batch holds the images asked for, normalised") {
  const Dataset set = random_set(6, 4, 5);
  const std::vector<size_t> indices = {3, 0, 5, 3};
  const Batch batch = make_batch(set, indices, {});
  const double mean[3] = {0.4914, 0.4822, 0.4465}, std[3] = {0.2470, 0.2435, 0.2616};
  double worst = 0;
  for (size_t b = 0; b < indices.size(); ++b) {
    CHECK(batch.labels[b] == set.labels[indices[b]]);
    for (size_t i = 0; i < set.image_bytes(); ++i) {
      const double expected = (set.image(indices[b])[i] / 255.0 - mean[i % 3]) / std[i % 3];
      worst = std::max(worst, std::abs(batch.images[b * set.image_bytes() + i] - expected));
    }
  }
  CHECK(worst < 1e-6);  // values up to 2.2: one rounding of the constants and one of the result, 2.4e-7 each at most
  std::vector<float> alone(set.image_bytes());
  normalize(set.image(3), 4 * 5, Normalization{}, alone.data());
  CHECK(std::equal(alone.begin(), alone.end(), batch.images.begin()));
}

TEST_CASE("a flip mirrors left and right, and depends on seed, epoch and image alone") {
  const Dataset set = random_set(200, 3, 4);
  std::vector<size_t> indices(set.size());
  std::iota(indices.begin(), indices.end(), size_t{0});
  const Batch plain = make_batch(set, indices, {});
  BatchOptions options;
  options.flip = true;
  options.seed = 7;
  options.epoch = 2;
  const Batch flipped = make_batch(set, indices, options);
  CHECK(flipped.labels == plain.labels);

  std::vector<bool> is_flipped;
  for (int b = 0; b < int(set.size()); ++b) {
    bool same = true, mirror = true;
    for (int y = 0; y < 3; ++y) {
      for (int x = 0; x < 4; ++x) {
        for (int c = 0; c < 3; ++c) {
          same = same && at(flipped, 3, 4, b, y, x, c) == at(plain, 3, 4, b, y, x, c);
          mirror = mirror && at(flipped, 3, 4, b, y, x, c) == at(plain, 3, 4, b, y, 3 - x, c);
        }
      }
    }
    REQUIRE(same != mirror);  // random images are not symmetric
    is_flipped.push_back(mirror);
  }
  const auto count = std::count(is_flipped.begin(), is_flipped.end(), true);
  CHECK(std::abs(double(count) - 100) < 5 * std::sqrt(200 * 0.25));

  // In other company and another place.
  const std::vector<size_t> some = {150, 3, 77, 3};
  const Batch other = make_batch(set, some, options);
  for (size_t b = 0; b < some.size(); ++b) {
    CHECK(std::equal(other.images.begin() + long(b * 36), other.images.begin() + long(b * 36 + 36),
                     flipped.images.begin() + long(some[b] * 36)));
  }
  options.epoch = 3;
  CHECK(make_batch(set, indices, options).images != flipped.images);
  options.epoch = 2;
  options.seed = 8;
  CHECK(make_batch(set, indices, options).images != flipped.images);
}

TEST_CASE("another resolution resizes, also when flipped") {
  const Dataset set = random_set(8, 6, 8);
  BatchOptions options;
  options.resolution = GENERATE(4, 8, 12);
  options.seed = 1;
  const bool flip = GENERATE(false, true);
  options.flip = flip;
  const int side = options.resolution;
  int mirrored = 0;
  for (size_t index = 0; index < set.size(); ++index) {
    const Image image{6, 8, std::vector<uint8_t>(set.image(index), set.image(index) + set.image_bytes())};
    const Image small = resize(image, side, side);
    std::vector<float> expected(small.pixels.size());
    normalize(small.pixels.data(), size_t(side * side), options.normalization, expected.data());
    const Batch batch = make_batch(set, {index}, options);
    if (batch.images == expected) continue;
    ++mirrored;
    bool mirror = true;
    for (int y = 0; y < side; ++y) {
      for (int x = 0; x < side; ++x) {
        for (int c = 0; c < 3; ++c) {
          mirror = mirror && at(batch, side, side, 0, y, x, c) == expected[size_t((y * side + side - 1 - x) * 3 + c)];
        }
      }
    }
    CHECK(mirror);
  }
  CHECK((mirrored > 0) == flip);
}

TEST_CASE("a batch refuses images that are not there and sizes that cannot be") {
  const Dataset set = random_set(3, 2, 2);
  CHECK_THROWS_AS(make_batch(set, {0, 3}, {}), std::invalid_argument);
  std::vector<float> images(100);
  std::vector<int32_t> labels(1);
  BatchOptions options;
  options.resolution = -1;
  const std::vector<size_t> first = {0};
  CHECK_THROWS_AS(fill_batch(set, first, options, images.data(), labels.data()), std::invalid_argument);
}
