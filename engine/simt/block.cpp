// A block's threads are fibers of one OS thread, made only when needed.
//
// A fiber takes a thread that has not started, calls the kernel, and on return takes the next: a kernel without
// barriers is a loop of calls. When a thread has to wait, its fiber stays with it, and the OS thread goes on with the
// next thread that can run: directly, by one switch, if that thread is suspended in a fiber of its own, else in a spare
// fiber. A fiber whose thread has ended, with none left to start, goes back to the spares.
//
// The threads that can run, started or not, are bits in `ready_`, by their position in the block's order. The search
// starts at the word of the thread that gave way. In the natural order a word is a warp, so a warp's lanes run one
// after the other until all have arrived at a warp operation, and only then does the next warp run.

#include "block.h"

#include <bit>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <utility>
#include <vector>

#include "fiber.h"
#include "include/simt/execution.h"
#include "include/simt/simt.h"
#include "report.h"

#ifdef SIMT_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace simt {

constinit thread_local uint3 threadIdx = {};
constinit thread_local uint3 blockIdx = {};
constinit thread_local dim3 blockDim = {};
constinit thread_local dim3 gridDim = {};
constinit thread_local detail::Running detail::running = {};

namespace detail {
namespace {

// Unwinds a thread whose block has failed elsewhere, so that its destructors run and its fiber can be used again.
struct Abandoned {};

// A mistake of the kernel, found in the running thread.
struct KernelError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Worker {
 public:
  Worker() {
    set_natural_order();
    for (unsigned i = 0; i < most_threads; ++i) lanes_[i].id = static_cast<int>(i % 32);
  }
  std::string run(const Launch& launch, std::uint64_t block);

  Turn arrive_at_barrier(const char* name, int predicate);
  Turn arrive_at_warp_operation();
  void* shared() { return shared_.get(); }
  bool busy() const { return running_ != nullptr; }

 private:
  static void fiber_main(boost::context::detail::transfer_t transfer);
  [[noreturn]] void run_threads();
  void run_current();
  void set_natural_order();
  void set_shape(dim3 block);
  void set_shared(std::size_t bytes);
  void set_all_ready();
  Turn next_turn();
  int next_ready();
  void make_current(int thread);
  Fiber* spare();
  void fail(const std::string& message);
  void report_deadlock();
  void abandon_block();
  void make_ready(unsigned thread);

  const Launch* launch_ = nullptr;
  unsigned threads_ = 0, words_ = 0;
  std::uint64_t random_ = 0;
  bool shuffled_ = false;

  unsigned current_ = 0;  // the running thread
  unsigned word_ = 0;     // of ready_, where the search goes on
  std::uint32_t ready_[most_threads / 32] = {};
  std::uint16_t order_[most_threads];     // position to thread
  std::uint16_t position_[most_threads];  // thread to position
  uint3 index_[most_threads];             // thread to threadIdx
  Fiber* fiber_[most_threads] = {};       // of a thread that has waited at least once and not ended
  bool ended_[most_threads];
  unsigned ended_count_ = 0;

  unsigned arrived_ = 0;                // at the block barrier
  int true_count_ = 0;                  // predicates among them
  const char* barrier_name_ = nullptr;  // of the first to arrive
  bool barriers_differ_ = false;
  const char* waits_at_[most_threads] = {};  // the name of what a thread waits at, or null

  Lane lanes_[most_threads] = {};
  std::uint32_t lanes_waiting_[most_threads / 32] = {};

  std::string failure_;

  Fiber main_;                // the OS thread's own stack
  Fiber* running_ = nullptr;  // the fiber that runs
  std::vector<std::unique_ptr<PooledFiber>> fibers_;
  std::vector<Fiber*> spares_;

  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  std::unique_ptr<void, Free> shared_;
  std::size_t shared_capacity_ = 0;
};

constinit thread_local Worker* worker = nullptr;

void Worker::set_natural_order() {
  for (unsigned i = 0; i < most_threads; ++i) order_[i] = position_[i] = static_cast<std::uint16_t>(i);
}

void Worker::set_shape(dim3 block) {
  threads_ = block.x * block.y * block.z;
  words_ = (threads_ + 31) / 32;
  blockDim = block;
  unsigned i = 0;
  for (unsigned z = 0; z < block.z; ++z) {
    for (unsigned y = 0; y < block.y; ++y) {
      for (unsigned x = 0; x < block.x; ++x) index_[i++] = {x, y, z};
    }
  }
}

void Worker::set_shared(std::size_t bytes) {
  if (bytes > shared_capacity_ || !shared_) {
    shared_capacity_ = (bytes + 4095) / 4096 * 4096 + 4096;
    shared_.reset(std::aligned_alloc(128, shared_capacity_));
    if (!shared_) throw std::bad_alloc();
  }
#ifdef SIMT_ASAN
  __asan_unpoison_memory_region(shared_.get(), bytes);
  auto* end = static_cast<char*>(shared_.get()) + bytes;
  __asan_poison_memory_region(end, shared_capacity_ - bytes);
#endif
  std::memset(shared_.get(), 0xff, bytes);
}

// All threads can run; with a seed, in a new order.
void Worker::set_all_ready() {
  if (launch_->seed != 0) {
    for (unsigned i = 0; i < threads_; ++i) order_[i] = static_cast<std::uint16_t>(i);
    shuffle_values(order_, threads_, random_);
    for (unsigned i = 0; i < threads_; ++i) position_[order_[i]] = static_cast<std::uint16_t>(i);
  }
  for (unsigned w = 0; w < words_; ++w) ready_[w] = 0xffffffffu;
  if (threads_ % 32 != 0) ready_[words_ - 1] = (1u << threads_ % 32) - 1;
  word_ = 0;
}

std::string Worker::run(const Launch& launch, std::uint64_t block) {
  launch_ = &launch;
  if (blockDim.x != launch.block.x || blockDim.y != launch.block.y || blockDim.z != launch.block.z || threads_ == 0) {
    set_shape(launch.block);
  }
  if (launch.seed == 0 && shuffled_) set_natural_order();
  shuffled_ = launch.seed != 0;
  gridDim = launch.grid;
  blockIdx = {static_cast<unsigned>(block % launch.grid.x),
              static_cast<unsigned>(block / launch.grid.x % launch.grid.y),
              static_cast<unsigned>(block / launch.grid.x / launch.grid.y)};
  set_shared(launch.shared_bytes);
  random_ = launch.seed ^ (block * 0xd1342543de82ef95u);
  std::memset(ended_, 0, threads_);
  ended_count_ = 0;
  arrived_ = 0;
  true_count_ = 0;
  running.abandoned = false;
  set_all_ready();

  make_current(next_ready());
  running_ = spare();
  switch_fiber(main_, *running_);
  return std::exchange(failure_, {});
}

Fiber* Worker::spare() {
  if (spares_.empty()) {
    fibers_.push_back(std::make_unique<PooledFiber>(&fiber_main));
    return fibers_.back().get();
  }
  Fiber* fiber = spares_.back();
  spares_.pop_back();
  return fiber;
}

void Worker::fiber_main(boost::context::detail::transfer_t transfer) {
  arrive(transfer, nullptr);
  worker->run_threads();
}

// What every fiber does, for ever.
void Worker::run_threads() {
  for (;;) {
    run_current();
    fiber_[current_] = nullptr;
    ended_[current_] = true;
    ++ended_count_;
    int next = next_ready();
    if (next < 0 && ended_count_ < threads_) {
      report_deadlock();
      next = next_ready();
    }
    Fiber* self = running_;
    if (next < 0) {
      running_ = nullptr;
      spares_.push_back(self);
      switch_fiber(*self, main_);
    } else {
      make_current(next);
      if (fiber_[current_] != nullptr) {
        running_ = fiber_[current_];
        spares_.push_back(self);
        switch_fiber(*self, *running_);
      }
    }
  }
}

void Worker::run_current() {
  try {
    launch_->call.run(launch_->call.kernel, launch_->call.arguments);
  } catch (const Abandoned&) {
  } catch (const std::exception& error) {
    fail(error.what());
  } catch (...) {
    fail("an exception that is no std::exception");
  }
}

// -1: none.
inline int Worker::next_ready() {
  for (unsigned i = 0; i <= words_; ++i) {
    if (std::uint32_t bits = ready_[word_]) {
      ready_[word_] = bits & (bits - 1);
      return order_[word_ * 32 + static_cast<unsigned>(std::countr_zero(bits))];
    }
    if (++word_ == words_) word_ = 0;
  }
  return -1;
}

inline void Worker::make_current(int thread) {
  current_ = static_cast<unsigned>(thread);
  threadIdx = index_[thread];
  running.lane = &lanes_[thread];
  waits_at_[thread] = nullptr;
}

inline void Worker::make_ready(unsigned thread) {
  unsigned position = position_[thread];
  ready_[position / 32] |= 1u << position % 32;
}

// The running thread has to wait: who goes on? It returns from its switch when it has been made ready and is next.
inline Turn Worker::next_turn() {
  int next = next_ready();
  if (next < 0) [[unlikely]] {
    report_deadlock();
    next = next_ready();
  }
  if (static_cast<unsigned>(next) == current_) {
    make_current(next);
    return {nullptr, nullptr};
  }
  Fiber* to = fiber_[next] != nullptr ? fiber_[next] : spare();
  Fiber* self = std::exchange(running_, to);
  fiber_[current_] = self;
  make_current(next);
  return {self, to};
}

Turn Worker::arrive_at_barrier(const char* name, int predicate) {
  if (running.abandoned) [[unlikely]]
    throw Abandoned();
  waits_at_[current_] = name;
  if (arrived_ == 0) {
    barriers_differ_ = false;
    barrier_name_ = name;
  } else if (barrier_name_ != name) {
    barriers_differ_ = true;
  }
  true_count_ += predicate != 0;
  if (++arrived_ == threads_ && !barriers_differ_) {
    running.barrier_result = true_count_;
    arrived_ = 0;
    true_count_ = 0;
    set_all_ready();
  }
  return next_turn();
}

Turn Worker::arrive_at_warp_operation() {
  if (running.abandoned) [[unlikely]]
    throw Abandoned();
  unsigned warp = current_ / 32, bit = 1u << current_ % 32;
  Lane* lanes = lanes_ + warp * 32;
  Lane& lane = *running.lane;
  if ((lane.mask & bit) == 0) throw KernelError(outside_mask(lane.operation->name, lane.mask));
  if (warp == words_ - 1 && threads_ % 32 != 0) lane.mask &= (1u << threads_ % 32) - 1;

  std::uint32_t& waiting = lanes_waiting_[warp];
  waiting |= bit;
  bool all_here = (waiting & lane.mask) == lane.mask;
  if (all_here) {
    for (unsigned rest = lane.mask; rest != 0; rest &= rest - 1) {
      const Lane& other = lanes[std::countr_zero(rest)];
      all_here &= other.operation == lane.operation && other.mask == lane.mask;
    }
  }
  if (!all_here) {
    waits_at_[current_] = lane.operation->name;
    return next_turn();
  }
  lane.operation->complete(lanes, lane.mask);
  waiting &= ~lane.mask;
  for (unsigned rest = lane.mask & ~bit; rest != 0; rest &= rest - 1) {
    make_ready(warp * 32 + static_cast<unsigned>(std::countr_zero(rest)));
  }
  return {nullptr, nullptr};
}

// Ends the block because of the running thread.
void Worker::fail(const std::string& message) {
  if (running.abandoned) return;
  failure_ = failure_in_thread(*launch_, blockIdx, index_[current_], message);
  waits_at_[current_] = nullptr;  // it may have failed on its way into a wait
  abandon_block();
}

void Worker::report_deadlock() {
  std::vector<ThreadState> states(threads_);
  for (unsigned i = 0; i < threads_; ++i) {
    if (ended_[i]) continue;
    bool in_warp = (lanes_waiting_[i / 32] >> i % 32 & 1) != 0;
    states[i] = {waits_at_[i], in_warp ? lanes_[i].mask : 0};
  }
  failure_ = deadlock(*launch_, blockIdx, states);
  abandon_block();
}

// Threads that have not started never will; the suspended ones are resumed to unwind.
void Worker::abandon_block() {
  running.abandoned = true;
  std::memset(ready_, 0, sizeof ready_);
  std::memset(lanes_waiting_, 0, sizeof lanes_waiting_);
  for (unsigned i = 0; i < threads_; ++i) {
    if (waits_at_[i] != nullptr) {
      make_ready(i);
    } else if (!ended_[i] && i != current_) {
      ended_[i] = true;
      ++ended_count_;
    }
  }
}

}  // namespace

Turn arrive_at_barrier(const char* name, int predicate) { return worker->arrive_at_barrier(name, predicate); }
Turn arrive_at_warp_operation() { return worker->arrive_at_warp_operation(); }
void unwind() { throw Abandoned(); }

bool inside_kernel() { return worker != nullptr && worker->busy(); }

std::string run_block(const Launch& launch, std::uint64_t block) {
  thread_local std::unique_ptr<Worker> own;
  if (!own) {
    own = std::make_unique<Worker>();
    worker = own.get();
  }
  return worker->run(launch, block);
}

}  // namespace detail

void __trap() { throw detail::KernelError("__trap()"); }

void* dynamic_shared_memory() { return detail::worker->shared(); }

}  // namespace simt
