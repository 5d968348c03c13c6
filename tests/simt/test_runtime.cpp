// Devices, memory, streams, events, capture and graphs.

#include <chrono>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string>
#include <thread>

#include "catch.h"
#include "launch.h"

namespace simt_tests {
namespace {

__global__ void scale(float* x, int n, float by, float plus) {
  int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) x[i] = x[i] * by + plus;
}

__global__ void trap() { __trap(); }

// ---- devices ----

TEST_CASE("one device, the CPU") {
  int count = 0, device = -1, value = 0;
  REQUIRE(cudaGetDeviceCount(&count) == cudaSuccess);
  CHECK(count == 1);
  CHECK(cudaSetDevice(0) == cudaSuccess);
  CHECK(cudaSetDevice(1) == cudaErrorInvalidDevice);
  REQUIRE(cudaGetDevice(&device) == cudaSuccess);
  CHECK(device == 0);
  cudaDeviceProp p;
  REQUIRE(cudaGetDeviceProperties(&p, 0) == cudaSuccess);
  CHECK(std::string(p.name).rfind("CPU (simt): ", 0) == 0);
  CHECK(std::strlen(p.name) > std::strlen("CPU (simt): "));
  CHECK(p.warpSize == 32);
  CHECK(p.maxThreadsPerBlock == 1024);
  CHECK(p.sharedMemPerBlock == 49152);
  CHECK(p.sharedMemPerBlockOptin == 166912);
  CHECK(p.multiProcessorCount == simt::threads());
  CHECK(p.totalGlobalMem > size_t{1} << 28);
  CHECK(cudaGetDeviceProperties(&p, 1) == cudaErrorInvalidDevice);
  REQUIRE(cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0) == cudaSuccess);
  CHECK(value == 166912);
  REQUIRE(cudaDeviceGetAttribute(&value, cudaDevAttrComputeCapabilityMajor, 0) == cudaSuccess);
  CHECK(value == 8);
  CHECK(cudaDeviceGetAttribute(&value, static_cast<cudaDeviceAttr>(9999), 0) == cudaErrorInvalidValue);
  int driver = 0, runtime = 0;
  REQUIRE(cudaDriverGetVersion(&driver) == cudaSuccess);
  REQUIRE(cudaRuntimeGetVersion(&runtime) == cudaSuccess);
  CHECK(runtime >= 12000);
  CHECK(driver >= runtime);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  cudaGetLastError();
}

TEST_CASE("occupancy is that of compute capability 8.0") {
  auto blocks = [](int threads, size_t shared_bytes) {
    int n = -1;
    REQUIRE(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&n, scale, threads, shared_bytes) == cudaSuccess);
    return n;
  };
  CHECK(blocks(256, 0) == 8);
  CHECK(blocks(1024, 0) == 2);
  CHECK(blocks(32, 0) == 32);
  CHECK(blocks(33, 0) == 32);
  CHECK(blocks(256, 49152) == 3);
  CHECK(blocks(256, 166912) == 1);
  CHECK(blocks(2048, 0) == 0);
}

// ---- memory ----

TEST_CASE("device memory is aligned, poisoned, listed and freed") {
  unsigned char* p = nullptr;
  REQUIRE(cudaMalloc(&p, 1000) == cudaSuccess);
  CHECK(reinterpret_cast<uintptr_t>(p) % 256 == 0);
  CHECK(std::accumulate(p, p + 1000, 0) == 255000);
  cudaPointerAttributes attributes;
  REQUIRE(cudaPointerGetAttributes(&attributes, p + 999) == cudaSuccess);
  CHECK(attributes.type == cudaMemoryTypeDevice);
  REQUIRE(cudaPointerGetAttributes(&attributes, &p) == cudaSuccess);
  CHECK(attributes.type == cudaMemoryTypeUnregistered);

  CHECK(cudaFreeHost(p) == cudaErrorInvalidValue);
  CHECK(cudaFree(p) == cudaSuccess);
  CHECK(cudaFree(p) == cudaErrorInvalidValue);
  CHECK(cudaFree(nullptr) == cudaSuccess);

  float* host = nullptr;
  REQUIRE(cudaMallocHost(&host, 4000) == cudaSuccess);
  REQUIRE(cudaPointerGetAttributes(&attributes, host) == cudaSuccess);
  CHECK(attributes.type == cudaMemoryTypeHost);
  CHECK(cudaFree(host) == cudaErrorInvalidValue);
  CHECK(cudaFreeHost(host) == cudaSuccess);
  REQUIRE(cudaHostAlloc(&host, 16, cudaHostAllocPortable) == cudaSuccess);
  CHECK(cudaFreeHost(host) == cudaSuccess);

  size_t free_bytes = 0, total_bytes = 0;
  REQUIRE(cudaMemGetInfo(&free_bytes, &total_bytes) == cudaSuccess);
  CHECK(free_bytes > 0);
  CHECK(free_bytes <= total_bytes);
  CHECK(cudaMalloc(&p, total_bytes + 1) == cudaErrorMemoryAllocation);
  CHECK(p == nullptr);
  CHECK(cudaMalloc(&p, 0) == cudaSuccess);
  CHECK(cudaMalloc(static_cast<float**>(nullptr), 4) == cudaErrorInvalidValue);
  cudaStream_t stream;
  REQUIRE(cudaStreamCreate(&stream) == cudaSuccess);
  REQUIRE(cudaMallocAsync(&p, 64, stream) == cudaSuccess);
  CHECK(cudaFreeAsync(p, stream) == cudaSuccess);
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
  cudaGetLastError();
}

TEST_CASE("copies and memset") {
  std::vector<int> from(100), to(100, -1);
  std::iota(from.begin(), from.end(), 0);
  int* device = nullptr;
  REQUIRE(cudaMalloc(&device, 400) == cudaSuccess);
  REQUIRE(cudaMemcpy(device, from.data(), 400, cudaMemcpyHostToDevice) == cudaSuccess);
  REQUIRE(cudaMemsetAsync(device + 10, 0x11, 40, nullptr) == cudaSuccess);
  REQUIRE(cudaMemcpyAsync(to.data(), device, 396, cudaMemcpyDeviceToHost) == cudaSuccess);
  CHECK(to[9] == 9);
  CHECK(to[10] == 0x11111111);
  CHECK(to[19] == 0x11111111);
  CHECK(to[20] == 20);
  CHECK(to[98] == 98);
  CHECK(to[99] == -1);

  int matrix[3][4] = {}, part[3][2] = {{1, 2}, {3, 4}, {5, 6}};
  REQUIRE(cudaMemcpy2D(&matrix[0][1], 16, part, 8, 8, 3, cudaMemcpyDefault) == cudaSuccess);
  CHECK(matrix[2][1] == 5);
  CHECK(matrix[2][2] == 6);
  CHECK(matrix[1][0] == 0);
  CHECK(matrix[1][3] == 0);
  CHECK(cudaMemcpy2D(matrix, 4, part, 8, 8, 3, cudaMemcpyDefault) == cudaErrorInvalidPitchValue);
  CHECK(cudaMemcpy(to.data(), device, 4, static_cast<cudaMemcpyKind>(7)) == cudaErrorInvalidMemcpyDirection);
  CHECK(cudaMemcpy(nullptr, device, 4, cudaMemcpyDefault) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(nullptr, device, 0, cudaMemcpyDefault) == cudaSuccess);
  CHECK(cudaMemset(nullptr, 0, 4) == cudaErrorInvalidValue);
  CHECK(cudaFree(device) == cudaSuccess);
  cudaGetLastError();
}

// ---- streams and events ----

TEST_CASE("streams and events") {
  cudaStream_t stream = nullptr;
  cudaEvent_t start = nullptr, end = nullptr, untimed = nullptr;
  REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
  CHECK(cudaStreamCreateWithFlags(&stream, 8) == cudaErrorInvalidValue);
  REQUIRE(cudaEventCreate(&start) == cudaSuccess);
  REQUIRE(cudaEventCreate(&end) == cudaSuccess);
  REQUIRE(cudaEventCreateWithFlags(&untimed, cudaEventDisableTiming) == cudaSuccess);

  float ms = -1;
  CHECK(cudaEventElapsedTime(&ms, start, end) == cudaErrorInvalidResourceHandle);  // not recorded
  REQUIRE(cudaEventRecord(start, stream) == cudaSuccess);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  REQUIRE(cudaEventRecord(end, stream) == cudaSuccess);
  REQUIRE(cudaEventRecord(untimed, stream) == cudaSuccess);
  CHECK(cudaEventSynchronize(end) == cudaSuccess);
  CHECK(cudaEventQuery(end) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(stream, end) == cudaSuccess);
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(cudaStreamQuery(stream) == cudaSuccess);
  REQUIRE(cudaEventElapsedTime(&ms, start, end) == cudaSuccess);
  CHECK(ms >= 20);      // the sleep takes at least that
  CHECK(ms < 1000000);  // and is not counted in another unit
  CHECK(cudaEventElapsedTime(&ms, start, untimed) == cudaErrorInvalidResourceHandle);
  CHECK(cudaEventRecord(nullptr, stream) == cudaErrorInvalidResourceHandle);

  int called = 0;
  REQUIRE(cudaLaunchHostFunc(
              stream, [](void* data) { ++*static_cast<int*>(data); }, &called) == cudaSuccess);
  CHECK(called == 1);
  for (cudaEvent_t event : {start, end, untimed}) CHECK(cudaEventDestroy(event) == cudaSuccess);
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
  CHECK(cudaStreamDestroy(nullptr) == cudaErrorInvalidResourceHandle);
  cudaGetLastError();
}

// ---- capture ----

// A stream of its own, captured from the start.
struct Captured {
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;

  explicit Captured(unsigned flags = cudaStreamNonBlocking, cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal) {
    REQUIRE(cudaStreamCreateWithFlags(&stream, flags) == cudaSuccess);
    REQUIRE(cudaStreamBeginCapture(stream, mode) == cudaSuccess);
  }
  ~Captured() {
    if (status() != cudaStreamCaptureStatusNone) end();
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaStreamDestroy(stream);
    cudaGetLastError();
  }
  cudaError_t end() { return cudaStreamEndCapture(stream, &graph); }
  cudaStreamCaptureStatus status() const {
    cudaStreamCaptureStatus s;
    REQUIRE(cudaStreamIsCapturing(stream, &s) == cudaSuccess);
    return s;
  }
  size_t nodes() const {
    size_t n = 0;
    REQUIRE(cudaGraphGetNodes(graph, nullptr, &n) == cudaSuccess);
    return n;
  }
};

TEST_CASE("a captured stream runs nothing; its graph runs it all, as often as one likes, with the arguments of then") {
  std::vector<float> x(1000, 1), copy(1000, -1);
  float by = 3;
  int called = 0;
  Captured c;
  CHECK(c.status() == cudaStreamCaptureStatusActive);
  REQUIRE(launch(scale, {4, 256, 0, c.stream}, x.data(), 1000, by, 1.0f) == cudaSuccess);
  by = 100;
  REQUIRE(launch(scale, {4, 256, 0, c.stream}, x.data(), 500, 2.0f, 0.0f) == cudaSuccess);
  REQUIRE(cudaMemcpyAsync(copy.data(), x.data(), 4000, cudaMemcpyDefault, c.stream) == cudaSuccess);
  REQUIRE(cudaMemsetAsync(x.data() + 999, 0, 4, c.stream) == cudaSuccess);
  REQUIRE(cudaLaunchHostFunc(
              c.stream, [](void* data) { ++*static_cast<int*>(data); }, &called) == cudaSuccess);
  CHECK(x == filled(1000, 1.0f));
  CHECK(copy == filled(1000, -1.0f));
  CHECK(called == 0);
  REQUIRE(c.end() == cudaSuccess);
  CHECK(c.status() == cudaStreamCaptureStatusNone);
  CHECK(c.nodes() == 5);

  cudaGraphExec_t exec = nullptr;
  REQUIRE(cudaGraphInstantiate(&exec, c.graph, 0) == cudaSuccess);
  REQUIRE(cudaGraphDestroy(c.graph) == cudaSuccess);
  c.graph = nullptr;
  CHECK(called == 0);
  REQUIRE(cudaGraphUpload(exec, c.stream) == cudaSuccess);
  REQUIRE(cudaGraphLaunch(exec, c.stream) == cudaSuccess);
  CHECK(x[0] == 8);
  CHECK(x[499] == 8);
  CHECK(x[500] == 4);
  CHECK(x[999] == 0);
  CHECK(copy[999] == 4);
  REQUIRE(cudaGraphLaunch(exec, c.stream) == cudaSuccess);
  CHECK(x[0] == 50);
  CHECK(x[500] == 13);
  CHECK(copy[999] == 1);
  CHECK(called == 2);
  CHECK(cudaGraphExecDestroy(exec) == cudaSuccess);
}

TEST_CASE("a captured launch is checked at the capture, and fails at the replay where the kernel does") {
  Captured c;
  CHECK(launch(scale, {1, 2000, 0, c.stream}, nullptr, 0, 1.0f, 0.0f) == cudaErrorInvalidConfiguration);
  REQUIRE(launch(trap, {1, 1, 0, c.stream}) == cudaSuccess);
  REQUIRE(c.end() == cudaSuccess);
  cudaGraphExec_t exec = nullptr;
  REQUIRE(cudaGraphInstantiate(&exec, c.graph, nullptr, nullptr, 0) == cudaSuccess);
  CHECK(cudaGraphLaunch(exec, c.stream) == cudaErrorLaunchFailure);
  CHECK(std::string(simt::last_error_message()).find("__trap()") != std::string::npos);
  CHECK(cudaGetLastError() == cudaErrorLaunchFailure);
  CHECK(cudaGraphExecDestroy(exec) == cudaSuccess);
}

TEST_CASE("a graph launched into a captured stream becomes part of it") {
  float x = 1;
  cudaGraphExec_t inner = nullptr, outer = nullptr;
  Captured a;
  REQUIRE(launch(scale, {1, 1, 0, a.stream}, &x, 1, 2.0f, 0.0f) == cudaSuccess);
  REQUIRE(a.end() == cudaSuccess);
  REQUIRE(cudaGraphInstantiate(&inner, a.graph, 0) == cudaSuccess);
  Captured b;
  REQUIRE(cudaGraphLaunch(inner, b.stream) == cudaSuccess);
  REQUIRE(launch(scale, {1, 1, 0, b.stream}, &x, 1, 1.0f, 10.0f) == cudaSuccess);
  REQUIRE(b.end() == cudaSuccess);
  CHECK(x == 1);
  REQUIRE(cudaGraphExecDestroy(inner) == cudaSuccess);
  REQUIRE(cudaGraphInstantiate(&outer, b.graph, 0) == cudaSuccess);
  REQUIRE(cudaGraphLaunch(outer, nullptr) == cudaSuccess);
  CHECK(x == 12);
  CHECK(cudaGraphExecDestroy(outer) == cudaSuccess);
}

TEST_CASE("events carry a capture into other streams, which must be joined again") {
  std::vector<float> x(8, 1);
  cudaStream_t other = nullptr;
  cudaEvent_t fork = nullptr, join = nullptr;
  REQUIRE(cudaStreamCreate(&other) == cudaSuccess);
  REQUIRE(cudaEventCreate(&fork) == cudaSuccess);
  REQUIRE(cudaEventCreate(&join) == cudaSuccess);
  auto record_work = [&](Captured& c, bool joined, bool then_more) {
    REQUIRE(launch(scale, {1, 8, 0, c.stream}, x.data(), 8, 2.0f, 0.0f) == cudaSuccess);
    REQUIRE(cudaEventRecord(fork, c.stream) == cudaSuccess);
    REQUIRE(cudaStreamWaitEvent(other, fork) == cudaSuccess);
    REQUIRE(launch(scale, {1, 4, 0, other}, x.data(), 4, 1.0f, 5.0f) == cudaSuccess);
    REQUIRE(cudaEventRecord(join, other) == cudaSuccess);
    if (joined) REQUIRE(cudaStreamWaitEvent(c.stream, join) == cudaSuccess);
    if (then_more) REQUIRE(launch(scale, {1, 4, 0, other}, x.data(), 4, 1.0f, 5.0f) == cudaSuccess);
  };
  {
    Captured c;
    record_work(c, true, false);
    REQUIRE(c.end() == cudaSuccess);
    CHECK(c.nodes() == 2);
    cudaGraphExec_t exec = nullptr;
    REQUIRE(cudaGraphInstantiate(&exec, c.graph, 0) == cudaSuccess);
    REQUIRE(cudaGraphLaunch(exec, c.stream) == cudaSuccess);
    CHECK(x == std::vector<float>{7, 7, 7, 7, 2, 2, 2, 2});
    CHECK(cudaGraphExecDestroy(exec) == cudaSuccess);
    // The other stream is free again.
    CHECK(launch(scale, {1, 8, 0, other}, x.data(), 8, 0.0f, 0.0f) == cudaSuccess);
    CHECK(x == filled(8, 0.0f));
    // What was recorded in a capture is no point in time.
    CHECK(cudaEventQuery(join) == cudaErrorCapturedEvent);
    CHECK(cudaStreamWaitEvent(other, join) == cudaErrorCapturedEvent);
    float ms = 0;
    CHECK(cudaEventElapsedTime(&ms, fork, join) == cudaErrorCapturedEvent);
  }
  {
    Captured c;
    record_work(c, false, false);
    CHECK(c.end() == cudaErrorStreamCaptureUnjoined);
    CHECK(c.graph == nullptr);
  }
  {
    Captured c;
    record_work(c, true, true);
    CHECK(c.end() == cudaErrorStreamCaptureUnjoined);
  }
  {
    Captured c;
    record_work(c, true, false);
    cudaGraph_t graph = nullptr;
    CHECK(cudaStreamEndCapture(other, &graph) == cudaErrorStreamCaptureUnmatched);
    CHECK(c.end() == cudaErrorStreamCaptureInvalidated);
  }
  CHECK(x == filled(8, 0.0f));
  CHECK(cudaEventDestroy(fork) == cudaSuccess);
  CHECK(cudaEventDestroy(join) == cudaSuccess);
  CHECK(cudaStreamDestroy(other) == cudaSuccess);
}

TEST_CASE("what a capture forbids is refused and ends it") {
  float x = 1, y = 2;
  auto check = [&](unsigned flags, cudaStreamCaptureMode mode, cudaError_t expected, auto forbidden) {
    Captured c(flags, mode);
    CHECK(forbidden(c) == expected);
    bool allowed = expected == cudaSuccess;
    CHECK(c.status() == (allowed ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusInvalidated));
    if (!allowed) {
      CHECK(launch(scale, {1, 1, 0, c.stream}, &x, 1, 2.0f, 0.0f) == cudaErrorStreamCaptureInvalidated);
    }
    CHECK(c.end() == (allowed ? cudaSuccess : cudaErrorStreamCaptureInvalidated));
  };
  auto allocate = [](auto&) {
    float* p = nullptr;
    cudaError_t error = cudaMalloc(&p, 4);
    if (error == cudaSuccess) cudaFree(p);
    return error;
  };
  auto elsewhere = [](auto call) {
    return [call](auto& c) {
      cudaError_t error = cudaSuccess;
      std::thread([&] { error = call(c); }).join();
      return error;
    };
  };
  auto copy = [&](auto&) { return cudaMemcpy(&x, &y, 4, cudaMemcpyDefault); };
  auto synchronize = [](auto& c) { return cudaStreamSynchronize(c.stream); };
  auto on_default = [&](auto&) { return launch(scale, {1, 1}, &x, 1, 1.0f, 0.0f); };
  auto synchronize_all = [](auto&) { return cudaDeviceSynchronize(); };

  constexpr auto global = cudaStreamCaptureModeGlobal, local = cudaStreamCaptureModeThreadLocal,
                 relaxed = cudaStreamCaptureModeRelaxed;
  check(cudaStreamNonBlocking, global, cudaErrorStreamCaptureUnsupported, allocate);
  check(cudaStreamNonBlocking, global, cudaErrorStreamCaptureUnsupported, elsewhere(allocate));
  check(cudaStreamNonBlocking, local, cudaErrorStreamCaptureUnsupported, allocate);
  check(cudaStreamNonBlocking, local, cudaSuccess, elsewhere(allocate));
  check(cudaStreamNonBlocking, relaxed, cudaSuccess, allocate);
  check(cudaStreamNonBlocking, global, cudaErrorStreamCaptureUnsupported, synchronize);
  check(cudaStreamNonBlocking, global, cudaErrorStreamCaptureUnsupported, synchronize_all);
  check(cudaStreamNonBlocking, global, cudaSuccess, copy);
  check(cudaStreamDefault, global, cudaErrorStreamCaptureImplicit, copy);
  check(cudaStreamDefault, relaxed, cudaErrorStreamCaptureImplicit, on_default);
  check(cudaStreamNonBlocking, relaxed, cudaSuccess, on_default);
  CHECK(x == 2);  // by the one copy that was allowed
  CHECK(cudaStreamBeginCapture(nullptr, global) == cudaErrorStreamCaptureUnsupported);
  {
    Captured c(cudaStreamNonBlocking, relaxed);
    CHECK(cudaStreamBeginCapture(c.stream, relaxed) == cudaErrorIllegalState);
    CHECK(elsewhere([](auto& captured) { return captured.end(); })(c) == cudaSuccess);
  }
  {
    Captured c(cudaStreamNonBlocking, local);
    CHECK(elsewhere([](auto& captured) { return captured.end(); })(c) == cudaErrorStreamCaptureWrongThread);
  }
  {
    // Work of before the capture cannot be waited for inside it, nor can two captures be mixed.
    cudaEvent_t event = nullptr;
    REQUIRE(cudaEventCreate(&event) == cudaSuccess);
    REQUIRE(cudaEventRecord(event) == cudaSuccess);
    Captured c;
    CHECK(cudaStreamWaitEvent(c.stream, event) == cudaErrorStreamCaptureIsolation);
    Captured a, b;
    REQUIRE(cudaEventRecord(event, a.stream) == cudaSuccess);
    CHECK(cudaStreamWaitEvent(b.stream, event) == cudaErrorStreamCaptureMerge);
    CHECK(a.end() == cudaErrorStreamCaptureInvalidated);
    CHECK(b.end() == cudaErrorStreamCaptureInvalidated);
    CHECK(cudaEventDestroy(event) == cudaSuccess);
  }
}

// ---- tasks ----

struct Squares {
  std::int64_t* results;
  std::int64_t plus;
};

void square(const void* argument, std::int64_t i) {
  const auto& to = *static_cast<const Squares*>(argument);
  to.results[i] += i * i + to.plus;
}

TEST_CASE("tasks run once each, whatever the threads and the order") {
  const int threads = simt::threads();
  for (const int n : {1, 2, 5})
    for (const std::uint64_t seed : {0, 1})
      for (const std::int64_t count : {0, 1, 3, 1000}) {
        simt::set_threads(n);
        simt::set_order_seed(seed);
        std::vector<std::int64_t> results(count + 1);
        const Squares argument = {results.data(), 7};
        REQUIRE(simt::launch_tasks(nullptr, count, square, &argument, sizeof argument) == cudaSuccess);
        std::int64_t wrong = 0;
        for (std::int64_t i = 0; i < count; ++i) wrong += results[i] != i * i + 7;
        CHECK(wrong == 0);
        CHECK(results[count] == 0);
      }
  simt::set_threads(threads);
  simt::set_order_seed(0);
  CHECK(simt::launch_tasks(nullptr, 1, nullptr, nullptr, 0) == cudaErrorInvalidDeviceFunction);
  CHECK(simt::launch_tasks(nullptr, -1, square, nullptr, 0) == cudaErrorInvalidValue);
  cudaGetLastError();
}

TEST_CASE("captured tasks are one node, which keeps its argument") {
  std::vector<std::int64_t> results(10);
  Captured c;
  {
    Squares argument = {results.data(), 1};
    REQUIRE(simt::launch_tasks(c.stream, 10, square, &argument, sizeof argument) == cudaSuccess);
    argument = {};
  }
  CHECK(results[3] == 0);
  REQUIRE(c.end() == cudaSuccess);
  std::size_t nodes = 0;
  CHECK(cudaGraphGetNodes(c.graph, nullptr, &nodes) == cudaSuccess);
  CHECK(nodes == 1);
  cudaGraphExec_t graph = nullptr;
  REQUIRE(cudaGraphInstantiate(&graph, c.graph) == cudaSuccess);
  CHECK(cudaGraphLaunch(graph, nullptr) == cudaSuccess);
  CHECK(cudaGraphLaunch(graph, nullptr) == cudaSuccess);
  CHECK(results[3] == 20);
  CHECK(cudaGraphExecDestroy(graph) == cudaSuccess);
}

}  // namespace
}  // namespace simt_tests
