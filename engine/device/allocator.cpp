#include "engine/device/allocator.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

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
  void* block = nullptr;
  if (std::vector<void*>& blocks = free_[size]; !blocks.empty()) {
    block = blocks.back();
    blocks.pop_back();
    stats_.cached -= size;
  } else {
    block = from_runtime(size);
  }
  stats_.in_use += size;
  stats_.peak = std::max(stats_.peak, stats_.in_use);
  return block;
}

void* Allocator::from_runtime(size_t size) {
  ++stats_.runtime_allocations;
  try {
    return runtime_.allocate(size);
  } catch (const kernels::Error&) {
    empty_cache();
  }
  try {
    return runtime_.allocate(size);
  } catch (const kernels::Error& error) {
    throw Error("allocate",
                fmt::format("no memory for {} bytes beside the {} in use: {}", size, stats_.in_use, error.what()));
  }
}

void Allocator::release(void* pointer, size_t bytes) {
  if (pointer == nullptr) return;
  const size_t size = size_class(bytes);
  free_[size].push_back(pointer);
  stats_.in_use -= size;
  stats_.cached += size;
}

void Allocator::empty_cache() {
  runtime_.stream_synchronize(stream_);
  for (auto& [size, blocks] : free_)
    for (; !blocks.empty(); blocks.pop_back()) {
      runtime_.free(blocks.back());
      stats_.cached -= size;
    }
}

}  // namespace engine
