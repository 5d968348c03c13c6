// A device as the engine sees it: its stream, its memory, the kernels' context, and which kernels to take.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "engine/device/allocator.h"
#include "engine/device/runtime.h"
#include "kernels/common/table.h"

namespace engine {

class Buffer;
class Tuner;

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
  // What times them, where the policy leaves several to take (tuner.h); without one, kernels::choose() alone says.
  std::shared_ptr<Tuner> tuner;

  // The context to hand to a kernel, with a workspace of at least this many bytes. Contents of the workspace do not
  // survive the next call.
  kernels::Context& context(size_t workspace_bytes = 0);

  bool is_capturing() const { return capturing_; }  // a Graph: what is put on the stream does not run now

  // Waits until all work put on the device so far is done. Throws Error where some of it failed.
  void synchronize();

  // How often, so far: kernels (on the CPU tasks and oneDNN's passes too) were launched, whether to run or into a
  // graph, but not what cuBLAS and cuDNN launch; graphs were launched; synchronize() waited.
  int64_t launches() const { return context_.launches; }
  int64_t graph_launches() const { return graph_launches_; }
  int64_t synchronizations() const { return synchronizations_; }

 private:
  friend Device& device(DeviceType);
  friend class Graph;
  explicit Device(const Runtime&);
  const Runtime& runtime_;
  void* stream_;
  Allocator allocator_;
  kernels::Context context_;
  std::shared_ptr<Buffer> workspace_;
  int64_t graph_launches_ = 0, synchronizations_ = 0;
  bool capturing_ = false;
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
  void synchronize() const { device_.runtime().event_synchronize(event_); }  // waits for what was before the mark
  float milliseconds_since(const Event& start) const { return device_.runtime().event_elapsed(start.event_, event_); }

 private:
  Device& device_;
  void* event_;
};

// Work captured once and replayed: everything that `work` puts on the device's stream, in that order. It must not wait,
// nor copy from the host, and must ask the runtime for no memory: run it once before, which fills the allocator's cache
// and makes what vendor libraries keep for a shape. What `work` takes from the allocator, and the workspace, the graph
// keeps for itself as long as it lives, whatever `work` gave back; tensors of before that it reads and writes must live
// as long as the graph.
class Graph {
 public:
  template <class Work>
  Graph(Device& device, Work work) : Graph(device) {
    begin();
    try {
      work();
    } catch (...) {
      discard();
      throw;
    }
    end();
  }
  ~Graph();
  Graph(const Graph&) = delete;
  void launch();  // puts it all on the device's stream

  size_t nodes() const { return nodes_; }            // kernels, tasks, copies: what a launch of the graph runs
  size_t memory() const { return memory_.bytes(); }  // bytes set aside

 private:
  explicit Graph(Device& device) : device_(device) {}
  void begin();
  void end();
  void discard();  // ends a capture that failed
  Device& device_;
  MemoryPool memory_;
  std::shared_ptr<Buffer> workspaces_[2];  // of the capture's begin and end
  void* graph_ = nullptr;
  size_t nodes_ = 0;
};

}  // namespace engine
