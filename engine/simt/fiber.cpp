#include "fiber.h"

#ifdef SIMT_ASAN
#include <sanitizer/asan_interface.h>
#endif

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace simt::detail {
namespace {

// Stack bytes of a fiber. AddressSanitizer's frames are several times larger.
std::size_t stack_size() {
  static const std::size_t size = [] {
    const char* text = std::getenv("SIMT_STACK_KIB");
    long kib = text ? std::atol(text) : 0;
#ifdef SIMT_ASAN
    long standard = 256;
#else
    long standard = 64;
#endif
    if (kib < 16 || kib > (1 << 20)) kib = standard;
    auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    return (static_cast<std::size_t>(kib) * 1024 + page - 1) / page * page;
  }();
  return size;
}

// A guard page splits a mapping in two, and Linux allows a process 65530 of them.
constexpr int most_guard_pages = 16384;
std::atomic<int> fibers = 0;

// The top of a stack is what a fiber touches most. Were all tops at the same offset in their page, they would share a
// few sets of the first-level cache, so each starts some lines lower than the one before.
constexpr std::size_t stagger = 320, staggers = 12;

}  // namespace

PooledFiber::PooledFiber(Entry entry) {
  auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  mapping_bytes_ = page + stack_size() + page;  // guard, stack, room for the stagger
  mapping_ = mmap(nullptr, mapping_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping_ == MAP_FAILED) throw std::bad_alloc();
  int number = fibers++;
  if (number < most_guard_pages) mprotect(mapping_, page, PROT_NONE);
  stack_low = static_cast<char*>(mapping_) + page;
  stack_bytes = mapping_bytes_ - page - stagger * (static_cast<std::size_t>(number) % staggers);
  auto* top = static_cast<char*>(mapping_) + page + stack_bytes;
  context = boost::context::detail::make_fcontext(top, stack_bytes, entry);
}

PooledFiber::~PooledFiber() {
  --fibers;
#ifdef SIMT_ASAN
  __asan_unpoison_memory_region(mapping_, mapping_bytes_);
#endif
  munmap(mapping_, mapping_bytes_);
}

}  // namespace simt::detail
