#include "data/shapes.h"

#include <algorithm>
#include <set>

#include "catch.h"

using namespace data;

namespace {

// 64-bit FNV-1a.
uint64_t hash_of(const std::vector<uint8_t>& bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const uint8_t byte : bytes) hash = (hash ^ byte) * 0x100000001b3;
  return hash;
}

}  // namespace

TEST_CASE("shapes are the same bytes on every machine and compiler") {
  const Split split = draw_shapes(1000, 200, 0);
  CHECK(hash_of(split.train.images) == 0x045dcfe4e99f3c09);
  CHECK(hash_of(split.test.images) == 0xde197f2121620311);
}

TEST_CASE("shapes have the sizes asked for, ten names and balanced labels") {
  const Split split = draw_shapes(50, 20, 1);
  CHECK(split.train.size() == 50);
  CHECK(split.test.size() == 20);
  for (const Dataset* set : {&split.train, &split.test}) {
    CHECK(set->height == 32);
    CHECK(set->width == 32);
    CHECK(set->images.size() == set->size() * 32 * 32 * 3);
    CHECK(std::set<std::string>(set->class_names.begin(), set->class_names.end()).size() == 10);
    for (int label = 0; label < 10; ++label) {
      CHECK(size_t(std::count(set->labels.begin(), set->labels.end(), label)) == set->size() / 10);
    }
  }
  CHECK(draw_shapes(0, 0, 1).train.size() == 0);
}

TEST_CASE("a smaller set of shapes is the beginning of a larger one") {
  const Split small = draw_shapes(13, 7, 2), large = draw_shapes(30, 20, 2);
  CHECK(take(large.train, 13).images == small.train.images);
  CHECK(take(large.train, 13).labels == small.train.labels);
  CHECK(take(large.test, 7).images == small.test.images);
  CHECK(take(small.test, 100).size() == 7);
}

TEST_CASE("no two shapes are alike: over images, seeds, training and test") {
  std::set<std::string> seen;  // pixels as text: g++ 12 warns of comparing vectors, wrongly
  size_t drawn = 0;
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32}) {
    const Split split = draw_shapes(40, 40, seed);
    for (const Dataset* set : {&split.train, &split.test}) {
      for (size_t i = 0; i < set->size(); ++i, ++drawn) seen.emplace(set->image(i), set->image(i) + set->image_bytes());
    }
  }
  CHECK(seen.size() == drawn);
}
