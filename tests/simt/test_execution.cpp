// Grid, block, thread, shared memory, barriers, and the order in which things run.

#include <algorithm>
#include <numeric>
#include <set>
#include <string>
#include <thread>

#include "catch.h"
#include "launch.h"

#ifdef SIMT_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace simt_tests {
namespace {

constexpr uint64_t seeds[] = {0, 1, 2, 12345};

// ---- built-in variables ----

struct Place {
  uint3 thread, block;
  dim3 block_size, grid_size;
};

// One entry a thread of the grid.
__global__ void write_places(Place* places) {
  unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  places[block * blockDim.x * blockDim.y * blockDim.z + thread] = {threadIdx, blockIdx, blockDim, gridDim};
}

TEST_CASE("every thread of a three-dimensional launch runs once and knows its place") {
  Settings restore;
  for (uint64_t seed : seeds) {
    simt::set_order_seed(seed);
    // One after the other, these differ in each dimension.
    for (dim3 block : {dim3(5, 3, 7), dim3(5, 3, 2), dim3(5, 6, 2), dim3(1, 6, 2)}) {
      dim3 grid(3, 4, 2);
      unsigned threads = block.x * block.y * block.z;
      std::vector<Place> places(3 * 4 * 2 * threads, Place{{99, 99, 99}, {99, 99, 99}, {}, {}});
      REQUIRE(launch(write_places, {grid, block}, places.data()) == cudaSuccess);
      size_t i = 0, wrong = 0;
      for (unsigned b = 0; b < 3 * 4 * 2; ++b) {
        for (unsigned t = 0; t < threads; ++t, ++i) {
          const Place& p = places[i];
          bool right = p.thread.x == t % block.x && p.thread.y == t / block.x % block.y &&
                       p.thread.z == t / block.x / block.y && p.block.x == b % 3 && p.block.y == b / 3 % 4 &&
                       p.block.z == b / 12 && p.block_size.x == block.x && p.block_size.y == block.y &&
                       p.block_size.z == block.z && p.grid_size.x == 3 && p.grid_size.y == 4 && p.grid_size.z == 2;
          wrong += !right;
        }
      }
      CHECK(wrong == 0);
    }
  }
}

__global__ void count_calls(int* calls) { atomicAdd(&calls[blockIdx.x * blockDim.x + threadIdx.x], 1); }

TEST_CASE("each thread runs exactly once, whatever the sizes and the number of OS threads") {
  Settings restore;
  for (int os_threads : {1, 2, 5}) {
    simt::set_threads(os_threads);
    REQUIRE(simt::threads() == os_threads);
    for (unsigned blocks : {1u, 2u, 3u, 63u, 64u, 1000u}) {
      for (unsigned threads : {1u, 31u, 32u, 33u, 1024u}) {
        if (blocks * threads > 100000) continue;
        std::vector<int> calls(blocks * threads, 0);
        REQUIRE(launch(count_calls, {blocks, threads}, calls.data()) == cudaSuccess);
        CHECK(std::all_of(calls.begin(), calls.end(), [](int n) { return n == 1; }));
      }
    }
  }
}

// ---- arguments ----

struct Options {
  int a;
  double b;
  const char* c;
};

__global__ void use_arguments(char tag, Options options, const float* in, float* out, long long big) {
  options.a += 1;  // a thread changes its own copy only
  *out += *in * static_cast<float>(options.a) + static_cast<float>(options.b) + static_cast<float>(big) +
          static_cast<float>(tag == 'x' && options.c[1] == 'i');
}

TEST_CASE("arguments of any type arrive, and each thread has its own copy") {
  float in = 2, out = 0;
  char tag = 'x';
  Options options = {10, 0.5, "hi"};
  const float* in_pointer = &in;
  float* out_pointer = &out;
  long long big = 1 << 20;
  void* arguments[] = {&tag, &options, &in_pointer, &out_pointer, &big};
  REQUIRE(cudaLaunchKernel(use_arguments, dim3(1), dim3(4), arguments) == cudaSuccess);
  CHECK(out == 4 * (2.0f * 11 + 0.5f + (1 << 20) + 1));
}

__global__ void set_value(int* out, int value) { *out = value + static_cast<int>(gridDim.x * blockDim.x); }

TEST_CASE("cudaLaunchKernelEx takes the arguments themselves") {
  cudaLaunchConfig_t config;
  config.gridDim = dim3(2);
  config.blockDim = dim3(3);
  int out = 0;
  short value = 40;
  REQUIRE(cudaLaunchKernelEx(&config, set_value, &out, value) == cudaSuccess);
  CHECK(out == 46);
}

// ---- fibers only where needed ----

__global__ void write_stack_address(uintptr_t* out, bool wait) {
  out[threadIdx.x] = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  if (wait) __syncthreads();
}

size_t distinct(const std::vector<uintptr_t>& values) {
  return std::set<uintptr_t>(values.begin(), values.end()).size();
}

TEST_CASE("a kernel that never waits is a loop on one stack; waiting threads have a stack each, kept for later") {
  Settings restore;
  simt::set_threads(1);
  std::vector<uintptr_t> none(256), first(256), second(256);
  launch(write_stack_address, {1, 256}, first.data(), true);
  launch(write_stack_address, {1, 256}, none.data(), false);
  launch(write_stack_address, {1, 256}, second.data(), true);
  CHECK(distinct(none) == 1);
  CHECK(distinct(first) == 256);
  std::sort(first.begin(), first.end());
  std::sort(second.begin(), second.end());
  CHECK(first == second);
}

// ---- shared memory and barriers ----

// Reverses each block's part of x, twice over, through static shared memory.
template <int N>
__global__ void reverse(int* x) {
  __shared__ int tile[N];
  int* mine = x + blockIdx.x * N;
  for (int round = 0; round < 3; ++round) {
    tile[threadIdx.x] = mine[threadIdx.x];
    __syncthreads();
    mine[threadIdx.x] = tile[N - 1 - threadIdx.x];
    __syncthreads();
  }
}

TEST_CASE("static shared memory belongs to the block, and barriers order accesses to it") {
  Settings restore;
  for (int os_threads : {1, 4}) {
    for (uint64_t seed : seeds) {
      simt::set_threads(os_threads);
      simt::set_order_seed(seed);
      std::vector<int> x(50 * 96), expected(50 * 96);
      std::iota(x.begin(), x.end(), 0);
      expected = x;
      for (int b = 0; b < 50; ++b) std::reverse(expected.begin() + b * 96, expected.begin() + (b + 1) * 96);
      REQUIRE(launch(reverse<96>, {50, 96}, x.data()) == cudaSuccess);
      CHECK(x == expected);
    }
  }
}

// Sum over the block by halves, in dynamic shared memory.
__global__ void block_sum(const int* in, int* out) {
  int* part = static_cast<int*>(simt::dynamic_shared_memory());
  part[threadIdx.x] = in[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) out[blockIdx.x] = part[0];
}

TEST_CASE("dynamic shared memory and a tree of barriers") {
  Settings restore;
  for (uint64_t seed : seeds) {
    simt::set_order_seed(seed);
    std::vector<int> in(20 * 1024, 3), out(20, 0);
    in[1024] = 10;
    REQUIRE(launch(block_sum, {20, 1024, 4096}, in.data(), out.data()) == cudaSuccess);
    CHECK(out[0] == 3072);
    CHECK(out[1] == 3079);
    CHECK(out[19] == 3072);
  }
}

__global__ void look_at_shared(int* not_poison, uintptr_t* address, unsigned bytes) {
  auto* p = static_cast<unsigned char*>(simt::dynamic_shared_memory());
  *address |= reinterpret_cast<uintptr_t>(p);
  for (unsigned i = 0; i < bytes; ++i) atomicAdd(not_poison, p[i] != 0xff);
  for (unsigned i = 0; i < bytes; ++i) p[i] = 1;
#ifdef SIMT_ASAN
  atomicAdd(not_poison, __asan_address_is_poisoned(p + bytes) == 0);  // the end is guarded
#endif
}

TEST_CASE("each block finds its dynamic shared memory poisoned, and aligned to 128 bytes") {
  int not_poison = 0;
  uintptr_t address = 0;
  for (unsigned bytes : {0u, 1u, 1000u, 48u * 1024}) {
    REQUIRE(launch(look_at_shared, {8, 1, bytes}, &not_poison, &address, bytes) == cudaSuccess);
  }
  CHECK(not_poison == 0);
  CHECK(address % 128 == 0);
}

__global__ void barrier_reductions(int* out) {
  bool third = threadIdx.x % 3 == 0;
  int count = __syncthreads_count(third ? 7 : 0);
  int all = __syncthreads_and(third), any = __syncthreads_or(third);
  int always = __syncthreads_and(1), never = __syncthreads_or(0);
  int all_count = __syncthreads_count(-1);
  if (count == 34 && all == 0 && any == 1 && always == 1 && never == 0 && all_count == 100) atomicAdd(out, 1);
}

TEST_CASE("__syncthreads_count, _and and _or give every thread the answer") {
  Settings restore;
  for (uint64_t seed : seeds) {
    simt::set_order_seed(seed);
    int right = 0;
    REQUIRE(launch(barrier_reductions, {3, 100}, &right) == cudaSuccess);
    CHECK(right == 300);
  }
}

__global__ void barrier_in_loop(int* out, int n) {
  int sum = 0;
  for (int i = 0; i < n; ++i) {
    __shared__ int slot;
    if (static_cast<int>(threadIdx.x) == i % static_cast<int>(blockDim.x)) slot = i;
    __syncthreads();
    sum += slot;
    __syncthreads();
  }
  out[threadIdx.x] = sum;
}

TEST_CASE("a single thread passes barriers, and so do blocks of odd sizes") {
  for (unsigned threads : {1u, 2u, 31u, 33u, 257u}) {
    std::vector<int> out(threads, -1);
    REQUIRE(launch(barrier_in_loop, {1, threads}, out.data(), 100) == cudaSuccess);
    CHECK(out == filled(threads, 4950));
  }
}

// ---- order ----

// The order in which threads of one block come by, before and after a barrier.
__global__ void write_order(unsigned* before, unsigned* after, int* counters) {
  before[atomicAdd(&counters[0], 1)] = threadIdx.x;
  __syncthreads();
  after[atomicAdd(&counters[1], 1)] = threadIdx.x;
}

struct Order {
  std::vector<unsigned> before = std::vector<unsigned>(128), after = before;
  bool operator==(const Order& other) const { return before == other.before && after == other.after; }
};

Order order_with(uint64_t seed) {
  simt::set_order_seed(seed);
  Order order;
  int counters[2] = {};
  REQUIRE(launch(write_order, {1, 128}, order.before.data(), order.after.data(), counters) == cudaSuccess);
  return order;
}

TEST_CASE("a seed permutes the threads of a block, anew after a barrier, and always in the same way") {
  Settings restore;
  std::vector<unsigned> natural(128);
  std::iota(natural.begin(), natural.end(), 0);
  Order zero = order_with(0);
  CHECK(zero.before == natural);
  CHECK(zero.after == natural);

  Order one = order_with(1), two = order_with(2);
  CHECK(one == order_with(1));
  CHECK(one.before != natural);
  CHECK(one.after != natural);
  CHECK(one.before != one.after);
  CHECK(one.before != two.before);
  for (Order* order : {&one, &two}) {
    CHECK(std::is_permutation(order->before.begin(), order->before.end(), natural.begin()));
    CHECK(std::is_permutation(order->after.begin(), order->after.end(), natural.begin()));
  }
  CHECK(order_with(0) == zero);  // back to the natural order
}

__global__ void write_block_order(unsigned* order, int* counter) { order[atomicAdd(counter, 1)] = blockIdx.x; }

TEST_CASE("a seed permutes the blocks of a grid") {
  Settings restore;
  simt::set_threads(1);
  std::vector<unsigned> natural(40), order(40);
  std::iota(natural.begin(), natural.end(), 0);
  for (uint64_t seed : seeds) {
    simt::set_order_seed(seed);
    int counter = 0;
    REQUIRE(launch(write_block_order, {40, 1}, order.data(), &counter) == cudaSuccess);
    CHECK((order == natural) == (seed == 0));
    CHECK(std::is_permutation(order.begin(), order.end(), natural.begin()));
  }
}

// ---- OS threads ----

__global__ void mark_os_thread(std::thread::id* id) { *id = std::this_thread::get_id(); }

TEST_CASE("a grid of one block runs on the calling thread") {
  Settings restore;
  simt::set_threads(4);
  std::thread::id id;
  REQUIRE(launch(mark_os_thread, {1, 64}, &id) == cudaSuccess);
  CHECK(id == std::this_thread::get_id());
}

// Two blocks wait for each other, as long as a busy machine lets the second begin in time.
__global__ void meet(int* arrived, unsigned* kept, std::thread::id* ids) {
  __shared__ unsigned mine;
  mine = blockIdx.x;
  atomicAdd(arrived, 1);
  for (int i = 0; i < 10000 && atomicAdd(arrived, 0) < 2; ++i) std::this_thread::yield();
  if (atomicAdd(arrived, 0) < 2) return;
  kept[blockIdx.x] = mine;
  ids[blockIdx.x] = std::this_thread::get_id();
}

TEST_CASE("blocks run at the same time on several OS threads, each with its own static shared memory") {
  Settings restore;
  simt::set_threads(2);
  std::thread::id ids[2];
  for (int attempt = 0; attempt < 100 && (ids[0] == ids[1] || ids[0] == std::thread::id()); ++attempt) {
    int arrived = 0;
    unsigned kept[2] = {0, 1};
    REQUIRE(launch(meet, {2, 1}, &arrived, kept, ids) == cudaSuccess);
    CHECK(kept[0] == 0);
    CHECK(kept[1] == 1);
  }
  CHECK(ids[0] != ids[1]);
}

TEST_CASE("several host threads launch at once") {
  Settings restore;
  simt::set_threads(3);
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> hosts;
  for (size_t h = 0; h < 4; ++h) {
    hosts.emplace_back([&wrong, h] {
      for (int round = 0; round < 20; ++round) {
        std::vector<int> in(8 * 256, static_cast<int>(h)), out(8);
        if (launch(block_sum, {8, 256, 1024}, in.data(), out.data()) != cudaSuccess) ++wrong[h];
        if (out != filled(8, static_cast<int>(256 * h))) ++wrong[h];
      }
    });
  }
  for (std::thread& host : hosts) host.join();
  CHECK(wrong == filled(4, 0));
}

// ---- qualifiers ----

__constant__ float table[4];
__device__ int counter = 5;

__device__ __forceinline__ float twice(float x) { return 2 * x; }
static __device__ __noinline__ float thrice(float x) { return 3 * x; }

__global__ void __launch_bounds__(64, 2) use_symbols(const float* __restrict__ in, float* __restrict__ out) {
  out[threadIdx.x] = twice(in[threadIdx.x]) + thrice(table[threadIdx.x]);
  atomicAdd(&counter, 1);
}

TEST_CASE("qualifiers, __constant__ and __device__ variables") {
  const float values[4] = {1, 2, 3, 4};
  float in[4] = {10, 20, 30, 40}, out[4] = {};
  int count = 5;
  REQUIRE(cudaMemcpyToSymbol(table, values, sizeof values) == cudaSuccess);
  REQUIRE(cudaMemcpyToSymbol(counter, &count, sizeof count) == cudaSuccess);
  REQUIRE(launch(use_symbols, {1, 4}, in, out) == cudaSuccess);
  CHECK(out[0] == 23);
  CHECK(out[3] == 92);
  REQUIRE(cudaMemcpyFromSymbol(&count, counter, sizeof count) == cudaSuccess);
  CHECK(count == 9);
  CHECK(cudaMemcpyToSymbol(table, values, sizeof values, 4) == cudaErrorInvalidValue);
  CHECK(cudaMemcpyToSymbol(table, values, 4, 20) == cudaErrorInvalidValue);
  CHECK(cudaMemcpyFromSymbol(&count, counter, 4, 8) == cudaErrorInvalidValue);
  float part[2];
  REQUIRE(cudaMemcpyFromSymbol(part, table, sizeof part, 8) == cudaSuccess);
  CHECK(part[1] == 4);
}

}  // namespace
}  // namespace simt_tests
