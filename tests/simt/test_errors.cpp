// Launches that a GPU refuses, kernels that go wrong, and what is said about them.

#include <stdexcept>
#include <string>
#include <thread>

#include "catch.h"
#include "launch.h"

// Not in an unnamed namespace: a report finds a kernel's name only if the program exports it.
namespace simt_tests {

constexpr uint64_t seeds[] = {0, 1, 2, 12345};
constexpr unsigned full = 0xffffffffu;

__global__ void nothing() {}
__global__ void half_exits() {
  if (threadIdx.x < 40) __syncthreads();
}
__global__ void waits_elsewhere() {
  if (threadIdx.x == 17)
    __syncthreads_or(1);
  else
    __syncthreads();
}
template <class T>
__global__ void half_a_warp(T* out, int first) {
  if (static_cast<int>(threadIdx.x) >= first) out[threadIdx.x] = __shfl_down_sync(full, out[threadIdx.x], 1);
}
__global__ void shuffle_or_vote() {
  if (threadIdx.x < 16)
    __shfl_sync(full, 1, 0);
  else
    __ballot_sync(full, 1);
}
__global__ void different_masks() {
  if (threadIdx.x < 16) __syncwarp(threadIdx.x == 5 ? full : 0xffffu);
}
__global__ void barrier_and_shuffle() {
  if (threadIdx.x == 33)
    __syncthreads();
  else
    __shfl_sync(full, 1, 0);
}
__global__ void not_in_mask() {
  if (threadIdx.y == 1 && threadIdx.x == 2) __syncwarp(1);
}
__global__ void traps() {
  __syncthreads();
  if (blockIdx.y == 1 && threadIdx.x == 9) __trap();
  __syncthreads();
}
__global__ void throws(int kind) {
  if (threadIdx.x % 2 == 0) __syncwarp(0x55555555u);
  if (threadIdx.x == 3 && kind == 0) throw std::runtime_error("out of paper");
  if (threadIdx.x == 3 && kind == 1) throw 42;
  __syncthreads();
}

namespace {

std::string message() { return simt::last_error_message(); }

void check_message(const std::string& part) {
  INFO(message());
  INFO("should contain: " << part);
  CHECK(message().find(part) != std::string::npos);
}

// After a failure everything works as before.
__global__ void add_up(int* out) {
  int sum = __syncthreads_count(1) + static_cast<int>(__reduce_add_sync(full, 1u));
  if (threadIdx.x == 0) atomicAdd(out, sum);
}
void check_all_is_well() {
  int out = 0;
  REQUIRE(launch(add_up, {10, 256}, &out) == cudaSuccess);
  CHECK(out == 10 * (256 + 32));
}

TEST_CASE("a launch that a GPU would refuse is refused with its error") {
  CHECK(launch(nothing, {1, 1024}) == cudaSuccess);
  CHECK(launch(nothing, {1, dim3(16, 1, 64)}) == cudaSuccess);
  CHECK(launch(nothing, {dim3(1, 65535, 1), 1}) == cudaSuccess);
  CHECK(launch(nothing, {1, 1025}) == cudaErrorInvalidConfiguration);
  CHECK(launch(nothing, {1, dim3(5, 205)}) == cudaErrorInvalidConfiguration);
  CHECK(launch(nothing, {1, dim3(32, 33)}) == cudaErrorInvalidConfiguration);
  CHECK(launch(nothing, {1, dim3(1, 1, 65)}) == cudaErrorInvalidConfiguration);
  CHECK(launch(nothing, {1, dim3(65536, 65536, 1)}) == cudaErrorInvalidConfiguration);  // 2^32 threads
  CHECK(launch(nothing, {0, 1}) == cudaErrorInvalidConfiguration);
  CHECK(launch(nothing, {dim3(1, 0, 1), 1}) == cudaErrorInvalidConfiguration);
  CHECK(launch(nothing, {1, dim3(1, 1, 0)}) == cudaErrorInvalidConfiguration);
  CHECK(launch(nothing, {dim3(1, 65536, 1), 1}) == cudaErrorInvalidConfiguration);
  CHECK(launch(nothing, {dim3(1, 1, 65536), 1}) == cudaErrorInvalidConfiguration);
  CHECK(launch(nothing, {dim3(0x80000000u), 1}) == cudaErrorInvalidConfiguration);
  CHECK(launch(static_cast<void (*)()>(nullptr), {1, 1}) == cudaErrorInvalidDeviceFunction);
  CHECK(message().empty());
}

TEST_CASE("dynamic shared memory: 48 KiB, or more where the kernel was allowed more") {
  CHECK(launch(nothing, {1, 1, 49152}) == cudaSuccess);
  CHECK(launch(nothing, {1, 1, 49153}) == cudaErrorInvalidValue);
  auto allow = [](int bytes) {
    return cudaFuncSetAttribute(nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  };
  REQUIRE(allow(100000) == cudaSuccess);
  CHECK(launch(nothing, {1, 1, 100000}) == cudaSuccess);
  CHECK(launch(nothing, {1, 1, 100001}) == cudaErrorInvalidValue);
  CHECK(launch(half_exits, {1, 1, 100000}) == cudaErrorInvalidValue);  // was allowed nothing
  REQUIRE(allow(166912) == cudaSuccess);
  CHECK(launch(nothing, {1, 1, 166912}) == cudaSuccess);
  CHECK(allow(166913) == cudaErrorInvalidValue);
  CHECK(allow(-1) == cudaErrorInvalidValue);
  cudaFuncAttributes attributes;
  REQUIRE(cudaFuncGetAttributes(&attributes, nothing) == cudaSuccess);
  CHECK(attributes.maxDynamicSharedSizeBytes == 166912);
  CHECK(attributes.maxThreadsPerBlock == 1024);
  REQUIRE(allow(49152) == cudaSuccess);
}

TEST_CASE("a barrier that some threads never reach is reported") {
  Settings restore;
  for (uint64_t seed : seeds) {
    simt::set_order_seed(seed);
    CHECK(launch(half_exits, {dim3(1, 2), 64}) == cudaErrorLaunchFailure);
    check_message("kernel simt_tests::half_exits(), block (0,");
    check_message("of (1,2,1), threads (64,1,1)");
    check_message("threads 0-39 wait at __syncthreads; threads 40-63 have ended");
    check_all_is_well();
  }
}

TEST_CASE("threads that wait at different barriers are reported") {
  CHECK(launch(waits_elsewhere, {1, 64}) == cudaErrorLaunchFailure);
  check_message("threads 0-16, 18-63 wait at __syncthreads; thread 17 waits at __syncthreads_or");
  check_all_is_well();
}

TEST_CASE("a shuffle whose named lanes do not all arrive is reported") {
  Settings restore;
  for (uint64_t seed : seeds) {
    simt::set_order_seed(seed);
    std::vector<float> data(64, 1);
    CHECK(launch(half_a_warp<float>, {1, 64}, data.data(), 48) == cudaErrorLaunchFailure);
    check_message("half_a_warp<float>(float*, int), block (0,0,0) of (1,1,1)");
    check_message("threads 0-47 have ended; threads 48-63 wait at __shfl_down_sync(mask 0xffffffff)");
    check_all_is_well();
  }
}

TEST_CASE("lanes that wait at different operations are reported") {
  CHECK(launch(shuffle_or_vote, {1, 32}) == cudaErrorLaunchFailure);
  check_message(
      "threads 0-15 wait at __shfl_sync(mask 0xffffffff); threads 16-31 wait at "
      "__ballot_sync(mask 0xffffffff)");
  CHECK(launch(different_masks, {1, 16}) == cudaSuccess);  // no lane beyond 15: the masks name the same lanes
  CHECK(launch(different_masks, {1, 32}) == cudaErrorLaunchFailure);
  check_message("thread 5 waits at __syncwarp(mask 0xffffffff)");
  CHECK(launch(barrier_and_shuffle, {1, 64}) == cudaErrorLaunchFailure);
  check_message(
      "threads 0-31 have ended; threads 32, 34-63 wait at __shfl_sync(mask 0xffffffff); "
      "thread 33 waits at __syncthreads");
  check_all_is_well();
}

TEST_CASE("a lane that calls with a mask that does not name it is reported") {
  CHECK(launch(not_in_mask, {1, dim3(8, 4)}) == cudaErrorLaunchFailure);
  check_message(
      "kernel simt_tests::not_in_mask(), block (0,0,0) of (1,1,1), thread (2,1,0): "
      "__syncwarp with mask 0x1");
  check_all_is_well();
}

TEST_CASE("__trap and C++ exceptions end the launch, with thread and text") {
  Settings restore;
  for (uint64_t seed : seeds) {
    simt::set_order_seed(seed);
    CHECK(launch(traps, {dim3(1, 2), 64}) == cudaErrorLaunchFailure);
    check_message("kernel simt_tests::traps(), block (0,1,0) of (1,2,1), thread (9,0,0): __trap()");
    CHECK(launch(throws, {1, 32}, 0) == cudaErrorLaunchFailure);
    check_message("thread (3,0,0): out of paper");
    CHECK(launch(throws, {1, 32}, 1) == cudaErrorLaunchFailure);
    check_message("thread (3,0,0): ");
    CHECK(launch(throws, {1, 32}, 2) == cudaSuccess);
    check_all_is_well();
  }
}

struct Counted {
  int* alive;
  explicit Counted(int* n) : alive(n) { atomicAdd(alive, 1); }
  ~Counted() { atomicAdd(alive, -1); }
};
__global__ void owns_something(int* alive, int* passed) {
  Counted here(alive);
  if (threadIdx.x != 50) __syncthreads();
  atomicAdd(passed, 1);
}

__global__ void not_exported() { __trap(); }

TEST_CASE("a kernel whose name is not known is reported with its place in the program") {
  CHECK(launch(not_exported, {1, 1}) == cudaErrorLaunchFailure);
  check_message("simt_tests+0x");
}

TEST_CASE("threads that can never go on are unwound") {
  int alive = 0, passed = 0;
  CHECK(launch(owns_something, {1, 64}, &alive, &passed) == cudaErrorLaunchFailure);
  CHECK(alive == 0);
  CHECK(passed == 1);  // thread 50
}

// The first block fails, if the machine allows while another OS thread has begun to run the rest.
__global__ void count_blocks_or_trap(int* blocks) {
  atomicAdd(blocks, 1);
  if (blockIdx.x != 0) return;
  for (int i = 0; i < 10000 && atomicAdd(blocks, 0) < 2; ++i) std::this_thread::yield();
  __trap();
}

TEST_CASE("after a failure no OS thread begins further blocks") {
  Settings restore;
  simt::set_order_seed(0);  // block 0 comes first
  constexpr int all = 10000000;
  for (int os_threads : {1, 2}) {
    simt::set_threads(os_threads);
    int blocks = 0;
    CHECK(launch(count_blocks_or_trap, {all, 1}, &blocks) == cudaErrorLaunchFailure);
    CHECK(blocks < all / 2);
    if (os_threads == 1) CHECK(blocks == 1);
  }
}

// A launch from a kernel (dynamic parallelism) does not exist.
__global__ void launches(int* error) { *error = launch(nothing, {1, 1}); }

TEST_CASE("a kernel cannot launch") {
  int error = 0;
  REQUIRE(launch(launches, {1, 1}, &error) == cudaSuccess);
  CHECK(error == cudaErrorNotSupported);
  cudaGetLastError();
}

TEST_CASE("the last error is kept until it is asked for, and goes with its text") {
  cudaGetLastError();
  CHECK(cudaPeekAtLastError() == cudaSuccess);
  CHECK(launch(traps, {dim3(1, 2), 64}) == cudaErrorLaunchFailure);
  CHECK(launch(nothing, {1, 1}) == cudaSuccess);  // a success does not reset it, and a failed launch does not stick
  CHECK(cudaPeekAtLastError() == cudaErrorLaunchFailure);
  CHECK_FALSE(message().empty());
  CHECK(launch(nothing, {1, 2000}) == cudaErrorInvalidConfiguration);
  CHECK(message().empty());
  CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
  CHECK(cudaGetLastError() == cudaSuccess);
}

TEST_CASE("error codes have CUDA's values, names and texts") {
  CHECK(cudaErrorInvalidConfiguration == 9);
  CHECK(cudaErrorMemoryAllocation == 2);
  CHECK(cudaErrorLaunchFailure == 719);
  CHECK(cudaErrorStreamCaptureUnjoined == 904);
  CHECK(cudaGetErrorName(cudaErrorLaunchFailure) == std::string("cudaErrorLaunchFailure"));
  CHECK(cudaGetErrorString(cudaErrorInvalidConfiguration) == std::string("invalid configuration argument"));
  CHECK(cudaGetErrorString(static_cast<cudaError_t>(12345)) == std::string("unrecognized error code"));
}

}  // namespace
}  // namespace simt_tests
