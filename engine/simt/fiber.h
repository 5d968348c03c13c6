#pragma once

// A fiber: a stack and the place where its execution stopped. Fibers never move between OS threads.

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>
#include <memory>

#if defined(__SANITIZE_ADDRESS__)
#define SIMT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIMT_ASAN 1
#endif
#endif
#ifdef SIMT_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace simt::detail {

// boost::context::fiber does the same with an exception-based clean-up on top; the functions under it, which have kept
// their form since Boost 1.61, make a switch about twice as fast.
using Context = boost::context::detail::fcontext_t;
using Transfer = boost::context::detail::transfer_t;

struct Fiber {
  Context context = nullptr;        // set while it is suspended
  const void* stack_low = nullptr;  // lowest address, and size in bytes; a thread's own stack: known after a switch
  std::size_t stack_bytes = 0;
  void* fake_stack = nullptr;  // AddressSanitizer's, while it is suspended
};

// Called first thing on the side that goes on, with what the switch returned.
inline void arrive(Transfer transfer, [[maybe_unused]] void* own_fake_stack) {
  auto* from = static_cast<Fiber*>(transfer.data);
  from->context = transfer.fctx;
#ifdef SIMT_ASAN
  __sanitizer_finish_switch_fiber(own_fake_stack, &from->stack_low, &from->stack_bytes);
#endif
}

inline void switch_fiber(Fiber& from, Fiber& to) {
#ifdef SIMT_ASAN
  __sanitizer_start_switch_fiber(&from.fake_stack, to.stack_low, to.stack_bytes);
#endif
  arrive(boost::context::detail::jump_fcontext(to.context, &from), from.fake_stack);
}

// A fiber with a stack of its own, below which lies a page that faults. Its entry calls arrive(transfer, nullptr).
class PooledFiber : public Fiber {
 public:
  explicit PooledFiber(void (*entry)(Transfer));  // throws std::bad_alloc
  ~PooledFiber();
  PooledFiber(const PooledFiber&) = delete;
  PooledFiber& operator=(const PooledFiber&) = delete;

 private:
  void* mapping_ = nullptr;
  std::size_t mapping_bytes_ = 0;
};

}  // namespace simt::detail
