#include "engine/device/allocator.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <iterator>

#include "engine/error.h"

namespace engine {

size_t Allocator::size_class(size_t bytes) {
  constexpr size_t unit = 256;
  const size_t step = std::max(unit, std::bit_floor(bytes) / 8);
  return (bytes + step - 1) / step * step;
}

void* Allocator::allocate(size_t bytes) {
  if (bytes == 0) return nullptr;
  if (bytes > SIZE_MAX / 2) throw Error("allocate", fmt::format("{} bytes are more than there can be", bytes));
  const size_t size = size_class(bytes);
  ++stats_.allocations;
  void* block = pool_ != nullptr ? take(pool_->free_, size) : nullptr;
  if (block != nullptr) {
    stats_.pooled -= size;
  } else {
    block = take(free_, size);
    if (block != nullptr) {
      stats_.cached -= size;
    } else if (pool_ != nullptr) {
      throw Error("allocate", fmt::format("a capture needs {} bytes that the cache does not hold: what is captured has "
                                          "to run once before",
                                          size));
    } else {
      block = from_runtime(size);
    }
    if (pool_ != nullptr) {
      pool_of_[block] = pool_;
      pool_->bytes_ += size;
    }
  }
  stats_.in_use += size;
  stats_.peak = std::max(stats_.peak, stats_.in_use);
  return block;
}

void* Allocator::take(std::map<size_t, std::vector<void*>>& from, size_t size) {
  std::vector<void*>& blocks = from[size];
  if (blocks.empty()) return nullptr;
  void* block = blocks.back();
  blocks.pop_back();
  return block;
}

void* Allocator::from_runtime(size_t size) {
  ++stats_.runtime_allocations;
  const auto allocate = [&] {
    void* const block = runtime_.allocate(size);
    from_runtime_[reinterpret_cast<std::uintptr_t>(block)] = size;
    return block;
  };
  try {
    return allocate();
  } catch (const kernels::Error&) {
    empty_cache();
  }
  try {
    return allocate();
  } catch (const kernels::Error& error) {
    throw Error("allocate",
                fmt::format("no memory for {} bytes beside the {} in use: {}", size, stats_.in_use, error.what()));
  }
}

void Allocator::release(void* pointer, size_t bytes) {
  if (pointer == nullptr) return;
  const size_t size = size_class(bytes);
  stats_.in_use -= size;
  if (const auto owned = pool_of_.find(pointer); owned != pool_of_.end()) {
    owned->second->free_[size].push_back(pointer);
    stats_.pooled += size;
  } else {
    free_[size].push_back(pointer);
    stats_.cached += size;
  }
}

void Allocator::begin_pool(MemoryPool& pool) {
  if (pool_ != nullptr) throw Error("allocate", "a capture within a capture");
  pool_ = &pool;
}

void Allocator::dissolve(MemoryPool& pool) {
  for (auto& [size, blocks] : pool.free_) {
    stats_.pooled -= size * blocks.size();
    stats_.cached += size * blocks.size();
    free_[size].insert(free_[size].end(), blocks.begin(), blocks.end());
  }
  pool.free_.clear();
  pool.bytes_ = 0;
  for (auto it = pool_of_.begin(); it != pool_of_.end();) it = it->second == &pool ? pool_of_.erase(it) : std::next(it);
}

void Allocator::empty_cache() {
  runtime_.stream_synchronize(stream_);
  for (auto& [size, blocks] : free_)
    for (; !blocks.empty(); blocks.pop_back()) {
      runtime_.free(blocks.back());
      from_runtime_.erase(reinterpret_cast<std::uintptr_t>(blocks.back()));
      stats_.cached -= size;
    }
}

std::span<std::byte> Allocator::around(const void* pointer) const {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  auto block = from_runtime_.upper_bound(address);
  if (block == from_runtime_.begin()) return {};
  --block;
  if (address >= block->first + block->second) return {};
  return {reinterpret_cast<std::byte*>(block->first), block->second};
}

}  // namespace engine
