#include "kernels/augment/augment.h"

#include <algorithm>
#include <thread>

#include "data/random.h"
#include "kernels/harness.h"

using kernels::Augment, kernels::AugmentOptions, kernels::AugmentParameters, kernels::AugmentShape;
namespace reference = kernels::reference;

// The words are those of data::Random's stream for this purpose.
static_assert(data::Purpose::augment == data::Purpose{4});

namespace {

// batch, in height and width, out height and width
const std::vector<AugmentShape> awkward = {
    {1, 1, 1, 1, 1},     {2, 2, 2, 2, 2},       {3, 1, 5, 4, 1},       {2, 7, 3, 3, 7},
    {5, 5, 5, 1, 1},     {3, 9, 6, 9, 6},       {1, 33, 31, 8, 8},     {2, 16, 16, 32, 32},
    {2, 32, 32, 32, 32}, {3, 40, 25, 32, 32},   {1, 31, 33, 5, 3},     {4, 8, 8, 17, 19},
    {1, 3, 200, 2, 150}, {1, 111, 107, 64, 64}, {1, 100, 100, 40, 40}, {2, 6, 9, 50, 60}};
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
  const test::Array<uint32_t> items(batch.items), epoch(std::vector<uint32_t>{batch.epoch});
  const test::Array<float> y(int64_t{s.batch} * s.out_height * s.out_width * 3, offset);
  row.forward(test::context(row.workspace(s)), s, options, batch.seed, epoch, images,
              batch.rows.empty() ? nullptr : rows.data(), items, y);
  return y.read();
}

// By the CPU's row `loop`, with a context that it must not touch.
std::vector<float> on_the_host(const AugmentShape& s, const AugmentOptions& options, const Batch& batch) {
  const auto table = kernels::implementations<Augment>(kernels::DeviceType::cpu);
  const Augment& loop = table[table.size() - 1];
  REQUIRE(std::string(loop.name) == "loop");
  kernels::Context context;
  context.stream = context.workspace = reinterpret_cast<void*>(uintptr_t{1});
  std::vector<float> y(size_t(s.batch) * s.out_height * s.out_width * 3, NAN);
  loop.forward(context, s, options, batch.seed, &batch.epoch, batch.images.data(),
               batch.rows.empty() ? nullptr : batch.rows.data(), batch.items.data(), y.data());
  return y;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

const double unit = 0x1p-24;  // of rounding: half the distance of two floats, relative

// How far a value of an image may be from the reference's. Sine and cosine are off by 1.6 units, the tangent by 4 of
// its size; with the products behind them the map's numbers, up to (1 + |tan|) / scale in size, are off by 9 units of
// that. They are multiplied by half of height and width, and the sums round twice. Where the map is the identity,
// nothing rounds. A coordinate that is off by e changes a value of 0 … 1 by at most e. The colours' few roundings are
// of numbers up to `gain` and `offset`.
double tolerance(const AugmentShape& s, const AugmentOptions& o, const AugmentParameters& p, int channel) {
  const bool identity =
      p.rotation == 0 && p.shear == 0 && p.scale == 1 && s.in_height == s.out_height && s.in_width == s.out_width;
  const double size = (1 + std::fabs(std::tan(p.shear * 3.14159265358979 / 180))) / p.scale;
  const double extent = (s.in_height + s.in_width) / 2.0;
  const double shift = std::abs(p.shift_x) + std::abs(p.shift_y);
  const double coordinate = identity ? 0 : unit * ((9 + 2) * size * extent + 2 * (extent + shift));
  const double gain = p.contrast * p.brightness * (p.saturation + std::fabs(1 - p.saturation));
  const double offset = std::fabs(1 - p.contrast) * p.brightness;
  return (gain * (2 * coordinate + 8 * unit) + 8 * unit * offset) / o.std[channel];
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

TEST_CASE("augment: all rows on all devices give the same bits", "[augment]") {
  test::for_each_case(&Augment::forward, awkward, 10, draw_shape,
                      [](const Augment& row, const AugmentShape& s, test::Random& random) {
                        test::Outputs outputs;
                        for (int kind = 0; kind < options_kinds; ++kind) {
                          const Batch batch = draw_batch(s, random);
                          const auto expected = on_the_host(s, options_of(kind), batch);
                          outputs.push_back(forward(row, s, options_of(kind), batch));
                          INFO(test::current_case.repeat() << "  options " << kind);
                          REQUIRE(same_bits(outputs.back(), expected));
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

TEST_CASE("augment: an image does not depend on its batch, nor on the place in it", "[augment]") {
  const std::vector<AugmentShape> shapes = {{5, 13, 11, 13, 11}, {5, 32, 32, 32, 32}, {5, 9, 10, 6, 6}};
  test::for_each_case(
      &Augment::forward, shapes, 0, draw_shape, [](const Augment& row, const AugmentShape& s, test::Random& random) {
        INFO(test::current_case.repeat());
        const AugmentOptions o = options_of(11);
        Batch batch = draw_batch(s, random);
        batch.rows.clear();
        batch.images.resize(size_t(s.batch) * s.in_height * s.in_width * 3, 77);
        batch.items = {3, 1, 4, 1, 5};
        const auto whole = forward(row, s, o, batch);
        std::vector<float> joined;
        for (const auto& [first, count] : {std::pair(0, 2), std::pair(2, 3)}) {
          AugmentShape part = s;
          part.batch = count;
          Batch some = batch;
          some.rows.clear();
          some.items.clear();
          for (int b = first; b < first + count; ++b) some.rows.push_back(b), some.items.push_back(batch.items[b]);
          const auto y = forward(row, part, o, some);
          joined.insert(joined.end(), y.begin(), y.end());
        }
        CHECK(same_bits(joined, whole));
        // The same image under the same number is the same, wherever it stands.
        Batch repeated = batch;
        repeated.rows = {1, 0, 1, 2, 1};
        repeated.items = {8, 8, 8, 8, 9};
        const auto y = forward(row, s, o, repeated);
        const size_t count = y.size() / s.batch;
        const auto of = [&](int b) { return std::vector<float>(y.begin() + b * count, y.begin() + (b + 1) * count); };
        CHECK(same_bits(of(0), of(2)));
        CHECK_FALSE(same_bits(of(0), of(1)));
        CHECK_FALSE(same_bits(of(0), of(4)));
        return test::Outputs{whole, y};
      });
}

TEST_CASE("augment depends on seed, epoch and item", "[augment]") {
  const std::vector<AugmentShape> shapes = {{2, 16, 16, 16, 16}};
  test::for_each_case(&Augment::forward, shapes, 0, draw_shape,
                      [](const Augment& row, const AugmentShape& s, test::Random& random) {
                        INFO(test::current_case.repeat());
                        Batch batch = draw_batch(s, random);
                        batch.items = {1, 2};
                        const auto y = forward(row, s, article(), batch);
                        CHECK(same_bits(forward(row, s, article(), batch), y));
                        Batch other = batch;
                        other.seed ^= uint64_t{1} << 40;
                        CHECK_FALSE(same_bits(forward(row, s, article(), other), y));
                        other = batch, other.seed ^= 1;
                        CHECK_FALSE(same_bits(forward(row, s, article(), other), y));
                        other = batch, ++other.epoch;
                        CHECK_FALSE(same_bits(forward(row, s, article(), other), y));
                        other = batch, other.items = {1, 3};
                        const auto changed = forward(row, s, article(), other);
                        const size_t half = y.size() / 2;
                        CHECK(std::equal(y.begin(), y.begin() + half, changed.begin()));
                        CHECK_FALSE(std::equal(y.begin() + half, y.end(), changed.begin() + half));
                        return test::Outputs{y};
                      });
}

TEST_CASE("augment: many threads may run the CPU's loop at once", "[augment]") {
  test::Random random{11};
  const AugmentShape s = {6, 20, 20, 20, 20};
  const AugmentOptions options = options_of(11);
  std::vector<Batch> batches;
  for (int i = 0; i < 4; ++i) batches.push_back(draw_batch(s, random));
  std::vector<std::vector<float>> alone, together(batches.size());
  for (const Batch& batch : batches) alone.push_back(on_the_host(s, options, batch));
  std::vector<std::thread> threads;
  const Augment& loop = kernels::implementations<Augment>(kernels::DeviceType::cpu).back();
  for (size_t i = 0; i < batches.size(); ++i)
    threads.emplace_back([&, i] {
      const Batch& batch = batches[i];
      together[i].resize(alone[i].size());
      kernels::Context context;
      for (int repeat = 0; repeat < 50; ++repeat)
        loop.forward(context, s, options, batch.seed, &batch.epoch, batch.images.data(),
                     batch.rows.empty() ? nullptr : batch.rows.data(), batch.items.data(), together[i].data());
    });
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < batches.size(); ++i) CHECK(same_bits(together[i], alone[i]));
}

TEST_CASE("augment: what a seed means never changes", "[augment]") {
  // From Philox words that a program of its own made (Python's integers), with the key and the counters {0 … 2, 4, 5,
  // 7}.
  AugmentOptions o = article();
  o.crop_padding = 4;
  const uint64_t seed = 0x0123456789abcdef;
  const AugmentParameters p = kernels::draw(o, seed, 5, 7);
  CHECK_FALSE(p.flip);  // 0.63034
  CHECK(std::fabs(p.rotation - -3.9155447483062744) < 1e-6);
  CHECK(std::fabs(p.shear - 7.125725746154785) < 1e-6);
  CHECK(std::fabs(p.scale - 1.0535979986190798) < 2e-7);
  CHECK(std::fabs(p.brightness - 1.0828241109848022) < 2e-7);
  CHECK(std::fabs(p.contrast - 0.830294156074524) < 2e-7);
  CHECK(std::fabs(p.saturation - 0.8556658267974854) < 2e-7);
  CHECK((p.shift_x == 4 && p.shift_y == 3));
  CHECK((p.cutout_x == 0xe2f061ed && p.cutout_y == 0x7ce8ea67));
  o.flip = 0.6303f;
  CHECK_FALSE(kernels::draw(o, seed, 5, 7).flip);
  o.flip = 0.6304f;
  CHECK(kernels::draw(o, seed, 5, 7).flip);

  // On the device: a grey pixel's brightness is word 0 of block 1, a cut pixel's place words 2 and 3 of block 2.
  AugmentOptions bright, cut;
  bright.brightness = 1;
  cut.cutout = 1;
  test::for_each_case(&Augment::forward, std::vector<AugmentShape>{{1, 1, 1, 1, 1}}, 0, draw_shape,
                      [&](const Augment& row, const AugmentShape& s, test::Random&) {
                        const Batch batch = {{100, 100, 100}, {}, {7}, seed, 5};
                        const auto y = forward(row, s, bright, batch);
                        const double factor = 2.0 * (0xb501e7b1 >> 8) / 0x1000000;
                        test::check_close(y, std::vector<double>(3, factor * 100 / 255), 4 * unit, 0);
                        return test::Outputs{y};
                      });
  test::for_each_case(&Augment::forward, std::vector<AugmentShape>{{1, 32, 32, 32, 32}}, 0, draw_shape,
                      [&](const Augment& row, const AugmentShape& s, test::Random&) {
                        const Batch batch = {std::vector<uint8_t>(3072, 255), {}, {7}, seed, 5};
                        std::vector<double> expected(3072, 1);
                        for (int c = 0; c < 3; ++c) expected[(15 * 32 + 28) * 3 + c] = 0;
                        const auto y = forward(row, s, cut, batch);
                        test::check_close(y, expected, 0, 0);
                        return test::Outputs{y};
                      });
}

namespace {

// What is random of a draw, as numbers that should be uniform in 0 … 1, all on.
std::vector<double> as_shares(const AugmentOptions& o, const AugmentParameters& p) {
  const auto symmetric = [](double value, double range) { return (value / range + 1) / 2; };
  return {
      symmetric(p.rotation, o.rotation),
      symmetric(p.shear, o.shear),
      (p.scale - o.scale_low) / double(o.scale_high - o.scale_low),
      symmetric(p.brightness - 1, o.brightness),
      symmetric(p.contrast - 1, o.contrast),
      symmetric(p.saturation - 1, o.saturation),
      p.cutout_x * 0x1p-32,
      p.cutout_y * 0x1p-32,
      (p.shift_x + o.crop_padding + 0.5) / (2 * o.crop_padding + 1),  // of few values: not in the checks of variance
      (p.shift_y + o.crop_padding + 0.5) / (2 * o.crop_padding + 1),
      double(p.flip)};
}

}  // namespace

TEST_CASE("augment: parameters are as evenly spread as their ranges say, and independent", "[augment]") {
  AugmentOptions o = article();
  o.crop_padding = 4, o.flip = 0.3f;
  constexpr int n = 10000;
  // Along images, epochs and seeds. Bounds are five standard errors: 1 in 1.7 million for each of the 500 checks.
  for (const char* along : {"items", "epochs", "seeds"}) {
    CAPTURE(along);
    std::vector<std::vector<double>> draws;
    for (uint32_t i = 0; i < n; ++i) {
      const AugmentParameters p = *along == 'i'   ? kernels::draw(o, 42, 3, i)
                                  : *along == 'e' ? kernels::draw(o, 42, i, 3)
                                                  : kernels::draw(o, i, 3, 3);
      const bool inside = std::fabs(p.rotation) <= 10 && std::fabs(p.shear) <= 10 && p.scale >= 0.8f &&
                          p.scale <= 1.2f && std::fabs(p.brightness - 1) <= 0.2f + 1e-7f &&
                          std::fabs(p.contrast - 1) <= 0.2f + 1e-7f && std::fabs(p.saturation - 1) <= 0.2f + 1e-7f &&
                          std::abs(p.shift_x) <= 4 && std::abs(p.shift_y) <= 4;
      REQUIRE(inside);
      draws.push_back(as_shares(o, p));
    }
    const size_t parameters = draws[0].size(), discrete = 8, flip = parameters - 1;
    std::vector<double> mean(parameters), variance(parameters);
    for (size_t k = 0; k < parameters; ++k) {
      CAPTURE(k);
      for (const auto& draw : draws) mean[k] += draw[k] / n;
      for (const auto& draw : draws) variance[k] += (draw[k] - mean[k]) * (draw[k] - mean[k]) / (n - 1);
      // A uniform number's variance is 1/12; that of 9 values is (1 - 1/81) / 12; flip's p (1 - p).
      const double expected = k == flip ? 0.3 * 0.7 : k >= discrete ? (1 - 1 / 81.0) / 12 : 1 / 12.0;
      CHECK(std::fabs(mean[k] - (k == flip ? 0.3 : 0.5)) < 5 * std::sqrt(expected / n));
      // The variance of n uniform numbers varies by σ² √((κ-1)/n), with their kurtosis κ = 1.8.
      if (k < discrete) CHECK(std::fabs(variance[k] - expected) < 5 * expected * std::sqrt(0.8 / n));
      if (k < discrete) {
        double low = 1, high = 0;
        for (const auto& draw : draws) low = std::min(low, draw[k]), high = std::max(high, draw[k]);
        CHECK((low < 15.0 / n && high > 1 - 15.0 / n));  // e^-15 that none comes so near to the ends
      }
    }
    for (size_t k = discrete; k < flip; ++k)
      for (int value = 0; value < 9; ++value) {
        int count = 0;
        for (const auto& draw : draws) count += static_cast<int>(draw[k] * 9) == value;
        CHECK(std::fabs(count - n / 9.0) < 5 * std::sqrt(n / 9.0 * (8 / 9.0)));
      }
    // Independent numbers' correlation varies by 1/√n: of two parameters, and of one with itself in the next draw.
    for (size_t k = 0; k < parameters; ++k)
      for (size_t l = 0; l <= k; ++l) {
        CAPTURE(k, l);
        double sum = 0;
        for (int i = 0; i < n; ++i) sum += (draws[i][k] - mean[k]) * (draws[(i + (k == l)) % n][l] - mean[l]);
        CHECK(std::fabs(sum / n / std::sqrt(variance[k] * variance[l])) < 5 / std::sqrt(n));
      }
  }
}

TEST_CASE("augment: an option changes its own parameters only", "[augment]") {
  AugmentOptions all = options_of(12);
  for (uint32_t item = 0; item < 100; ++item) {
    CAPTURE(item);
    const AugmentParameters p = kernels::draw(all, 9, 2, item), none = kernels::draw({}, 9, 2, item);
    CHECK((!none.flip && none.rotation == 0 && none.shear == 0 && none.scale == 1 && none.brightness == 1));
    CHECK((none.contrast == 1 && none.saturation == 1 && none.shift_x == 0 && none.shift_y == 0));
    AugmentOptions o;
    o.flip = all.flip;
    CHECK(kernels::draw(o, 9, 2, item).flip == p.flip);
    o = {}, o.rotation = all.rotation;
    CHECK(kernels::draw(o, 9, 2, item).rotation == p.rotation);
    o = {}, o.shear = all.shear;
    CHECK(kernels::draw(o, 9, 2, item).shear == p.shear);
    o = {}, o.scale_low = all.scale_low, o.scale_high = all.scale_high;
    CHECK(kernels::draw(o, 9, 2, item).scale == p.scale);
    o = {}, o.brightness = all.brightness;
    CHECK(kernels::draw(o, 9, 2, item).brightness == p.brightness);
    o = {}, o.contrast = all.contrast;
    CHECK(kernels::draw(o, 9, 2, item).contrast == p.contrast);
    o = {}, o.saturation = all.saturation;
    CHECK(kernels::draw(o, 9, 2, item).saturation == p.saturation);
    o = {}, o.crop_padding = all.crop_padding;
    CHECK((kernels::draw(o, 9, 2, item).shift_x == p.shift_x && kernels::draw(o, 9, 2, item).shift_y == p.shift_y));
    CHECK((none.cutout_x == p.cutout_x && none.cutout_y == p.cutout_y));
  }
}

TEST_CASE("augment refuses options out of range", "[augment]") {
  const auto message = [](auto change) -> std::string {
    AugmentOptions o;
    change(o);
    try {
      kernels::check(o);
    } catch (const kernels::Error& error) {
      return error.what();
    }
    return "";
  };
  const auto has = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  CHECK(message([](AugmentOptions&) {}).empty());
  CHECK(message([](AugmentOptions& o) { o = options_of(12); }).empty());
  CHECK(has(message([](AugmentOptions& o) { o.flip = 1.5f; }), "flip"));
  CHECK(has(message([](AugmentOptions& o) { o.flip = NAN; }), "flip"));
  CHECK(has(message([](AugmentOptions& o) { o.rotation = -1; }), "rotation"));
  CHECK(has(message([](AugmentOptions& o) { o.shear = 90; }), "shear"));
  CHECK(has(message([](AugmentOptions& o) { o.scale_low = 0; }), "scales"));
  CHECK(has(message([](AugmentOptions& o) { o.scale_low = 2; }), "scales"));
  CHECK(has(message([](AugmentOptions& o) { o.brightness = 2; }), "brightness"));
  CHECK(has(message([](AugmentOptions& o) { o.contrast = -0.1f; }), "contrast"));
  CHECK(has(message([](AugmentOptions& o) { o.saturation = INFINITY; }), "saturation"));
  CHECK(has(message([](AugmentOptions& o) { o.crop_padding = -1; }), "padding"));
  CHECK(has(message([](AugmentOptions& o) { o.cutout = -1; }), "cutout"));
  CHECK(has(message([](AugmentOptions& o) { o.mean[1] = NAN; }), "means"));
  CHECK(has(message([](AugmentOptions& o) { o.std[2] = 0; }), "deviations"));
  if (!test::device_present()) return;
  for (const Augment& row : kernels::implementations<Augment>(test::device_under_test())) {
    AugmentOptions o;
    o.flip = 2;
    const AugmentShape s = {1, 1, 1, 1, 1};
    INFO(row.name);
    CHECK_THROWS_AS(row.forward(test::context(row.workspace(s)), s, o, 0, 0, nullptr, nullptr, nullptr, nullptr),
                    kernels::Error);
  }
}
