// Device and pinned memory: the host's own, with a list of what was handed out.

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <string>

#include "stream.h"

namespace simt {
namespace {

using detail::check_no_capture;
using detail::record;
using detail::route;

constexpr std::size_t alignment = 256, huge_page = std::size_t{2} << 20;

struct Allocation {
  std::size_t bytes;
  cudaMemoryType type;
};
std::mutex allocations_mutex;
std::map<const char*, Allocation>& allocations() {
  static std::map<const char*, Allocation> map;
  return map;
}
std::size_t allocated = 0;

// A line of /proc/meminfo in bytes, or 0.
std::size_t meminfo(const std::string& key) {
  std::ifstream file("/proc/meminfo");
  std::string word;
  while (file >> word) {
    std::size_t kib = 0;
    if (word == key && file >> kib) return kib * 1024;
  }
  return 0;
}

std::size_t total_memory() {
  static const std::size_t bytes = meminfo("MemTotal:");
  return bytes;
}

cudaError_t allocate(void** pointer, std::size_t bytes, cudaMemoryType type) {
  if (pointer == nullptr) return record(cudaErrorInvalidValue);
  *pointer = nullptr;
  if (cudaError_t error = check_no_capture()) return record(error);
  if (bytes == 0) return cudaSuccess;
  static const bool poison = [] {
    const char* text = std::getenv("SIMT_POISON");
    return text == nullptr || std::string(text) != "0";
  }();
  std::lock_guard lock(allocations_mutex);
  // Linux would promise more than there is, and end the process when the promise falls due.
  std::size_t total = total_memory();
  if (total != 0 && bytes > total - std::min(allocated, total)) return record(cudaErrorMemoryAllocation);
  // Not rounded up to the alignment: AddressSanitizer then sees an access beyond the end.
  void* memory = nullptr;
  const bool huge = bytes >= huge_page;
  if (posix_memalign(&memory, huge ? huge_page : alignment, bytes) != 0) return record(cudaErrorMemoryAllocation);
  // One page of 2 MiB instead of 512 first touches, each of which the kernel has to answer. Where the system has no
  // such pages, it stays as it was.
  if (huge) ::madvise(memory, bytes, MADV_HUGEPAGE);
  if (poison && type != cudaMemoryTypeHost) std::memset(memory, 0xff, bytes);
  allocations()[static_cast<char*>(memory)] = {bytes, type};
  allocated += bytes;
  *pointer = memory;
  return cudaSuccess;
}

cudaError_t release(void* pointer, bool host) {
  if (pointer == nullptr) return cudaSuccess;
  if (cudaError_t error = check_no_capture()) return record(error);
  std::lock_guard lock(allocations_mutex);
  auto found = allocations().find(static_cast<char*>(pointer));
  if (found == allocations().end() || (found->second.type == cudaMemoryTypeHost) != host) {
    return record(cudaErrorInvalidValue);
  }
  allocated -= found->second.bytes;
  allocations().erase(found);
  std::free(pointer);
  return cudaSuccess;
}

// Puts f into the stream.
template <class F>
cudaError_t submit(cudaStream_t stream, F f) {
  CUgraph_st* graph = nullptr;
  if (cudaError_t error = route(stream, &graph)) return record(error);
  if (graph != nullptr) {
    graph->nodes.push_back({[f] {
      f();
      return cudaSuccess;
    }});
  } else {
    f();
  }
  return cudaSuccess;
}

bool is_kind(cudaMemcpyKind kind) { return kind >= cudaMemcpyHostToHost && kind <= cudaMemcpyDefault; }

}  // namespace

cudaError_t cudaMalloc(void** pointer, std::size_t bytes) { return allocate(pointer, bytes, cudaMemoryTypeDevice); }
cudaError_t cudaMallocAsync(void** pointer, std::size_t bytes, cudaStream_t) { return cudaMalloc(pointer, bytes); }
cudaError_t cudaMallocManaged(void** pointer, std::size_t bytes, unsigned) {
  return allocate(pointer, bytes, cudaMemoryTypeManaged);
}
cudaError_t cudaFree(void* pointer) { return release(pointer, false); }
cudaError_t cudaFreeAsync(void* pointer, cudaStream_t) { return cudaFree(pointer); }
cudaError_t cudaMallocHost(void** pointer, std::size_t bytes, unsigned) {
  return allocate(pointer, bytes, cudaMemoryTypeHost);
}
cudaError_t cudaHostAlloc(void** pointer, std::size_t bytes, unsigned flags) {
  return cudaMallocHost(pointer, bytes, flags);
}
cudaError_t cudaFreeHost(void* pointer) { return release(pointer, true); }

cudaError_t cudaMemGetInfo(std::size_t* free_bytes, std::size_t* total_bytes) {
  if (free_bytes == nullptr || total_bytes == nullptr) return record(cudaErrorInvalidValue);
  *free_bytes = meminfo("MemAvailable:");
  *total_bytes = total_memory();
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  if (attributes == nullptr) return record(cudaErrorInvalidValue);
  *attributes = {cudaMemoryTypeUnregistered, -1, nullptr, const_cast<void*>(pointer)};
  std::lock_guard lock(allocations_mutex);
  auto* address = static_cast<const char*>(pointer);
  auto after = allocations().upper_bound(address);
  if (after == allocations().begin()) return cudaSuccess;
  auto& [begin, allocation] = *std::prev(after);
  if (address >= begin + allocation.bytes) return cudaSuccess;
  *attributes = {allocation.type, 0, const_cast<void*>(pointer), const_cast<void*>(pointer)};
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (!is_kind(kind)) return record(cudaErrorInvalidMemcpyDirection);
  if (bytes == 0) return cudaSuccess;
  if (to == nullptr || from == nullptr) return record(cudaErrorInvalidValue);
  return submit(stream, [=] { std::memmove(to, from, bytes); });
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}

cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                              std::size_t width, std::size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  if (!is_kind(kind)) return record(cudaErrorInvalidMemcpyDirection);
  if (width > to_pitch || width > from_pitch) return record(cudaErrorInvalidPitchValue);
  if (width == 0 || height == 0) return cudaSuccess;
  if (to == nullptr || from == nullptr) return record(cudaErrorInvalidValue);
  return submit(stream, [=] {
    for (std::size_t row = 0; row < height; ++row) {
      std::memmove(static_cast<char*>(to) + row * to_pitch, static_cast<const char*>(from) + row * from_pitch, width);
    }
  });
}

cudaError_t cudaMemcpy2D(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch, std::size_t width,
                         std::size_t height, cudaMemcpyKind kind) {
  return cudaMemcpy2DAsync(to, to_pitch, from, from_pitch, width, height, kind, nullptr);
}

cudaError_t cudaMemsetAsync(void* to, int byte, std::size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (to == nullptr) return record(cudaErrorInvalidValue);
  return submit(stream, [=] { std::memset(to, byte, bytes); });
}

cudaError_t cudaMemset(void* to, int byte, std::size_t bytes) { return cudaMemsetAsync(to, byte, bytes, nullptr); }

}  // namespace simt
