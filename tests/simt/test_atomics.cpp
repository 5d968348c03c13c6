// Atomics between threads, blocks and OS threads.

#include <algorithm>
#include <numeric>

#include "catch.h"
#include "launch.h"

namespace simt_tests {
namespace {

constexpr int blocks = 64, threads = 256, rounds = 50, total = blocks * threads * rounds;

struct Totals {
  int add, sub, min, max, bits_or, bits_and, bits_xor, cas;
  unsigned inc, dec, inc_wraps;
  unsigned long long add64, max64;
  float add_float;
  double add_double;
};

__global__ void all_atomics(Totals* t) {
  int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  for (int round = 0; round < rounds; ++round) {
    atomicAdd(&t->add, 1);
    atomicSub(&t->sub, 2);
    atomicMin(&t->min, -i);
    atomicMax(&t->max, i);
    atomicOr(&t->bits_or, 1 << i % 31);
    atomicAnd(&t->bits_and, ~(1 << i % 31));
    atomicXor(&t->bits_xor, 1 << i % 31);
    if (atomicInc(&t->inc, 6) == 6) atomicAdd(&t->inc_wraps, 1);
    atomicDec(&t->dec, 6);
    atomicAdd(&t->add64, 1ull << 33);
    atomicMax(&t->max64, static_cast<unsigned long long>(i) << 33);
    atomicAdd(&t->add_float, 0.5f);  // all sums are exact
    atomicAdd(&t->add_double, 0.25);
    int old = t->cas, seen = 0;
    while ((seen = atomicCAS(&t->cas, old, old + 3)) != old) old = seen;
  }
}

TEST_CASE("atomics lose nothing between OS threads") {
  Settings restore;
  simt::set_threads(4);
  Totals t = {};
  t.bits_and = -1;
  REQUIRE(launch(all_atomics, {blocks, threads}, &t) == cudaSuccess);
  CHECK(t.add == total);
  CHECK(t.sub == -2 * total);
  CHECK(t.min == -(blocks * threads - 1));
  CHECK(t.max == blocks * threads - 1);
  CHECK(t.bits_or == 0x7fffffff);
  CHECK(t.bits_and == static_cast<int>(0x80000000u));
  CHECK(t.bits_xor == 0);  // each bit an even number of times: rounds is even
  CHECK(t.inc == total % 7);
  CHECK(t.inc_wraps == total / 7);
  CHECK(t.dec == (7 - total % 7) % 7);
  CHECK(t.add64 == static_cast<unsigned long long>(total) << 33);
  CHECK(t.max64 == static_cast<unsigned long long>(blocks * threads - 1) << 33);
  CHECK(t.add_float == 0.5f * total);
  CHECK(t.add_double == 0.25 * total);
  CHECK(t.cas == 3 * total);
}

__global__ void old_values(int* numbers, int* counter, int* exchanged) {
  atomicAdd(&numbers[atomicAdd(counter, 1)], 1);  // atomic: another thread may add its 10 at the same time
  int mine = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x) + 1;
  int before = atomicExch(exchanged, mine);
  if (before != 0) atomicAdd(&numbers[before - 1], 10);
}

TEST_CASE("atomics return the old value, each to one thread") {
  Settings restore;
  simt::set_threads(4);
  std::vector<int> numbers(10000, 0);
  int counter = 0, exchanged = 0;
  REQUIRE(launch(old_values, {100, 100}, numbers.data(), &counter, &exchanged) == cudaSuccess);
  // Everyone took one number, and all but the last value left in `exchanged` was taken over once.
  CHECK(std::count(numbers.begin(), numbers.end(), 11) == 9999);
  CHECK(numbers[static_cast<size_t>(exchanged) - 1] == 1);
}

// The last block to finish adds up what all have written: the pattern that needs a fence.
__global__ void last_block_sums(const int* in, int* partial, unsigned* done, int* out) {
  __shared__ bool last;
  int sum = __syncthreads_count(in[blockIdx.x * blockDim.x + threadIdx.x]);
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = sum;
    __threadfence();
    last = atomicInc(done, gridDim.x - 1) == gridDim.x - 1;
  }
  __syncthreads();
  if (last && threadIdx.x == 0) *out = std::accumulate(partial, partial + gridDim.x, 0);
}

TEST_CASE("the last block sees what the others wrote") {
  Settings restore;
  simt::set_threads(4);
  unsigned done = 0;
  for (int round = 0; round < 50; ++round) {
    std::vector<int> in(32 * 64, 1), partial(32, -1000);
    int out = 0;
    REQUIRE(launch(last_block_sums, {32, 64}, in.data(), partial.data(), &done, &out) == cudaSuccess);
    CHECK(out == 32 * 64);
    CHECK(done == 0);
  }
}

__global__ void cached(const float4* in, float* out) {
  float4 v = __ldg(in);
  __stcs(&out[0], v.x + __ldcs(&in->y));
  __stcg(&out[1], __ldcg(&in->z));
  __stwb(&out[2], __ldca(&in->w));
}

TEST_CASE("loads and stores with cache hints") {
  float4 in = {1, 2, 3, 4};
  float out[3] = {};
  REQUIRE(launch(cached, {1, 1}, &in, out) == cudaSuccess);
  CHECK(out[0] == 3);
  CHECK(out[1] == 3);
  CHECK(out[2] == 4);
}

}  // namespace
}  // namespace simt_tests
