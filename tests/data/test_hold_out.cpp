#include "data/hold_out.h"

#include <algorithm>
#include <string>

#include "files.h"

using namespace data;

namespace {

// Image i is 2×1 pixels of value i mod 256, label i mod 3.
Dataset numbered_set(size_t size) {
  Dataset set{2, 1, {"a", "b", "c"}, {}, {}};
  for (size_t i = 0; i < size; ++i) {
    set.images.insert(set.images.end(), 6, uint8_t(i));
    set.labels.push_back(int32_t(i % 3));
  }
  return set;
}

// The numbers of a set's images, each checked to be whole and to have its label.
std::vector<int> numbers(const Dataset& set) {
  std::vector<int> result;
  CHECK(set.class_names == std::vector<std::string>{"a", "b", "c"});
  REQUIRE(set.images.size() == set.size() * 6);
  for (size_t i = 0; i < set.size(); ++i) {
    const uint8_t* image = set.image(i);
    CHECK(std::count(image, image + 6, image[0]) == 6);
    CHECK(set.labels[i] == image[0] % 3);
    result.push_back(image[0]);
  }
  return result;
}

std::vector<int> all_of(const HeldOut& parts) {
  std::vector<int> all = numbers(parts.rest);
  for (const int number : numbers(parts.validation)) all.push_back(number);
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace

TEST_CASE("holding out splits a set in two and keeps the order in both") {
  const Dataset set = numbered_set(200);
  const HeldOut parts = hold_out(set, 0.1, 3);
  CHECK(parts.validation.size() == 20);
  CHECK(parts.rest.size() == 180);
  CHECK(all_of(parts) == numbers(set));
  const std::vector<int> validation = numbers(parts.validation), rest = numbers(parts.rest);
  CHECK(std::is_sorted(validation.begin(), validation.end()));
  CHECK(std::is_sorted(rest.begin(), rest.end()));
  CHECK(validation.front() < 100);  // not all from one end: with 20 of 200 at random, once in a million
  CHECK(validation.back() >= 100);
}

TEST_CASE("which images are held out depends on the seed") {
  const auto held_out = [](uint64_t seed) { return numbers(hold_out(numbered_set(200), 0.1, seed).validation); };
  CHECK(held_out(1) == held_out(1));
  CHECK(held_out(1) != held_out(2));
}

TEST_CASE("each image is held out equally often") {
  std::vector<int> times(20);
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    for (const int number : numbers(hold_out(numbered_set(20), 0.25, seed).validation)) ++times[size_t(number)];
  }
  // Binomial with n = 1000, p = 1/4: five standard deviations are 68.
  for (const int count : times) CHECK(std::abs(count - 250) <= 68);
}

TEST_CASE("at least one image is on each side") {
  CHECK(hold_out(numbered_set(3), 0.01, 0).validation.size() == 1);
  CHECK(hold_out(numbered_set(3), 0.99, 0).validation.size() == 2);
  CHECK(hold_out(numbered_set(2), 0.5, 0).validation.size() == 1);
  CHECK(hold_out(numbered_set(9), 0.5, 0).validation.size() == 5);  // rounded
  CHECK(error_of([] { hold_out(numbered_set(1), 0.5, 0); }) ==
        "a set of 1 images has none to hold out; expected at least 2");
  for (const double fraction : {0.0, 1.0, -0.1, std::numeric_limits<double>::quiet_NaN()}) {
    CHECK_THROWS_AS(hold_out(numbered_set(5), fraction, 0), std::invalid_argument);
  }
}

TEST_CASE("the article's way holds out the first images") {
  const HeldOut parts = hold_out_first(numbered_set(30), 10);
  CHECK(numbers(parts.validation) == std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  CHECK(parts.rest.size() == 20);
  CHECK(all_of(parts) == numbers(numbered_set(30)));
  CHECK(hold_out_first(numbered_set(1001)).validation.size() == 1000);
  CHECK(error_of([] { hold_out_first(numbered_set(1000)); }) ==
        "a test set of 1000 images; expected more than 1000, the first 1000 of which validate");
}
