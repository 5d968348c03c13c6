// Shuffles, votes, matches and reductions of a warp.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <string>

#include "catch.h"
#include "launch.h"

namespace simt_tests {
namespace {

constexpr uint64_t seeds[] = {0, 1, 2, 12345};
constexpr unsigned full = 0xffffffffu;

// ---- shuffles against the text of CUDA's manual ----

enum class Kind { index, up, down, exclusive_or };

template <class T>
__global__ void shuffle(Kind kind, const T* in, T* out, int argument, int width) {
  T value = in[threadIdx.x], result{};
  if (kind == Kind::index) result = __shfl_sync(full, value, argument, width);
  if (kind == Kind::up) result = __shfl_up_sync(full, value, static_cast<unsigned>(argument), width);
  if (kind == Kind::down) result = __shfl_down_sync(full, value, static_cast<unsigned>(argument), width);
  if (kind == Kind::exclusive_or) result = __shfl_xor_sync(full, value, argument, width);
  out[threadIdx.x] = result;
}

// The lane that `lane` reads.
int source_lane(Kind kind, int lane, int argument, int width) {
  int first = lane / width * width, last = first + width - 1;
  if (kind == Kind::index) return first + argument % width;
  if (kind == Kind::up) return lane - argument >= first ? lane - argument : lane;
  if (kind == Kind::down) return lane + argument <= last ? lane + argument : lane;
  return (lane ^ argument) <= last ? lane ^ argument : lane;
}

template <class T>
void check_shuffles() {
  std::vector<T> in(64), out(64);
  for (int i = 0; i < 64; ++i) in[static_cast<size_t>(i)] = static_cast<T>(i * 3 - 50) / static_cast<T>(2);
  if (sizeof(T) == 8) in[5] = static_cast<T>(1.0e15);  // more than 32 bits
  int wrong = 0;
  for (Kind kind : {Kind::index, Kind::up, Kind::down, Kind::exclusive_or}) {
    for (int width : {32, 16, 8, 4, 2, 1}) {
      for (int argument : {0, 1, 2, 3, 7, 15, 16, 31}) {
        REQUIRE(launch(shuffle<T>, {1, 64}, kind, in.data(), out.data(), argument, width) == cudaSuccess);
        for (int i = 0; i < 64; ++i) {
          int from = i / 32 * 32 + source_lane(kind, i % 32, argument, width);
          wrong += out[static_cast<size_t>(i)] != in[static_cast<size_t>(from)];
        }
      }
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("shuffles of every type, distance and width") {
  Settings restore;
  for (uint64_t seed : seeds) {
    simt::set_order_seed(seed);
    check_shuffles<int>();
    check_shuffles<unsigned>();
    check_shuffles<long long>();
    check_shuffles<unsigned long long>();
    check_shuffles<float>();
    check_shuffles<double>();
  }
}

__global__ void sums(const float* in, float* out) {
  float down = in[threadIdx.x], butterfly = down;
  for (int offset = 16; offset > 0; offset /= 2) {
    down += __shfl_down_sync(full, down, offset);
    butterfly += __shfl_xor_sync(full, butterfly, offset);
  }
  if (threadIdx.x % 32 == 0) out[threadIdx.x / 32] = down;
  out[4 + threadIdx.x] = butterfly;
}

TEST_CASE("a warp sums by shuffles, one after the other without a barrier") {
  Settings restore;
  for (uint64_t seed : seeds) {
    simt::set_order_seed(seed);
    std::vector<float> in(128), out(4 + 128);
    for (size_t i = 0; i < 128; ++i) in[i] = static_cast<float>(i);
    REQUIRE(launch(sums, {1, 128}, in.data(), out.data()) == cudaSuccess);
    for (size_t w = 0; w < 4; ++w) {
      float sum = static_cast<float>(32 * 32 * w + 496);
      CHECK(out[w] == sum);
      CHECK(std::all_of(&out[4 + w * 32], &out[4 + w * 32] + 32, [&](float v) { return v == sum; }));
    }
  }
}

// ---- parts of a warp ----

// Even and odd lanes shuffle among themselves, a different number of times, and then all together.
__global__ void halves(int* out) {
  int lane = static_cast<int>(threadIdx.x % 32), value = lane;
  if (lane % 2 == 0) {
    for (int i = 0; i < 3; ++i) value = __shfl_sync(0x55555555u, value, (lane + 2) % 32);
  } else {
    value = __shfl_sync(0xaaaaaaaau, value, (lane + 30) % 32);
  }
  value += 100 * __shfl_xor_sync(full, value, 1);
  out[threadIdx.x] = value;
}

TEST_CASE("the lanes of a mask do not wait for the others") {
  Settings restore;
  for (uint64_t seed : seeds) {
    simt::set_order_seed(seed);
    std::vector<int> out(96);
    REQUIRE(launch(halves, {1, 96}, out.data()) == cudaSuccess);
    int wrong = 0;
    for (int i = 0; i < 96; ++i) {
      auto moved = [](int lane) { return lane % 2 == 0 ? (lane + 6) % 32 : (lane + 30) % 32; };
      wrong += out[static_cast<size_t>(i)] != moved(i % 32) + 100 * moved(i % 32 ^ 1);
    }
    CHECK(wrong == 0);
  }
}

__global__ void partial_warp(unsigned* ballots, float* neighbours) {
  ballots[threadIdx.x] = __ballot_sync(full, threadIdx.x % 2 == 0);
  neighbours[threadIdx.x] = __shfl_down_sync(full, static_cast<float>(threadIdx.x), 1);
}

TEST_CASE("a block's last warp may be partial: lanes beyond its end are not waited for and read as poison") {
  std::vector<unsigned> ballots(40);
  std::vector<float> neighbours(40);
  REQUIRE(launch(partial_warp, {1, 40}, ballots.data(), neighbours.data()) == cudaSuccess);
  CHECK(ballots[0] == 0x55555555u);
  CHECK(ballots[39] == 0x55u);
  CHECK(neighbours[38] == 39);
  CHECK(std::isnan(neighbours[39]));
  CHECK(neighbours[31] == 31);
}

__global__ void read_outside_mask(unsigned* out) {
  if (threadIdx.x < 4) out[threadIdx.x] = __shfl_sync(0xfu, threadIdx.x, 4 + static_cast<int>(threadIdx.x) % 2 * -3);
}

TEST_CASE("reading a lane that is not in the mask gives poison") {
  std::vector<unsigned> out(4);
  REQUIRE(launch(read_outside_mask, {1, 32}, out.data()) == cudaSuccess);
  CHECK(out == std::vector<unsigned>{full, 1, full, 1});
}

// ---- memory between lanes ----

__global__ void exchange_in_shared(int* out) {
  __shared__ int slots[64];
  slots[threadIdx.x] = static_cast<int>(threadIdx.x);
  __syncwarp();
  int neighbour = slots[threadIdx.x ^ 1];
  __syncwarp();
  slots[threadIdx.x] = neighbour * 2;
  __syncwarp(0x0000ffffu << threadIdx.x % 32 / 16 * 16);
  out[threadIdx.x] = slots[threadIdx.x ^ 15];
}

TEST_CASE("__syncwarp orders the accesses of a warp") {
  Settings restore;
  for (uint64_t seed : seeds) {
    simt::set_order_seed(seed);
    std::vector<int> out(64);
    REQUIRE(launch(exchange_in_shared, {1, 64}, out.data()) == cudaSuccess);
    int wrong = 0;
    for (int i = 0; i < 64; ++i) wrong += out[static_cast<size_t>(i)] != (i ^ 15 ^ 1) * 2;
    CHECK(wrong == 0);
  }
}

// ---- votes, matches, reductions ----

struct Votes {
  unsigned ballot, active, match, all_same, all_same_not;
  int any_none, any_one, all_true, all_but_one, predicate, predicate_not;
};

__global__ void vote(Votes* out) {
  int lane = static_cast<int>(threadIdx.x % 32);
  Votes& v = out[threadIdx.x];
  v.ballot = __ballot_sync(full, lane % 4 == 1 ? 8 : 0);
  v.active = __activemask();
  v.any_none = __any_sync(full, 0);
  v.any_one = __any_sync(full, lane == 31);
  v.all_true = __all_sync(full, 5);
  v.all_but_one = __all_sync(full, lane != 31);
  v.match = __match_any_sync(full, lane / 8 % 2 == 0 ? 1.5 : -1.5);
  v.all_same = __match_all_sync(full, 7LL << 40, &v.predicate);
  v.all_same_not = __match_all_sync(full, lane == 3, &v.predicate_not);
}

TEST_CASE("votes and matches") {
  Settings restore;
  for (uint64_t seed : seeds) {
    simt::set_order_seed(seed);
    std::vector<Votes> out(64);
    REQUIRE(launch(vote, {1, 64}, out.data()) == cudaSuccess);
    for (unsigned i = 0; i < 64; ++i) {
      const Votes& v = out[i];
      bool right = v.ballot == 0x22222222u && (v.active >> i % 32 & 1) == 1 && v.any_none == 0 && v.any_one == 1 &&
                   v.all_true == 1 && v.all_but_one == 0 && v.match == (i / 8 % 2 == 0 ? 0x00ff00ffu : 0xff00ff00u) &&
                   v.all_same == full && v.predicate == 1 && v.all_same_not == 0 && v.predicate_not == 0;
      if (!right) FAIL("lane " << i << ", seed " << seed);
    }
  }
}

struct Reductions {
  unsigned add, min, max, all_and, all_or, all_xor;
  int signed_add, signed_min, signed_max;
};

__global__ void reduce(Reductions* out) {
  unsigned lane = threadIdx.x % 32, mask = lane < 8 ? 0xffu : 0xffffff00u;
  unsigned x = lane * 0x08000001u;  // wraps, and its sign varies
  int s = static_cast<int>(lane) - 20;
  out[threadIdx.x] = {__reduce_add_sync(mask, x), __reduce_min_sync(mask, x), __reduce_max_sync(mask, x),
                      __reduce_and_sync(mask, x), __reduce_or_sync(mask, x),  __reduce_xor_sync(mask, x),
                      __reduce_add_sync(mask, s), __reduce_min_sync(mask, s), __reduce_max_sync(mask, s)};
}

TEST_CASE("reductions, signed and unsigned") {
  std::vector<Reductions> out(32);
  REQUIRE(launch(reduce, {1, 32}, out.data()) == cudaSuccess);
  for (unsigned begin : {0u, 8u}) {
    Reductions expected = {0, full, 0, full, 0, 0, 0, 100, -100};
    for (unsigned lane = begin; lane < (begin == 0 ? 8u : 32u); ++lane) {
      unsigned x = lane * 0x08000001u;
      int s = static_cast<int>(lane) - 20;
      expected.add += x;
      expected.min = std::min(expected.min, x);
      expected.max = std::max(expected.max, x);
      expected.all_and &= x;
      expected.all_or |= x;
      expected.all_xor ^= x;
      expected.signed_add += s;
      expected.signed_min = std::min(expected.signed_min, s);
      expected.signed_max = std::max(expected.signed_max, s);
    }
    for (unsigned lane : {begin, begin + 7}) {
      const Reductions& r = out[lane];
      CHECK(r.add == expected.add);
      CHECK(r.min == expected.min);
      CHECK(r.max == expected.max);
      CHECK(r.all_and == expected.all_and);
      CHECK(r.all_or == expected.all_or);
      CHECK(r.all_xor == expected.all_xor);
      CHECK(r.signed_add == expected.signed_add);
      CHECK(r.signed_min == expected.signed_min);
      CHECK(r.signed_max == expected.signed_max);
    }
  }
}

// Warps of a three-dimensional block are cut from the linear thread index.
__global__ void lanes_in_3d(int* out) {
  unsigned linear = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  out[linear] = __shfl_sync(full, static_cast<int>(linear), 0);
}

TEST_CASE("warps of a three-dimensional block") {
  std::vector<int> out(5 * 4 * 8);
  REQUIRE(launch(lanes_in_3d, {1, dim3(5, 4, 8)}, out.data()) == cudaSuccess);
  int wrong = 0;
  for (int i = 0; i < 160; ++i) wrong += out[static_cast<size_t>(i)] != i / 32 * 32;
  CHECK(wrong == 0);
}

}  // namespace
}  // namespace simt_tests
