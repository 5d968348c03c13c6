// Device memory that is kept for reuse: asking the CUDA runtime for memory is slow, and freeing it waits for the
// device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/device/runtime.h"

namespace engine {

struct MemoryStats {
  size_t in_use = 0;                // bytes that live buffers occupy, rounded up to their size classes
  size_t peak = 0;                  // the most that in_use ever was
  size_t cached = 0;                // bytes kept for reuse
  size_t pooled = 0;                // bytes that live pools set aside and no live buffer occupies
  int64_t allocations = 0;          // how often a block was asked for
  int64_t runtime_allocations = 0;  // how often the runtime was asked for memory

  size_t held() const { return in_use + cached + pooled; }  // bytes that the runtime gave
};

// Memory that nothing else is given as long as the pool lives: that of a captured graph, whose launches write to it
// whether or not a buffer occupies it at the time.
class MemoryPool {
 public:
  size_t bytes() const { return bytes_; }  // set aside

 private:
  friend class Allocator;
  std::map<size_t, std::vector<void*>> free_;  // size class -> blocks
  size_t bytes_ = 0;
};

// Sizes are rounded up to classes, eight to each power of two (at most 12.5 % is lost), and a freed block is handed out
// again for its class at once. That is safe without waiting, because all work of a device runs in order on one stream:
// what still reads the block was put on the stream before whatever will write it. A captured graph runs again later,
// and so gets a pool of its own. Not thread-safe.
class Allocator {
 public:
  Allocator(const Runtime& runtime, void* stream) : runtime_(runtime), stream_(stream) {}
  Allocator(const Allocator&) = delete;

  // At least `bytes` bytes, aligned to 256, contents undefined; nullptr for 0 bytes. Where the runtime has no memory
  // left, frees the cache and tries once more; then throws Error with the sizes.
  void* allocate(size_t bytes);
  void release(void* pointer, size_t bytes);  // bytes as asked for
  void empty_cache();                         // waits for the stream, then gives all cached blocks back to the runtime

  // Between the two, blocks come from this pool: those that were released to it, else cached ones, which become the
  // pool's; the runtime is asked for none (allocate() throws Error where the cache has none of that size). A pool's
  // block always returns to its pool. One pool at a time.
  void begin_pool(MemoryPool&);
  void end_pool() { pool_ = nullptr; }
  // Gives the pool's blocks back to all; those that live buffers occupy, once they are released.
  void dissolve(MemoryPool&);

  // The memory that the runtime gave around this address, which is at least the block that the address lies in; nothing
  // where it is not this allocator's.
  std::span<std::byte> around(const void* pointer) const;

  const MemoryStats& stats() const { return stats_; }
  void reset_peak() { stats_.peak = stats_.in_use; }

  static size_t size_class(size_t bytes);  // what `bytes` is rounded up to: a multiple of 256

 private:
  void* from_runtime(size_t size);
  const Runtime& runtime_;
  void* stream_;
  static void* take(std::map<size_t, std::vector<void*>>& from, size_t size);  // nullptr where there is none
  std::map<size_t, std::vector<void*>> free_;                                  // size class -> blocks
  MemoryPool* pool_ = nullptr;                                                 // that blocks come from now
  std::unordered_map<void*, MemoryPool*> pool_of_;                             // of each block of a pool
  std::map<std::uintptr_t, size_t> from_runtime_;                              // all blocks: address, bytes
  MemoryStats stats_;
};

}  // namespace engine
