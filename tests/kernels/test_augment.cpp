#include "kernels/augment/augment.h"

#include <algorithm>

#include "data/random.h"
#include "kernels/harness.h"

using kernels::Augment, kernels::AugmentOptions, kernels::AugmentParameters, kernels::AugmentShape;
namespace reference = kernels::reference;

// The words are those of data::Random's stream for this purpose.
static_assert(data::Purpose::augment == data::Purpose{4});

namespace {

// batch, in height and width, out height and width
const std::vector<AugmentShape> awkward = {
    {1, 1, 1, 1, 1},   {2, 2, 2, 2, 2},   {3, 1, 5, 4, 1},     {2, 7, 3, 3, 7},      {5, 5, 5, 1, 1},
    {3, 9, 6, 9, 6},   {1, 33, 31, 8, 8}, {2, 16, 16, 32, 32}, {2, 32, 32, 32, 32},  {3, 40, 25, 32, 32},
    {1, 31, 33, 5, 3}, {4, 8, 8, 17, 19}, {1, 3, 200, 2, 150}, {1, 111, 107, 64, 64}};
AugmentShape draw_shape(test::Random& random) {
  return {random.between(1, 4), random.between(1, 40), random.between(1, 40), random.between(1, 40),
          random.between(1, 40)};
}

// The article's set, which CIFAR-10's mean and deviation belong to.
AugmentOptions article() {
  AugmentOptions o;
  o.flip = 0.5f;
  o.rotation = o.shear = 10;
  o.scale_low = 0.8f, o.scale_high = 1.2f;
  o.brightness = o.contrast = o.saturation = 0.2f;
  const float mean[3] = {0.4914f, 0.4822f, 0.4465f}, std[3] = {0.2470f, 0.2435f, 0.2616f};
  for (int c = 0; c < 3; ++c) o.mean[c] = mean[c], o.std[c] = std[c];
  return o;
}

AugmentOptions normalised_only() {
  AugmentOptions o;
  for (int c = 0; c < 3; ++c) o.mean[c] = article().mean[c], o.std[c] = article().std[c];
  return o;
}

// Each option alone, several together, all, all far out, none. What kind - 1 counts, `options_kinds` of them.
constexpr int options_kinds = 14;
AugmentOptions options_of(int kind) {
  AugmentOptions o = normalised_only();
  if (kind == 0) return article();
  if (kind == 1) o.flip = 1;
  if (kind == 2) o.rotation = 180;
  if (kind == 3) o.shear = 45;
  if (kind == 4) o.scale_low = 0.5f, o.scale_high = 3;
  if (kind == 5) o.brightness = 1;
  if (kind == 6) o.contrast = 1;
  if (kind == 7) o.saturation = 1;
  if (kind == 8) o.crop_padding = 4;
  if (kind == 9) o.cutout = 8;
  if (kind == 10) o.flip = 0.5f, o.crop_padding = 4, o.cutout = 7;
  if (kind == 11) o = article(), o.crop_padding = 4, o.cutout = 5;
  if (kind == 12) {
    o.flip = 0.5f, o.rotation = 180, o.shear = 60, o.scale_low = 0.1f, o.scale_high = 10, o.crop_padding = 40;
    o.brightness = o.contrast = o.saturation = 1, o.cutout = 3;
  }
  return o;  // 13: none
}

// A set of N images and a batch of it.
struct Batch {
  std::vector<uint8_t> images;  // (N, H, W, 3)
  std::vector<int32_t> rows;    // (B); empty: 0 … B-1
  std::vector<uint32_t> items;  // (B)
  uint64_t seed;
  uint32_t epoch;
  const uint8_t* image(const AugmentShape& s, int b) const {
    return images.data() + size_t(rows.empty() ? b : rows[b]) * s.in_height * s.in_width * 3;
  }
};

Batch draw_batch(const AugmentShape& s, test::Random& random) {
  Batch batch;
  const bool whole = random.between(0, 2) == 0;
  const int count = whole ? s.batch : random.between(1, s.batch + 2);
  batch.images.resize(size_t(count) * s.in_height * s.in_width * 3);
  for (uint8_t& v : batch.images) v = random.between(0, 9) == 0 ? random.one_of({0, 255}) : random.between(0, 255);
  for (int b = 0; b < s.batch; ++b) {
    if (!whole) batch.rows.push_back(random.between(0, count - 1));
    batch.items.push_back(whole ? static_cast<uint32_t>(random.bits()) : batch.rows[b]);  // may repeat
  }
  batch.seed = random.bits();
  batch.epoch = random.between(0, 1000);
  return batch;
}

std::vector<float> forward(const Augment& row, const AugmentShape& s, const AugmentOptions& options, const Batch& batch,
                           int offset = 0) {
  const test::Array<uint8_t> images(batch.images, offset);
  const test::Array<int32_t> rows(batch.rows.empty() ? std::vector<int32_t>(1) : batch.rows);
  const test::Array<uint32_t> items(batch.items);
  const test::Array<float> y(int64_t{s.batch} * s.out_height * s.out_width * 3, offset);
  row.forward(test::context(row.workspace(s)), s, options, batch.seed, batch.epoch, images,
              batch.rows.empty() ? nullptr : rows.data(), items, y);
  return y.read();
}

const double unit = 0x1p-24;  // of rounding: half the distance of two floats, relative

// How far a value of an image may be from the reference's. Sine and cosine are off by 2 units; the six numbers of the
// map and what is made of them by at most 16 of the largest term, which (1 + |tan|)² bounds with tan = sin / cos; a
// coordinate that is off by e changes a value of 0 … 1 by at most e. The colours' few roundings are of numbers up to
// `gain` and `offset`.
double tolerance(const AugmentShape& s, const AugmentOptions& o, const AugmentParameters& p, int channel) {
  const double tangent = std::fabs(std::tan(p.shear * 3.14159265358979 / 180));
  const double extent = (s.in_height + s.in_width) / 2.0;
  const double shift = std::abs(p.shift_x) + std::abs(p.shift_y);
  const double coordinates = 16 * unit * ((1 + tangent) * (1 + tangent) * extent / p.scale + extent + shift);
  const double gain = p.contrast * p.brightness * (p.saturation + std::fabs(1 - p.saturation));
  const double offset = std::fabs(1 - p.contrast) * p.brightness;
  return (gain * (2 * coordinates + 8 * unit) + 8 * unit * offset) / o.std[channel];
}

void check_image(const AugmentShape& s, const AugmentOptions& o, const Batch& batch, int b,
                 const std::vector<float>& y) {
  const AugmentParameters p = kernels::draw(o, batch.seed, batch.epoch, batch.items[b]);
  const size_t count = size_t(s.out_height) * s.out_width * 3;
  std::vector<double> expected(count);
  reference::augment_forward(s, o, p, batch.image(s, b), expected.data());
  for (int c = 0; c < 3; ++c) {
    std::vector<float> actual_channel;
    std::vector<double> expected_channel;
    for (size_t i = c; i < count; i += 3) {
      actual_channel.push_back(y[b * count + i]);
      expected_channel.push_back(expected[i]);
    }
    test::check_close(actual_channel, expected_channel, 2 * unit, tolerance(s, o, p, c));
  }
}

}  // namespace

TEST_CASE("augment forward", "[augment]") {
  test::for_each_case(&Augment::forward, awkward, 10, draw_shape,
                      [](const Augment& row, const AugmentShape& s, test::Random& random) {
                        test::Outputs outputs;
                        for (int kind = 0; kind < options_kinds; ++kind) {
                          const AugmentOptions options = options_of(kind);
                          const Batch batch = draw_batch(s, random);
                          INFO("options " << kind);
                          outputs.push_back(forward(row, s, options, batch, kind % 2));
                          for (int b = 0; b < s.batch; ++b) check_image(s, options, batch, b, outputs.back());
                        }
                        return outputs;
                      });
}

TEST_CASE("augment: all rows give the same bits", "[augment]") {
  const Augment& naive = kernels::implementations<Augment>(test::device_under_test())[0];
  test::for_each_case(&Augment::forward, awkward, 10, draw_shape,
                      [&](const Augment& row, const AugmentShape& s, test::Random& random) {
                        test::Outputs outputs;
                        for (int kind = 0; kind < options_kinds; ++kind) {
                          const Batch batch = draw_batch(s, random);
                          const auto expected = forward(naive, s, options_of(kind), batch);
                          outputs.push_back(forward(row, s, options_of(kind), batch));
                          INFO(test::current_case.repeat() << "  options " << kind);
                          REQUIRE(std::memcmp(outputs.back().data(), expected.data(), expected.size() * 4) == 0);
                        }
                        return outputs;
                      });
}

TEST_CASE("augment without augmentation is the plain normalisation, to the bit", "[augment]") {
  // All 256 bytes in each channel, and a few images more.
  const std::vector<AugmentShape> shapes = {{1, 16, 16, 16, 16}, {3, 7, 5, 7, 5}, {2, 32, 32, 32, 32}};
  test::for_each_case(
      &Augment::forward, shapes, 0, draw_shape, [](const Augment& row, const AugmentShape& s, test::Random& random) {
        Batch batch = draw_batch(s, random);
        if (s.batch == 1)
          for (size_t i = 0; i < batch.images.size(); ++i) batch.images[i] = (i / 3 + i % 3 * 85) % 256;
        const AugmentOptions o = normalised_only();
        const auto y = forward(row, s, o, batch);
        std::vector<double> expected(y.size());
        const size_t count = y.size() / s.batch;
        for (size_t i = 0; i < y.size(); ++i)
          expected[i] =
              float((batch.image(s, i / count)[i % count] / 255.0 - double(o.mean[i % 3])) / double(o.std[i % 3]));
        test::check_close(y, expected, 0, 0);
        return test::Outputs{y};
      });
}
