#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "kernels/common/philox.h"

// Random numbers that depend only on what they are for. A counter-based generator has no state to carry along: it maps
// a key (the seed) and a counter (what, which epoch, which item, how many so far) to random bits. So the flip of image
// 17 in epoch 3 is the same whatever the batch size, the number of workers or the order in which images are drawn. The
// distributions are ours too: those of <random> may give other numbers with another standard library.
namespace data {

// kernels/common/philox.h, which says where it comes from, with std::array's words.
constexpr std::array<uint32_t, 4> philox4x32_10(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  const kernels::PhiloxWords words =
      kernels::philox4x32_10({{counter[0], counter[1], counter[2], counter[3]}}, uint64_t{key[1]} << 32 | key[0]);
  return {words.word[0], words.word[1], words.word[2], words.word[3]};
}

// What a stream of numbers is for: no two purposes share numbers. The values are part of what a seed means: never
// renumber. (augment's are drawn by kernels/augment.)
enum class Purpose : uint32_t {
  shuffle = 0,
  flip = 1,  // drawn by no one any more
  shapes_train = 2,
  shapes_test = 3,
  augment = 4,
  hold_out = 5,
  image_folder = 6
};

// The stream of random numbers of one (seed, purpose, epoch, item): up to 2^34 of them.
class Random {
 public:
  constexpr Random(uint64_t seed, Purpose purpose, uint32_t epoch, uint32_t item)
      : key_{uint32_t(seed), uint32_t(seed >> 32)}, counter_{0, uint32_t(purpose), epoch, item} {}

  constexpr uint32_t next() {  // 32 random bits
    if (used_ == 4) {
      words_ = philox4x32_10(counter_, key_);
      ++counter_[0];
      used_ = 0;
    }
    return words_[used_++];
  }

  constexpr float uniform() { return float(next() >> 8) * 0x1p-24f; }  // in [0, 1), a multiple of 2^-24

  // In 0 … n - 1, each equally likely; n > 0. D. Lemire, "Fast random integer generation in an interval", 2019,
  // algorithm 5: the high half of next() * n, drawn again in the few cases that would make some results likelier than
  // others.
  constexpr uint32_t below(uint32_t n) {
    uint64_t product = uint64_t{next()} * n;
    if (uint32_t(product) < n) {
      const uint32_t excess = (0u - n) % n;  // 2^32 mod n
      while (uint32_t(product) < excess) product = uint64_t{next()} * n;
    }
    return uint32_t(product >> 32);
  }

  constexpr int between(int low, int high) { return low + int(below(uint32_t(high - low + 1))); }  // in low … high

 private:
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 4> counter_;
  std::array<uint32_t, 4> words_{};
  int used_ = 4;
};

// 0 … n - 1 in an order that depends on seed and epoch alone (Fisher-Yates): the order in which an epoch visits n
// images, n below 2^32.
inline std::vector<size_t> shuffled_indices(size_t n, uint64_t seed, uint32_t epoch,
                                            Purpose purpose = Purpose::shuffle) {
  std::vector<size_t> indices(n);
  std::iota(indices.begin(), indices.end(), size_t{0});
  Random random(seed, purpose, epoch, 0);
  for (size_t i = n; i > 1; --i) std::swap(indices[i - 1], indices[random.below(uint32_t(i))]);
  return indices;
}

}  // namespace data
