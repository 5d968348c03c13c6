#include "engine/device/runtime.h"

#include "kernels/common/launch.h"

namespace engine::KERNEL_TARGET {
namespace {

using kernels::KERNEL_TARGET::check;
// The caller's line says little here; the name of the call says all.
void check(cudaError_t status, const char* call) { check(status, call, "engine/device", 0); }

cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t event_of(void* event) { return static_cast<cudaEvent_t>(event); }

int device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();  // no driver is an answer, not an error to be kept
  return 0;
}

DeviceProperties properties() {
  cudaDeviceProp p;
  int version = 0;
  check(cudaGetDeviceProperties(&p, 0), "cudaGetDeviceProperties");
  check(cudaRuntimeGetVersion(&version), "cudaRuntimeGetVersion");
  return {p.name, p.multiProcessorCount, p.major * 10 + p.minor, p.totalGlobalMem, version};
}

void* allocate(size_t bytes) {
  void* p = nullptr;
  check(cudaMalloc(&p, bytes), "cudaMalloc");
  return p;
}
void free(void* p) { check(cudaFree(p), "cudaFree"); }

void* allocate_host(size_t bytes) {
  void* p = nullptr;
  check(cudaMallocHost(&p, bytes), "cudaMallocHost");
  return p;
}
void free_host(void* p) { check(cudaFreeHost(p), "cudaFreeHost"); }

void copy(void* to, const void* from, size_t bytes, CopyKind kind, void* stream) {
  const cudaMemcpyKind kinds[] = {cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice};
  check(cudaMemcpyAsync(to, from, bytes, kinds[static_cast<int>(kind)], stream_of(stream)), "cudaMemcpyAsync");
}
void fill(void* to, int byte, size_t bytes, void* stream) {
  check(cudaMemsetAsync(to, byte, bytes, stream_of(stream)), "cudaMemsetAsync");
}

void* stream_create() {
  cudaStream_t stream;
  check(cudaStreamCreate(&stream), "cudaStreamCreate");
  return stream;
}
void stream_destroy(void* stream) { check(cudaStreamDestroy(stream_of(stream)), "cudaStreamDestroy"); }
void stream_synchronize(void* stream) { check(cudaStreamSynchronize(stream_of(stream)), "cudaStreamSynchronize"); }

void* event_create() {
  cudaEvent_t event;
  check(cudaEventCreate(&event), "cudaEventCreate");
  return event;
}
void event_destroy(void* event) { check(cudaEventDestroy(event_of(event)), "cudaEventDestroy"); }
void event_record(void* event, void* stream) {
  check(cudaEventRecord(event_of(event), stream_of(stream)), "cudaEventRecord");
}
void event_synchronize(void* event) { check(cudaEventSynchronize(event_of(event)), "cudaEventSynchronize"); }
float event_elapsed(void* from, void* to) {
  float ms = 0;
  event_synchronize(from);
  event_synchronize(to);
  check(cudaEventElapsedTime(&ms, event_of(from), event_of(to)), "cudaEventElapsedTime");
  return ms;
}

void capture_begin(void* stream) {
  check(cudaStreamBeginCapture(stream_of(stream), cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
}
void* capture_end(void* stream, size_t* nodes) {
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  check(cudaStreamEndCapture(stream_of(stream), &graph), "cudaStreamEndCapture");
  const cudaError_t counted = cudaGraphGetNodes(graph, nullptr, nodes);
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  check(cudaGraphDestroy(graph), "cudaGraphDestroy");
  check(counted, "cudaGraphGetNodes");
  check(status, "cudaGraphInstantiate");
  return executable;
}
void graph_launch(void* graph, void* stream) {
  check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), stream_of(stream)), "cudaGraphLaunch");
}
void graph_destroy(void* graph) {
  check(cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)), "cudaGraphExecDestroy");
}

}  // namespace

const Runtime& runtime() {
  static const Runtime table = {
      kernels::KERNEL_TARGET::target,
      device_count,
      properties,
      allocate,
      free,
      allocate_host,
      free_host,
      copy,
      fill,
      stream_create,
      stream_destroy,
      stream_synchronize,
      event_create,
      event_destroy,
      event_record,
      event_synchronize,
      event_elapsed,
      capture_begin,
      capture_end,
      graph_launch,
      graph_destroy,
  };
  return table;
}

}  // namespace engine::KERNEL_TARGET
