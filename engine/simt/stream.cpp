// Streams, events, capture and graphs. Work runs at the call, so streams and events only have to keep the rules of
// capture: what may be recorded, and that everything recorded is joined to the stream where the capture began.

#include "stream.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

namespace simt {
namespace {

using detail::record;
using Time = std::chrono::steady_clock::time_point;

// How much of each stream's captured work comes before a point: the number of the last of its operations.
using Seen = std::map<cudaStream_t, std::size_t>;

struct Capture {
  cudaStream_t origin;
  cudaStreamCaptureMode mode;
  std::thread::id thread;
  bool valid = true;
  bool ended = false;
  CUgraph_st graph;
  std::map<cudaStream_t, Seen> streams;  // that take part
};

// One lock for all that capture needs. Without a capture (a count of 0) nobody takes it.
std::mutex capture_mutex;
std::atomic<int> capture_count = 0;
std::vector<std::shared_ptr<Capture>>& captures() {
  static std::vector<std::shared_ptr<Capture>> all;
  return all;
}

bool is_default(cudaStream_t stream) {
  return stream == nullptr || stream == cudaStreamLegacy || stream == cudaStreamPerThread;
}

}  // namespace

struct CUstream_st {
  unsigned flags = cudaStreamDefault;
  std::shared_ptr<Capture> capture;  // that this stream takes part in
};

struct CUevent_st {
  unsigned flags = cudaEventDefault;
  bool recorded = false;
  Time time;
  std::shared_ptr<Capture> capture;  // in which it was last recorded, if it was
  Seen seen;
};

struct CUgraphExec_st {
  CUgraph_st graph;
};

namespace {

// With the lock held: an operation of this stream is about to be recorded.
void advance(Capture& capture, cudaStream_t stream) { ++capture.streams[stream][stream]; }

cudaError_t invalidate(Capture& capture, cudaError_t error) {
  capture.valid = false;
  return error;
}

}  // namespace

cudaError_t detail::route(cudaStream_t stream, CUgraph_st** graph) {
  *graph = nullptr;
  if (capture_count == 0) return cudaSuccess;
  std::lock_guard lock(capture_mutex);
  if (is_default(stream)) {
    for (auto& capture : captures()) {
      bool blocking = std::any_of(capture->streams.begin(), capture->streams.end(),
                                  [](auto& entry) { return entry.first->flags != cudaStreamNonBlocking; });
      if (blocking) return invalidate(*capture, cudaErrorStreamCaptureImplicit);
    }
    return cudaSuccess;
  }
  if (stream->capture == nullptr) return cudaSuccess;
  if (!stream->capture->valid) return cudaErrorStreamCaptureInvalidated;
  advance(*stream->capture, stream);
  *graph = &stream->capture->graph;
  return cudaSuccess;
}

cudaError_t detail::check_no_capture() {
  if (capture_count == 0) return cudaSuccess;
  std::lock_guard lock(capture_mutex);
  for (auto& capture : captures()) {
    bool own = capture->thread == std::this_thread::get_id();
    if (capture->mode == cudaStreamCaptureModeGlobal || (capture->mode == cudaStreamCaptureModeThreadLocal && own)) {
      return invalidate(*capture, cudaErrorStreamCaptureUnsupported);
    }
  }
  return cudaSuccess;
}

// ---- streams ----

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  if (stream == nullptr || flags > cudaStreamNonBlocking) return record(cudaErrorInvalidValue);
  *stream = new CUstream_st{flags, nullptr};
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (is_default(stream)) return record(cudaErrorInvalidResourceHandle);
  if (stream->capture != nullptr) {
    std::lock_guard lock(capture_mutex);
    invalidate(*stream->capture, cudaErrorStreamCaptureInvalidated);
    stream->capture->streams.erase(stream);
  }
  delete stream;
  return cudaSuccess;
}

// Waiting for captured work is impossible.
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (capture_count == 0) return cudaSuccess;
  if (is_default(stream)) {
    CUgraph_st* graph = nullptr;
    return record(detail::route(stream, &graph));
  }
  std::lock_guard lock(capture_mutex);
  if (stream->capture == nullptr) return cudaSuccess;
  return record(invalidate(*stream->capture, cudaErrorStreamCaptureUnsupported));
}

cudaError_t cudaStreamQuery(cudaStream_t stream) { return cudaStreamSynchronize(stream); }

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (event == nullptr) return record(cudaErrorInvalidResourceHandle);
  if (capture_count == 0 && event->capture == nullptr) return cudaSuccess;
  std::lock_guard lock(capture_mutex);
  Capture* from = event->capture.get();
  if (from != nullptr && from->ended) return record(cudaErrorCapturedEvent);
  if (is_default(stream)) {
    return from == nullptr ? cudaSuccess : record(invalidate(*from, cudaErrorStreamCaptureImplicit));
  }
  Capture* own = stream->capture.get();
  if (from == nullptr) {
    bool outside_work = own != nullptr && event->recorded;
    return outside_work ? record(invalidate(*own, cudaErrorStreamCaptureIsolation)) : cudaSuccess;
  }
  if (!from->valid) return record(cudaErrorStreamCaptureInvalidated);
  if (own != nullptr && own != from) {
    invalidate(*own, cudaErrorStreamCaptureMerge);
    return record(invalidate(*from, cudaErrorStreamCaptureMerge));
  }
  stream->capture = event->capture;
  Seen& seen = from->streams[stream];
  for (auto& [other, number] : event->seen) seen[other] = std::max(seen[other], number);
  return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, void (*function)(void*), void* data) {
  if (function == nullptr) return record(cudaErrorInvalidValue);
  CUgraph_st* graph = nullptr;
  if (cudaError_t error = detail::route(stream, &graph)) return record(error);
  if (graph != nullptr) {
    graph->nodes.push_back({[=] {
      function(data);
      return cudaSuccess;
    }});
  } else {
    function(data);
  }
  return cudaSuccess;
}

// ---- events ----

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  if (event == nullptr || flags > 7) return record(cudaErrorInvalidValue);
  *event = new CUevent_st();
  (*event)->flags = flags;
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  if (event == nullptr) return record(cudaErrorInvalidResourceHandle);
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (event == nullptr) return record(cudaErrorInvalidResourceHandle);
  CUgraph_st* graph = nullptr;
  if (cudaError_t error = detail::route(stream, &graph)) return record(error);
  if (graph != nullptr) {
    std::lock_guard lock(capture_mutex);
    event->capture = stream->capture;
    event->seen = stream->capture->streams[stream];
    return cudaSuccess;
  }
  event->capture = nullptr;
  event->seen.clear();
  event->recorded = true;
  event->time = std::chrono::steady_clock::now();
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event == nullptr) return record(cudaErrorInvalidResourceHandle);
  if (event->capture == nullptr) return cudaSuccess;
  std::lock_guard lock(capture_mutex);
  return record(invalidate(*event->capture, cudaErrorCapturedEvent));
}

cudaError_t cudaEventQuery(cudaEvent_t event) { return cudaEventSynchronize(event); }

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  if (milliseconds == nullptr) return record(cudaErrorInvalidValue);
  for (cudaEvent_t event : {start, end}) {
    if (event != nullptr && event->capture != nullptr) return record(cudaErrorCapturedEvent);
    if (event == nullptr || !event->recorded || (event->flags & cudaEventDisableTiming) != 0) {
      return record(cudaErrorInvalidResourceHandle);
    }
  }
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
  return cudaSuccess;
}

// ---- capture and graphs ----

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  if (is_default(stream)) return record(cudaErrorStreamCaptureUnsupported);
  std::lock_guard lock(capture_mutex);
  if (stream->capture != nullptr) return record(cudaErrorIllegalState);
  auto capture = std::make_shared<Capture>();
  capture->origin = stream;
  capture->mode = mode;
  capture->thread = std::this_thread::get_id();
  capture->streams[stream];
  stream->capture = capture;
  captures().push_back(capture);
  ++capture_count;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (graph == nullptr) return record(cudaErrorInvalidValue);
  *graph = nullptr;
  if (is_default(stream)) return record(cudaErrorIllegalState);
  std::lock_guard lock(capture_mutex);
  std::shared_ptr<Capture> capture = stream->capture;
  if (capture == nullptr) return record(cudaErrorIllegalState);
  if (capture->origin != stream) return record(invalidate(*capture, cudaErrorStreamCaptureUnmatched));
  if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != std::this_thread::get_id()) {
    return record(cudaErrorStreamCaptureWrongThread);
  }

  cudaError_t error = capture->valid ? cudaSuccess : cudaErrorStreamCaptureInvalidated;
  Seen& joined = capture->streams[stream];
  for (auto& [other, seen] : capture->streams) {
    if (error == cudaSuccess && joined[other] < seen[other]) error = cudaErrorStreamCaptureUnjoined;
    other->capture = nullptr;
  }
  capture->ended = true;
  captures().erase(std::find(captures().begin(), captures().end(), capture));
  --capture_count;
  if (error != cudaSuccess) return record(error);
  *graph = new CUgraph_st(std::move(capture->graph));
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  if (status == nullptr) return record(cudaErrorInvalidValue);
  *status = cudaStreamCaptureStatusNone;
  if (capture_count == 0 || is_default(stream)) return cudaSuccess;
  std::lock_guard lock(capture_mutex);
  if (stream->capture != nullptr) {
    *status = stream->capture->valid ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusInvalidated;
  }
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, std::size_t* count) {
  if (graph == nullptr || count == nullptr) return record(cudaErrorInvalidValue);
  if (nodes != nullptr) {
    for (std::size_t i = 0; i < *count; ++i) nodes[i] = i < graph->nodes.size() ? &graph->nodes[i] : nullptr;
    *count = std::min(*count, graph->nodes.size());
  } else {
    *count = graph->nodes.size();
  }
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  if (graph == nullptr) return record(cudaErrorInvalidValue);
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  if (exec == nullptr || graph == nullptr) return record(cudaErrorInvalidValue);
  *exec = new CUgraphExec_st{*graph};
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  if (exec == nullptr) return record(cudaErrorInvalidValue);
  delete exec;
  return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t) {
  return record(exec == nullptr ? cudaErrorInvalidValue : cudaSuccess);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  if (exec == nullptr) return record(cudaErrorInvalidValue);
  CUgraph_st* graph = nullptr;
  if (cudaError_t error = detail::route(stream, &graph)) return record(error);
  if (graph == nullptr) return exec->graph.run();
  // Captured: a child graph, copied since exec may go before this capture does.
  graph->nodes.push_back({[child = exec->graph] { return child.run(); }});
  return cudaSuccess;
}

}  // namespace simt
