#include "data/loader.h"

#include <atomic>
#include <ctime>
#include <map>
#include <set>
#include <string>

#include "catch.h"
#include "data/image.h"
#include "data/normalize.h"
#include "data/random.h"

using namespace data;
using Content = LoaderOptions::Content;

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

// Everything on at once: the article's set, cropping and cutout.
kernels::AugmentOptions everything() {
  kernels::AugmentOptions augment = only_normalize();
  augment.flip = 0.5f;
  augment.rotation = augment.shear = 10;
  augment.scale_low = 0.8f, augment.scale_high = 1.2f;
  augment.brightness = augment.contrast = augment.saturation = 0.2f;
  augment.crop_padding = 2;
  augment.cutout = 3;
  return augment;
}

LoaderOptions options_of(int batch, int workers, int prefetch = 3) {
  LoaderOptions options;
  options.batch = batch, options.workers = workers, options.prefetch = prefetch;
  options.shuffle = true;
  options.seed = 11;
  return options;
}

// A little while that differs from call to call, so that workers overtake each other.
void dawdle(uint32_t number) {
  std::this_thread::sleep_for(std::chrono::microseconds(number * 2654435761u >> 22));  // 0 … 1023
}

void dawdle_over(uint32_t epoch, HostBatch& batch) {
  dawdle(epoch + batch.items[0]);
  batch.labels.assign(batch.items.begin(), batch.items.end());
}

// The items of the batches that are left in an epoch, in order.
std::vector<size_t> rest(Loader& loader, int64_t steps) {
  std::vector<size_t> items;
  for (int64_t step = 0; step < steps; ++step) {
    const HostBatch& batch = loader.next();
    items.insert(items.end(), batch.items.begin(), batch.items.end());
  }
  return items;
}

// Every image of two epochs by (epoch, item), as the loader hands it out.
std::map<std::pair<uint32_t, uint32_t>, std::vector<float>> all_images(const Dataset& set,
                                                                       const LoaderOptions& options) {
  std::map<std::pair<uint32_t, uint32_t>, std::vector<float>> images;
  Loader loader(set, options);
  for (const uint32_t epoch : {0u, 1u}) {
    loader.start(epoch);
    for (int64_t step = 0; step < loader.steps(); ++step) {
      const HostBatch& batch = loader.next();
      const size_t values = batch.images.size() / batch.items.size();
      for (size_t b = 0; b < batch.items.size(); ++b) {
        CHECK(batch.labels[b] == set.labels[batch.items[b]]);
        const auto begin = batch.images.begin() + long(b * values);
        images[{epoch, batch.items[b]}] = {begin, begin + long(values)};
      }
    }
  }
  return images;
}

template <class Action>
std::string message_of(Action action) {
  try {
    action();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "no exception";
}

}  // namespace

TEST_CASE("the loader visits every image once, in an order that depends on seed and epoch alone") {
  const int workers = GENERATE(0, 1, 4);
  const int prefetch = GENERATE(1, 3);
  CAPTURE(workers, prefetch);
  Loader loader(103, options_of(10, workers, prefetch), dawdle_over);
  CHECK(loader.steps() == 11);
  for (const uint32_t epoch : {0u, 1u, 7u, 0u}) {
    loader.start(epoch);
    std::vector<size_t> items;
    for (int step = 0; step < 11; ++step) {
      const HostBatch& batch = loader.next();
      CHECK(batch.items.size() == (step < 10 ? 10u : 3u));
      CHECK(batch.labels == std::vector<int32_t>(batch.items.begin(), batch.items.end()));
      items.insert(items.end(), batch.items.begin(), batch.items.end());
    }
    CHECK(items == shuffled_indices(103, 11, epoch));
    CHECK(message_of([&] { loader.next(); }) ==
          "Loader: epoch " + std::to_string(epoch) + " has no more than 11 batches");
  }
}

TEST_CASE("without shuffling the loader keeps the set's order") {
  LoaderOptions options = options_of(4, 2);
  options.shuffle = false;
  Loader loader(10, options, dawdle_over);
  for (const uint32_t epoch : {0u, 5u}) {
    loader.start(epoch);
    CHECK(rest(loader, 3) == std::vector<size_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  }
}

TEST_CASE("two worker counts and two batch sizes give the same images") {
  const Dataset set = random_set(50, 12, 10);
  LoaderOptions options = options_of(7, 0);
  options.augment = everything();
  options.resolution = GENERATE(0, 16);
  const auto expected = all_images(set, options);
  REQUIRE(expected.size() == 100);
  CHECK(expected.at({0, 3}) != expected.at({1, 3}));  // a new epoch, a new image
  for (const auto& [batch, workers, prefetch] : {std::tuple{7, 1, 3}, {7, 3, 2}, {50, 2, 1}, {1, 2, 5}, {64, 0, 1}}) {
    options.batch = batch, options.workers = workers, options.prefetch = prefetch;
    CAPTURE(batch, workers, prefetch);
    CHECK(all_images(set, options) == expected);
  }
  options.seed = 12;
  CHECK(all_images(set, options) != expected);
}

TEST_CASE("without augmentation, images are resized and normalised") {
  const Dataset set = random_set(9, 6, 8);
  LoaderOptions options = options_of(4, 2);
  const int resolution = GENERATE(0, 4, 16);
  options.resolution = resolution;
  const auto images = all_images(set, options);
  for (uint32_t item = 0; item < 9; ++item) {
    Image image{6, 8, std::vector<uint8_t>(set.image(item), set.image(item) + set.image_bytes())};
    if (resolution > 0) image = resize(image, resolution, resolution);
    std::vector<float> expected(image.pixels.size());
    normalize(image.pixels.data(), expected.size() / 3, Normalization{}, expected.data());
    CHECK(images.at({0, item}) == expected);
  }
}

TEST_CASE("a flip alone mirrors about half of the images left to right") {
  const Dataset set = random_set(200, 3, 4);
  LoaderOptions options = options_of(64, 1);
  const auto plain = all_images(set, options);
  options.augment.flip = 0.5f;
  const auto flipped = all_images(set, options);
  int mirrored = 0;
  for (const auto& [which, image] : flipped) {
    std::vector<float> mirror;
    for (size_t i = 0; i < 3 * 4 * 3; ++i)
      mirror.push_back(plain.at(which)[i / 12 * 12 + (3 - i % 12 / 3) * 3 + i % 3]);
    REQUIRE((image == plain.at(which)) != (image == mirror));
    mirrored += image == mirror;
  }
  CHECK(std::abs(mirrored - 200) < 50);  // of 400: five standard deviations
}

TEST_CASE("bytes are those of the set, or resized") {
  const Dataset set = random_set(9, 6, 8);
  LoaderOptions options = options_of(4, 2);
  options.content = Content::bytes;
  const int resolution = GENERATE(0, 4);
  options.resolution = resolution;
  Loader loader(set, options);
  for (int step = 0; step < 3; ++step) {
    const HostBatch& batch = loader.next();
    CHECK(batch.images.empty());
    std::vector<uint8_t> expected;
    for (const uint32_t item : batch.items) {
      Image image{6, 8, std::vector<uint8_t>(set.image(item), set.image(item) + set.image_bytes())};
      if (resolution > 0) image = resize(image, resolution, resolution);
      expected.insert(expected.end(), image.pixels.begin(), image.pixels.end());
    }
    CHECK(batch.bytes == expected);
  }
}

TEST_CASE("indices come with labels and nothing else") {
  const Dataset set = random_set(9, 6, 8);
  LoaderOptions options = options_of(9, 1);
  options.content = Content::indices;
  Loader loader(set, options);
  const HostBatch& batch = loader.next();
  REQUIRE(batch.items.size() == 9);
  for (size_t b = 0; b < 9; ++b) CHECK(batch.labels[b] == set.labels[batch.items[b]]);
  CHECK(batch.bytes.empty());
  CHECK(batch.images.empty());
}

TEST_CASE("an epoch can begin in the middle and end early") {
  const int workers = GENERATE(0, 1, 3);
  CAPTURE(workers);
  Loader loader(95, options_of(10, workers), dawdle_over);
  const auto from = [](uint32_t epoch, size_t step) {
    std::vector<size_t> items = shuffled_indices(95, 11, epoch);
    items.erase(items.begin(), items.begin() + long(10 * step));
    return items;
  };
  loader.start(2, 4);
  CHECK(rest(loader, 6) == from(2, 4));
  loader.start(3);
  rest(loader, 2);  // and no more: the batches made ahead are thrown away
  loader.start(3, 1);
  CHECK(rest(loader, 9) == from(3, 1));
  loader.start(4, 9);
  CHECK(rest(loader, 1) == from(4, 9));
  loader.start(4, 10);  // resumed behind the last step
  CHECK_THROWS_AS(loader.next(), std::out_of_range);
  for (uint32_t epoch = 0; epoch < 50; ++epoch) loader.start(epoch, epoch % 10);
  CHECK(rest(loader, 1) == std::vector<size_t>(from(49, 9)));

  CHECK(message_of([&] { loader.start(0, 11); }) == "Loader: step 11 of an epoch of 10 steps");
  CHECK(message_of([&] { loader.start(0, -1); }) == "Loader: step -1 of an epoch of 10 steps");
}

TEST_CASE("an exception in a worker reaches next() at its batch, and the loader goes on after it") {
  const int workers = GENERATE(0, 1, 3);
  CAPTURE(workers);
  std::atomic<bool> broken = true;
  LoaderOptions options = options_of(10, workers);
  options.shuffle = false;
  Loader loader(60, options, [&](uint32_t epoch, HostBatch& batch) {
    dawdle_over(epoch, batch);
    if (broken && batch.items[0] == 20) throw std::runtime_error("image 20 is broken");
  });
  loader.start(0);
  CHECK(rest(loader, 2).size() == 20);
  CHECK(message_of([&] { loader.next(); }) == "image 20 is broken");
  CHECK(message_of([&] { loader.next(); }) == "image 20 is broken");
  broken = false;
  loader.start(0, 2);
  CHECK(rest(loader, 4).front() == 20);
}

TEST_CASE("workers make `prefetch` batches ahead and no more, in buffers that are used again") {
  constexpr int prefetch = 3;
  std::atomic<int> made = 0;
  Loader loader(400, options_of(4, 2, prefetch), [&](uint32_t, HostBatch& batch) {
    batch.bytes.assign(batch.items.begin(), batch.items.end());
    ++made;
  });
  const auto wait_until_made = [&](int count) {
    while (made < count) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // to catch one too many
    CHECK(made == count);
  };
  std::set<const void*> buffers;
  for (uint32_t epoch = 0; epoch < 2; ++epoch) {
    made = 0;
    loader.start(epoch);
    for (int step = 0; step < 100; ++step) {
      const HostBatch& batch = loader.next();
      const HostBatch kept = batch;
      wait_until_made(std::min(step + 1 + prefetch, 100));
      CHECK(kept.items == batch.items);  // not overwritten while the caller has it
      CHECK(kept.bytes == batch.bytes);
      buffers.insert(batch.bytes.data());
    }
  }
  CHECK(buffers.size() == prefetch + 1);
}

TEST_CASE("a loader can be destroyed at any time") {
  const int workers = GENERATE(0, 1, 4);
  const int taken = GENERATE(0, 1, 3);
  CAPTURE(workers, taken);
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> inside = 0;
    {
      Loader loader(1000, options_of(10, workers), [&](uint32_t epoch, HostBatch& batch) {
        ++inside;
        dawdle_over(epoch, batch);
        --inside;
      });
      rest(loader, taken);
      dawdle(uint32_t(round));
    }
    CHECK(inside == 0);
  }
}

TEST_CASE("the loader says how long training waited for it") {
  LoaderOptions options = options_of(10, GENERATE(0, 1), 1);
  Loader loader(20, options, [](uint32_t, HostBatch&) { std::this_thread::sleep_for(std::chrono::milliseconds(20)); });
  CHECK(loader.seconds_waited() == 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  loader.start(1);  // from here, at least one batch takes its 20 ms after next() was called, less what went by before
  const auto began = std::chrono::steady_clock::now();
  rest(loader, 2);
  const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  CHECK(loader.seconds_waited() > 0);
  CHECK(loader.seconds_waited() <= took);
}

TEST_CASE("the loader refuses options and sets that cannot be") {
  const Dataset set = random_set(5, 2, 2);
  const auto message = [&](void (*change)(LoaderOptions&)) {
    LoaderOptions options;
    change(options);
    return message_of([&] { Loader loader(set, options); });
  };
  CHECK(message([](LoaderOptions& o) { o.batch = 0; }) == "Loader: batch = 0; expected 1 or more");
  CHECK(message([](LoaderOptions& o) { o.workers = -1; }) == "Loader: workers = -1; expected 0 or more");
  CHECK(message([](LoaderOptions& o) { o.prefetch = 0; }) == "Loader: prefetch = 0; expected 1 or more");
  CHECK(message([](LoaderOptions& o) { o.resolution = -32; }) == "Loader: resolution = -32; expected 0 or more");
  LoaderOptions options;
  options.augment.flip = 2;
  CHECK_THROWS_AS(Loader(set, options), kernels::Error);
  const auto message_for = [](const Dataset& bad) { return message_of([&] { Loader loader(bad, {}); }); };
  CHECK(message_for(take(set, 0)) == "Loader: a set of 0 images; expected 1 … 2^32 - 1");
  Dataset bad = set;
  bad.labels[3] = 3;
  CHECK(message_for(bad) == "Loader: image 3 has label 3 of 3 classes");
  bad.labels[3] = -1;
  CHECK(message_for(bad) == "Loader: image 3 has label -1 of 3 classes");
  bad = set;
  bad.images.pop_back();
  CHECK(message_for(bad) == "Loader: a set of 5 images of 2x2 has 59 bytes; expected 60");
}

// Not run unless asked for: data_tests "[throughput]". CPU time, so that what else runs here does not count.
TEST_CASE("loading and augmenting, images a second of a core's time", "[.throughput]") {
  const Dataset set = random_set(20000, 32, 32);
  kernels::AugmentOptions article = everything();
  article.crop_padding = article.cutout = 0;
  for (const int resolution : {32, 96}) {
    for (const int workers : {0, 1, 2}) {
      LoaderOptions options = options_of(128, workers);
      options.augment = article, options.resolution = resolution;
      Loader loader(set, options);
      const std::clock_t began = std::clock();
      rest(loader, loader.steps());
      const double seconds = double(std::clock() - began) / CLOCKS_PER_SEC;
      WARN(resolution << "x" << resolution << ", " << workers << " workers: " << int(double(set.size()) / seconds));
    }
  }
}
