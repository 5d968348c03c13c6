#include "data/random.h"

#include <algorithm>
#include <cmath>

#include "catch.h"

using namespace data;

TEST_CASE("philox4x32_10 gives the known answers of Random123") {  // its file tests/kat_vectors
  using Words = std::array<uint32_t, 4>;
  CHECK(philox4x32_10({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox4x32_10({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("a stream goes through the blocks of its own counter") {
  Random random(0x0123456789abcdef, Purpose::flip, 5, 7);
  for (uint32_t block = 0; block < 3; ++block) {
    for (const uint32_t word : philox4x32_10({block, 1, 5, 7}, {0x89abcdef, 0x01234567})) CHECK(random.next() == word);
  }
}

TEST_CASE("uniform numbers fill [0, 1) evenly") {
  Random random(1, Purpose::shuffle, 0, 0);
  constexpr int n = 100000, bins = 10;
  int count[bins] = {};
  for (int i = 0; i < n; ++i) {
    const float u = random.uniform();
    REQUIRE(u >= 0.0f);
    REQUIRE(u < 1.0f);
    ++count[int(u * bins)];
  }
  const double deviation = std::sqrt(n * 0.1 * 0.9);
  for (const int c : count) CHECK(std::abs(c - n * 0.1) < 5 * deviation);
}

TEST_CASE("below(n) favours no number, for n where a remainder would") {
  // next() % n would give the first third of 0 … 3·2^30 - 1 twice as often as the rest; a plain high product, every
  // third.
  constexpr uint32_t n = 3u << 30;
  Random random(2, Purpose::shuffle, 0, 0);
  constexpr int draws = 30000;
  int third[3] = {}, residue[3] = {};
  for (int i = 0; i < draws; ++i) {
    const uint32_t value = random.below(n);
    REQUIRE(value < n);
    ++third[value >> 30];
    ++residue[value % 3];
  }
  const double deviation = std::sqrt(draws * (1.0 / 3) * (2.0 / 3));
  for (int i = 0; i < 3; ++i) {
    CHECK(std::abs(third[i] - draws / 3.0) < 5 * deviation);
    CHECK(std::abs(residue[i] - draws / 3.0) < 5 * deviation);
  }
  for (int i = 0; i < 100; ++i) CHECK(random.below(1) == 0);
  bool seen[3] = {};
  for (int i = 0; i < 100; ++i) seen[random.between(-1, 1) + 1] = true;
  CHECK((seen[0] && seen[1] && seen[2]));
}

TEST_CASE("a shuffle is a permutation that depends on seed and epoch alone") {
  const std::vector<size_t> order = shuffled_indices(1000, 3, 4);
  CHECK(order == shuffled_indices(1000, 3, 4));
  CHECK(order != shuffled_indices(1000, 3, 5));
  CHECK(order != shuffled_indices(1000, 4, 4));
  std::vector<size_t> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  for (size_t i = 0; i < sorted.size(); ++i) REQUIRE(sorted[i] == i);
  CHECK(shuffled_indices(0, 1, 1).empty());
  CHECK(shuffled_indices(1, 1, 1) == std::vector<size_t>{0});
  // The order itself is part of what a seed means: training runs repeat only while it stays.
  CHECK(shuffled_indices(10, 1, 0) == std::vector<size_t>{2, 0, 3, 1, 5, 6, 7, 4, 9, 8});
}

TEST_CASE("each image is as likely at each place of a shuffle") {
  constexpr int n = 5, draws = 20000;
  int count[n][n] = {};
  for (int epoch = 0; epoch < draws; ++epoch) {
    const std::vector<size_t> order = shuffled_indices(n, 9, uint32_t(epoch));
    for (int place = 0; place < n; ++place) ++count[place][order[size_t(place)]];
  }
  const double deviation = std::sqrt(draws * 0.2 * 0.8);
  for (const auto& row : count) {
    for (const int c : row) CHECK(std::abs(c - draws * 0.2) < 5 * deviation);
  }
}
