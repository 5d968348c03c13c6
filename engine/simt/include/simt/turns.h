#pragma once

// How a thread of a kernel gives way to another: for the barriers and warp operations, not for kernels.
//
// The switch itself is inline, so that no function returns after one: the processor predicts that a function returns to
// where it was called last, which after a switch is wrong. Out of line a switch takes 20 ns, inline 8.

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>
#include <cstdint>

#if defined(__SANITIZE_ADDRESS__)
#define SIMT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIMT_ASAN 1
#endif
#endif
#ifdef SIMT_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

namespace simt::detail {

// A fiber: a stack, and the place where its execution stopped. Fibers never move between OS threads.
struct Fiber {
  boost::context::detail::fcontext_t context = nullptr;  // set while it is suspended
  const void* stack_low = nullptr;  // lowest address, and size in bytes; of an OS thread's own stack: after a switch
  std::size_t stack_bytes = 0;
  void* fake_stack = nullptr;  // AddressSanitizer's, while it is suspended
};

// Called first thing on the side that goes on, with what the switch returned.
inline __attribute__((always_inline)) void arrive(boost::context::detail::transfer_t transfer,
                                                  [[maybe_unused]] void* own_fake_stack) {
  auto* from = static_cast<Fiber*>(transfer.data);
  from->context = transfer.fctx;
#ifdef SIMT_ASAN
  __sanitizer_finish_switch_fiber(own_fake_stack, &from->stack_low, &from->stack_bytes);
#endif
}

// Suspends `from`, the running one, and goes on in `to`. boost::context::fiber is as fast, but unwinds suspended stacks
// by force when it is destroyed and ties a fiber's life to a function's; the functions under it have kept their form
// since Boost 1.61.
inline __attribute__((always_inline)) void switch_fiber(Fiber& from, Fiber& to) {
#ifdef SIMT_ASAN
  __sanitizer_start_switch_fiber(&from.fake_stack, to.stack_low, to.stack_bytes);
#endif
  arrive(boost::context::detail::jump_fcontext(to.context, &from), from.fake_stack);
}

// What a lane brings to a warp operation and takes away.
struct Lane {
  std::uint64_t value;
  std::uint64_t result;
  int source;     // of shuffles: the lane that it reads
  unsigned mask;  // the lanes that it waits for
  const struct WarpOperation* operation;
  int id;  // 0 to 31
};

// The last of the lanes to arrive computes all results.
struct WarpOperation {
  const char* name;
  void (*complete)(Lane* lanes, unsigned mask);  // lanes: the warp's 32
};

// Of the thread that runs on this OS thread.
struct Running {
  Lane* lane = nullptr;
  int barrier_result = 0;  // how many predicates held at the last block barrier
  bool abandoned = false;  // its block has failed: it has to unwind
};
extern constinit thread_local Running running;

// Who goes on after an arrival: `to`, or the caller itself if that is null.
struct Turn {
  Fiber* from;
  Fiber* to;
};
Turn arrive_at_barrier(const char* name, int predicate);
Turn arrive_at_warp_operation();  // which stands in running.lane
[[noreturn]] void unwind();

inline __attribute__((always_inline)) void take_turn(Turn turn) {
  if (turn.to != nullptr) switch_fiber(*turn.from, *turn.to);
  if (running.abandoned) [[unlikely]]
    unwind();
}

// Waits for all threads of the block; returns how many predicates hold.
inline __attribute__((always_inline)) int block_barrier(const char* name, int predicate) {
  take_turn(arrive_at_barrier(name, predicate));
  return running.barrier_result;
}

// Waits until all lanes of mask wait in the same operation with the same mask; returns this lane's result.
// Lanes beyond the end of the block are ignored. The calling lane must be in the mask.
inline __attribute__((always_inline)) std::uint64_t warp_collective(const WarpOperation& operation, unsigned mask,
                                                                    std::uint64_t value, int source = 0) {
  Lane* lane = running.lane;
  lane->value = value;
  lane->source = source;
  lane->mask = mask;
  lane->operation = &operation;
  take_turn(arrive_at_warp_operation());
  return lane->result;
}

}  // namespace simt::detail
