// The small interface behind which both devices stand: the part of the CUDA runtime API that the engine uses, as a
// table of functions. runtime.cpp fills it twice from one source, once against engine/simt and once against the real
// runtime.
#pragma once

#include <cstddef>
#include <string>

#include "kernels/common/context.h"

namespace engine {

using kernels::DeviceType;

enum class CopyKind { host_to_device, device_to_host, device_to_device };

struct DeviceProperties {
  std::string name;
  int multiprocessors;
  int compute_capability;  // major · 10 + minor
  size_t total_memory;     // bytes
  int runtime_version;     // CUDA's numbering: 13000 is 13.0
};

// All functions throw kernels::Error, with the runtime's words, where the runtime reports an error. Streams, events and
// graphs are the runtime's own handles; work on one stream runs in order; copies from pageable memory are done on
// return.
struct Runtime {
  DeviceType type;
  int (*device_count)();  // 0 where there is no device or no driver
  DeviceProperties (*properties)();
  void* (*allocate)(size_t bytes);  // contents undefined
  void (*free)(void*);
  void* (*allocate_host)(size_t bytes);  // page-locked
  void (*free_host)(void*);
  void (*copy)(void* to, const void* from, size_t bytes, CopyKind, void* stream);
  void (*fill)(void* to, int byte, size_t bytes, void* stream);

  void* (*stream_create)();
  void (*stream_destroy)(void* stream);
  void (*stream_synchronize)(void* stream);

  void* (*event_create)();
  void (*event_destroy)(void* event);
  void (*event_record)(void* event, void* stream);
  void (*event_synchronize)(void* event);
  float (*event_elapsed)(void* from, void* to);  // milliseconds; waits for both

  void (*capture_begin)(void* stream);
  void* (*capture_end)(void* stream, size_t* nodes);  // an executable graph, and how many nodes it has
  void (*graph_launch)(void* graph, void* stream);
  void (*graph_destroy)(void* graph);
};

// Throws kernels::Error for cuda in a build without it. Does not need a GPU to be present.
const Runtime& runtime(DeviceType);

}  // namespace engine
