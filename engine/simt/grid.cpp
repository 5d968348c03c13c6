// Launches: what a GPU would refuse, and the OS threads that share the blocks of a grid, or the tasks of a loop.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <vector>

#include "block.h"
#include "include/simt/simt.h"
#include "stream.h"

namespace simt {
namespace detail {
namespace {

std::uint64_t environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 0) : otherwise;
}

int clamp_threads(std::uint64_t n) { return static_cast<int>(std::clamp<std::uint64_t>(n, 1, 1024)); }

std::atomic<int>& thread_setting() {
  static std::atomic<int> n = clamp_threads(environment("SIMT_THREADS", std::thread::hardware_concurrency()));
  return n;
}

std::atomic<std::uint64_t>& seed_setting() {
  static std::atomic<std::uint64_t> seed = environment("SIMT_SEED", 0);
  return seed;
}

// The blocks of one launch. Each thread has a share of blocks that follow each other, and claims a few at a time; when
// they are gone, it helps the others. So a thread tends to find in its caches what it wrote in the launch before: most
// launches go through their arrays from the beginning to the end.
struct Grid {
  struct alignas(64) Share {
    std::atomic<std::uint64_t> next = 0;
    std::uint64_t end = 0;
  };
  std::function<std::string(std::uint64_t)> run_one;  // runs one block; what went wrong, empty if nothing
  std::uint64_t blocks = 0, chunk = 1;
  std::vector<Share> shares;
  std::vector<std::uint32_t> order;  // empty: natural
  std::atomic<bool> failed = false;
  std::mutex mutex;
  std::string failure;  // of the first block that failed

  void share_out(std::uint64_t threads) {
    shares = std::vector<Share>(threads);
    for (std::uint64_t t = 0; t < threads; ++t) {
      shares[t].next = blocks * t / threads;
      shares[t].end = blocks * (t + 1) / threads;
    }
  }

  void work(std::size_t thread) {
    for (std::size_t t = 0; t < shares.size(); ++t) {
      Share& share = shares[(thread + t) % shares.size()];
      while (!failed.load(std::memory_order_relaxed)) {
        std::uint64_t begin = share.next.fetch_add(chunk, std::memory_order_relaxed);
        if (begin >= share.end) break;
        for (std::uint64_t i = begin; i < std::min(begin + chunk, share.end); ++i) {
          if (!run(order.empty() ? i : order[i])) return;
        }
      }
    }
  }

  bool run(std::uint64_t block) {
    std::string message;
    try {
      message = run_one(block);
    } catch (const std::bad_alloc&) {
      message = "no memory for the stacks or the shared memory of a block";
    }
    if (message.empty()) return true;
    std::lock_guard lock(mutex);
    if (!failed.exchange(true)) failure = message;
    return false;
  }
};

// Looks again and again, for a short while, whether done() holds; false if it does not. A sleeping thread takes several
// microseconds to wake, and may wake on a processor that is busy while another is idle; in a sequence of launches
// nobody should fall asleep.
template <class F>
bool watch(F done) {
  constexpr auto patience = std::chrono::microseconds(50);
  auto end = std::chrono::steady_clock::now() + patience;
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

// OS threads that wait for grids. A launch hands out tickets; who takes one helps until no block is left. Tickets that
// nobody has taken by the time the launching thread has run out of blocks are withdrawn, so a helper that wakes late
// delays nobody.
class Pool {
 public:
  ~Pool() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& helper : helpers_) helper.join();
  }

  void run(Grid& grid, int helpers) {
    std::lock_guard one_launch_at_a_time(launch_mutex_);
    {
      std::lock_guard lock(mutex_);
      helpers = add_helpers(helpers);
      grid_ = &grid;
      tickets_ = helpers;
    }
    for (int i = 0; i < helpers; ++i) wake_.notify_one();
    grid.work(0);
    {
      std::lock_guard lock(mutex_);
      tickets_ = 0;
    }
    watch([this] { return at_work_ == 0; });
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [this] { return at_work_ == 0; });
  }

 private:
  // Up to `wanted` helpers; fewer where the system allows no more threads.
  int add_helpers(int wanted) {
    try {
      while (static_cast<int>(helpers_.size()) < wanted)
        helpers_.emplace_back([this, n = helpers_.size() + 1] { help(n); });
    } catch (const std::system_error&) {
    }
    return std::min(wanted, static_cast<int>(helpers_.size()));
  }

  void help(std::size_t thread) {
    for (;;) {
      watch([this] { return tickets_ > 0 || stop_; });
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return tickets_ > 0 || stop_; });
      if (stop_) return;
      --tickets_;
      ++at_work_;
      Grid* grid = grid_;
      lock.unlock();
      grid->work(thread);
      lock.lock();
      if (--at_work_ == 0) finished_.notify_one();
    }
  }

  std::mutex launch_mutex_, mutex_;
  std::condition_variable wake_, finished_;
  std::vector<std::thread> helpers_;
  Grid* grid_ = nullptr;
  // Written with mutex_ held.
  std::atomic<int> tickets_ = 0, at_work_ = 0;
  std::atomic<bool> stop_ = false;
};

constexpr std::uint64_t most_shuffled_blocks = 1 << 24;  // the order of more would take too much memory

// Runs the blocks on all threads. At most `chunk` of them are claimed at once. Records its error.
cudaError_t run_all(Grid& grid, std::uint64_t chunk, std::uint64_t seed) {
  if (seed != 0 && grid.blocks < most_shuffled_blocks) {
    grid.order.resize(grid.blocks);
    for (std::uint64_t i = 0; i < grid.blocks; ++i) grid.order[i] = static_cast<std::uint32_t>(i);
    shuffle_values(grid.order.data(), grid.blocks, seed);
  }
  int threads = static_cast<int>(std::min<std::uint64_t>(static_cast<std::uint64_t>(thread_setting()), grid.blocks));
  // Enough claims for an even end, few enough that their cost does not show.
  grid.chunk =
      std::clamp<std::uint64_t>(grid.blocks / (static_cast<std::uint64_t>(std::max(threads, 1)) * 16), 1, chunk);
  grid.share_out(static_cast<std::uint64_t>(std::max(threads, 1)));
  if (threads <= 1) {
    grid.work(0);
  } else {
    static Pool pool;
    pool.run(grid, threads - 1);
  }
  return grid.failed ? record(cudaErrorLaunchFailure, grid.failure) : cudaSuccess;
}

cudaError_t run_grid(const Call& call, dim3 grid_dim, dim3 block_dim, std::size_t shared_bytes) {
  if (inside_kernel()) return record(cudaErrorNotSupported);
  const Launch launch = {call, grid_dim, block_dim, shared_bytes, seed_setting()};
  Grid grid;
  grid.run_one = [&launch](std::uint64_t block) { return run_block(launch, block); };
  grid.blocks = std::uint64_t{grid_dim.x} * grid_dim.y * grid_dim.z;
  return run_all(grid, 64, launch.seed);
}

cudaError_t run_tasks(std::int64_t count, void (*task)(const void*, std::int64_t), const void* argument) {
  if (inside_kernel()) return record(cudaErrorNotSupported);
  Grid grid;
  grid.run_one = [=](std::uint64_t i) {
    task(argument, static_cast<std::int64_t>(i));
    return std::string();
  };
  grid.blocks = static_cast<std::uint64_t>(count);
  return run_all(grid, 1, seed_setting());
}

// Per kernel: the dynamic shared memory that cudaFuncSetAttribute allowed it.
std::mutex allowed_mutex;
std::unordered_map<void (*)(), int>& allowed_shared_bytes() {
  static std::unordered_map<void (*)(), int> bytes;
  return bytes;
}

std::size_t allowed(void (*kernel)()) {
  std::lock_guard lock(allowed_mutex);
  auto found = allowed_shared_bytes().find(kernel);
  return found == allowed_shared_bytes().end() ? standard_shared_bytes : static_cast<std::size_t>(found->second);
}

cudaError_t check(const Call& call, dim3 grid, dim3 block, std::size_t shared_bytes) {
  if (call.kernel == nullptr) return cudaErrorInvalidDeviceFunction;
  auto inside = [](dim3 v, dim3 most) {
    return v.x >= 1 && v.y >= 1 && v.z >= 1 && v.x <= most.x && v.y <= most.y && v.z <= most.z;
  };
  if (!inside(grid, dim3(0x7fffffff, 65535, 65535)) || !inside(block, dim3(1024, 1024, 64)) ||
      block.x * block.y * block.z > most_threads) {
    return cudaErrorInvalidConfiguration;
  }
  if (shared_bytes > standard_shared_bytes && shared_bytes > allowed(call.kernel)) return cudaErrorInvalidValue;
  return cudaSuccess;
}

}  // namespace

cudaError_t launch(const Call& call, dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t stream) {
  if (cudaError_t error = check(call, grid, block, shared_bytes)) return record(error);
  CUgraph_st* graph = nullptr;
  if (cudaError_t error = route(stream, &graph)) return record(error);
  if (graph != nullptr) {
    Call kept = call;
    std::shared_ptr<const void> arguments = call.copy(call.arguments);
    kept.arguments = arguments.get();
    graph->nodes.push_back({[kept, arguments, grid, block, shared_bytes] {
      return run_grid(kept, grid, block, shared_bytes);  // arguments: keeps them alive
    }});
    return cudaSuccess;
  }
  return run_grid(call, grid, block, shared_bytes);
}

cudaError_t set_attribute(void (*kernel)(), cudaFuncAttribute attribute, int value) {
  if (kernel == nullptr) return record(cudaErrorInvalidDeviceFunction);
  if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess;
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 ||
      value > static_cast<int>(most_shared_bytes)) {
    return record(cudaErrorInvalidValue);
  }
  std::lock_guard lock(allowed_mutex);
  allowed_shared_bytes()[kernel] = value;
  return cudaSuccess;
}

cudaError_t get_attributes(cudaFuncAttributes* attributes, void (*kernel)()) {
  if (attributes == nullptr) return record(cudaErrorInvalidValue);
  if (kernel == nullptr) return record(cudaErrorInvalidDeviceFunction);
  *attributes = {};
  attributes->maxThreadsPerBlock = most_threads;
  attributes->ptxVersion = attributes->binaryVersion = 80;
  attributes->maxDynamicSharedSizeBytes = static_cast<int>(allowed(kernel));
  return cudaSuccess;
}

cudaError_t occupancy(int* blocks, int block_threads, std::size_t shared_bytes) {
  if (blocks == nullptr || block_threads < 1) return record(cudaErrorInvalidValue);
  constexpr int warps_per_processor = 64, blocks_per_processor = 32;
  constexpr std::size_t shared_per_processor = 167936, shared_per_block_reserved = 1024;
  if (block_threads > static_cast<int>(most_threads) || shared_bytes > most_shared_bytes) {
    *blocks = 0;
    return cudaSuccess;
  }
  int by_warps = warps_per_processor / ((block_threads + 31) / 32);
  auto by_shared = static_cast<int>(shared_per_processor / (shared_bytes + shared_per_block_reserved));
  *blocks = std::min({blocks_per_processor, by_warps, by_shared});
  return cudaSuccess;
}

}  // namespace detail

cudaError_t launch_tasks(cudaStream_t stream, std::int64_t count, void (*task)(const void*, std::int64_t),
                         const void* argument, std::size_t argument_bytes) {
  using namespace detail;
  if (task == nullptr) return record(cudaErrorInvalidDeviceFunction);
  if (count < 0) return record(cudaErrorInvalidValue);
  CUgraph_st* graph = nullptr;
  if (cudaError_t error = route(stream, &graph)) return record(error);
  if (graph == nullptr) return run_tasks(count, task, argument);
  const std::shared_ptr<void> kept(::operator new(argument_bytes), [](void* p) { ::operator delete(p); });
  std::memcpy(kept.get(), argument, argument_bytes);
  graph->nodes.push_back({[=] { return run_tasks(count, task, kept.get()); }});
  return cudaSuccess;
}

void set_threads(int n) {
  detail::thread_setting() = detail::clamp_threads(static_cast<std::uint64_t>(std::max(n, 1)));
}
int threads() { return detail::thread_setting(); }
void set_order_seed(std::uint64_t seed) { detail::seed_setting() = seed; }
std::uint64_t order_seed() { return detail::seed_setting(); }

}  // namespace simt
