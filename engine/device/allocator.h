// Device memory that is kept for reuse: asking the CUDA runtime for memory is slow, and freeing it waits for the
// device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "engine/device/runtime.h"

namespace engine {

struct MemoryStats {
  size_t in_use = 0;                // bytes that live buffers occupy, rounded up to their size classes
  size_t peak = 0;                  // the most that in_use ever was
  size_t cached = 0;                // bytes kept for reuse
  int64_t runtime_allocations = 0;  // how often the runtime was asked for memory
};

// Sizes are rounded up to classes, eight to each power of two (at most 12.5 % is lost), and a freed block is handed out
// again for its class at once. That is safe without waiting, because all work of a device runs in order on one stream:
// what still reads the block was put on the stream before whatever will write it. Not thread-safe.
class Allocator {
 public:
  Allocator(const Runtime& runtime, void* stream) : runtime_(runtime), stream_(stream) {}
  Allocator(const Allocator&) = delete;

  // At least `bytes` bytes, aligned to 256, contents undefined; nullptr for 0 bytes. Where the runtime has no memory
  // left, frees the cache and tries once more; then throws Error with the sizes.
  void* allocate(size_t bytes);
  void release(void* pointer, size_t bytes);  // bytes as asked for
  void empty_cache();                         // waits for the stream, then gives all cached blocks back to the runtime

  const MemoryStats& stats() const { return stats_; }
  void reset_peak() { stats_.peak = stats_.in_use; }

  static size_t size_class(size_t bytes);  // what `bytes` is rounded up to: a multiple of 256

 private:
  void* from_runtime(size_t size);
  const Runtime& runtime_;
  void* stream_;
  std::map<size_t, std::vector<void*>> free_;  // size class -> blocks
  MemoryStats stats_;
};

}  // namespace engine
