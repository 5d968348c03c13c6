// A device as the engine sees it: its stream, its memory, the kernels' context, and which kernels to take.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "engine/device/allocator.h"
#include "engine/device/runtime.h"
#include "kernels/common/table.h"

namespace engine {

// One object a DeviceType, made when it is first asked for and never destroyed, so that tensors of any lifetime can
// give their memory back. One thread drives a device; loader threads work on host memory.
class Device {
 public:
  DeviceType type() const { return runtime_.type; }
  const Runtime& runtime() const { return runtime_; }
  void* stream() const { return stream_; }  // all work of this device runs on it, in order
  Allocator& allocator() { return allocator_; }

  // The rows of kernels to take: `device.policy = kernels::parse_policy("native", device.type())`.
  kernels::Policy policy;

  // The context to hand to a kernel, with a workspace of at least this many bytes. Contents of the workspace do not
  // survive the next call.
  kernels::Context& context(size_t workspace_bytes = 0);

  // Waits until all work put on the device so far is done. Throws Error where some of it failed.
  void synchronize();

 private:
  friend Device& device(DeviceType);
  explicit Device(const Runtime&);
  const Runtime& runtime_;
  void* stream_;
  Allocator allocator_;
  kernels::Context context_;
};

// Throws InputError for cuda where this build or this machine has no GPU.
Device& device(DeviceType);

const char* to_string(DeviceType);  // "cpu", "cuda"
DeviceType best_device();           // cuda where build and machine have it, else cpu
DeviceType parse_device(
    std::string_view);  // "auto" (best_device()), "cpu" or "cuda"; else, and where it is not there, throws InputError

// Device memory with one owner, from the device's allocator.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Device& device, size_t bytes);  // contents undefined
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer(std::move(other)).swap(*this);
    return *this;
  }
  ~Buffer();
  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }
  Device* device_ = nullptr;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// A mark on a device's stream, to time what lies between two.
class Event {
 public:
  explicit Event(Device& device) : device_(device), event_(device.runtime().event_create()) {}
  ~Event() { device_.runtime().event_destroy(event_); }
  Event(const Event&) = delete;
  void record() { device_.runtime().event_record(event_, device_.stream()); }
  float milliseconds_since(const Event& start) const { return device_.runtime().event_elapsed(start.event_, event_); }

 private:
  Device& device_;
  void* event_;
};

// Work captured once and replayed: everything that `work` puts on the device's stream. It must ask the runtime for no
// memory and must not wait, so run it once before, to fill the allocator's cache. The tensors that it reads and writes
// must live as long as the graph. Each launch also writes to the memory that `work` took from the allocator and gave
// back: until the allocator can set such memory aside, keep nothing across a launch that was made after the capture.
class Graph {
 public:
  template <class Work>
  Graph(Device& device, Work work) : device_(device) {
    device.runtime().capture_begin(device.stream());
    try {
      work();
    } catch (...) {
      discard();
      throw;
    }
    graph_ = device.runtime().capture_end(device.stream());
  }
  ~Graph() { device_.runtime().graph_destroy(graph_); }
  Graph(const Graph&) = delete;
  void launch() { device_.runtime().graph_launch(graph_, device_.stream()); }

 private:
  void discard();  // ends a capture that failed
  Device& device_;
  void* graph_ = nullptr;
};

}  // namespace engine
