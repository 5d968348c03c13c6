// The batches of an epoch, made ahead by worker threads.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "data/dataset.h"
#include "data/normalize.h"
#include "kernels/augment/augment.h"

namespace data {

// No augmentation: the images are normalised and nothing else.
kernels::AugmentOptions only_normalize(const Normalization& normalization = {});

struct LoaderOptions {
  enum class Content {
    indices,  // items and labels only: the images are where the batch is used (on a GPU, for instance)
    bytes,    // and the images' bytes
    images,   // and the images augmented and normalised
  };

  int batch = 128;
  int workers = 1;       // threads; 0: next() makes the batch itself
  int prefetch = 4;      // how many batches the workers make ahead
  bool shuffle = false;  // an epoch's order is shuffled_indices(n, seed, epoch); else 0, 1, 2, …
  uint64_t seed = 0;     // of the order and of the augmentation
  Content content = Content::images;
  int resolution = 0;  // height and width R of the images handed out; 0: those of the set
  kernels::AugmentOptions augment = only_normalize();
};

// One batch of B images. What was not asked for is unspecified.
struct HostBatch {
  std::vector<uint32_t> items;  // (B): the images' numbers in the set, on which their random numbers depend
  std::vector<int32_t> labels;  // (B)
  std::vector<uint8_t> bytes;   // (B, R, R, 3)
  std::vector<float> images;    // (B, R, R, 3)
};

// Hands out the batches of an epoch in order. Which images make up a batch, and all random numbers, depend on seed,
// epoch and the images' numbers alone: never on workers, prefetch or timing, and an image is the same in a batch of any
// size. Batches live in a ring of prefetch + 1 that is allocated once.
//
// Where R is not the set's size, images are resized first (data/image.h); the augmentation kernel then goes from R×R to
// R×R, on whichever device it runs. With only_normalize(), the batch is bit for bit that of resize and normalize.
class Loader {
 public:
  // Fills in what belongs to batch.items. Runs in several threads at once, each with a batch of its own.
  using Fill = std::function<void(uint32_t epoch, HostBatch& batch)>;

  // Keeps a reference to the set. Throws std::invalid_argument for options out of range, an empty set, or one whose
  // labels or pixels do not fit its description; kernels::Error for an augmentation out of range.
  Loader(const Dataset& set, const LoaderOptions& options);
  // Batches of `images` numbers, which `fill` makes the rest of; content, resolution and augment are fill's affair.
  Loader(size_t images, const LoaderOptions& options, Fill fill);
  ~Loader();  // at any time; waits for the batches that are being made
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // Batches an epoch; all hold options.batch images, but for the last.
  int64_t steps() const { return (int64_t(size_) + options_.batch - 1) / options_.batch; }

  // Begins an epoch at one of its steps (resume), or ends one early to begin another. Without it, the first next() is
  // step 0 of epoch 0. Throws std::invalid_argument for a step that is not in 0 … steps().
  void start(uint32_t epoch, int64_t first_step = 0);

  // The next batch, valid until the next call of next() or start(). An exception met while making it is thrown here
  // (again, if called again). Throws std::out_of_range behind the epoch's last batch.
  const HostBatch& next();

  // How long next() has taken so far, in all epochs: the time that training waited for data.
  double seconds_waited() const { return seconds_waited_; }

 private:
  struct Slot {
    HostBatch batch;
    int64_t made = -1;  // the step that it holds
    std::exception_ptr error;
  };

  void make(int64_t step, HostBatch& batch) const;
  void work();  // a worker thread
  void quit();

  const size_t size_;
  const LoaderOptions options_;
  const Fill fill_;
  double seconds_waited_ = 0;

  // Set by start() while no worker is busy.
  uint32_t epoch_ = 0;
  std::vector<size_t> order_;  // (size)

  std::mutex mutex_;  // of all below
  std::condition_variable wake_workers_, wake_caller_;
  std::vector<Slot> slots_;  // (prefetch + 1): step s is made in slot s mod (prefetch + 1)
  int64_t next_ = 0;         // what next() hands out next
  int64_t claimed_ = 0;      // the first step that no worker has taken
  int64_t released_ = 0;     // steps before it may be overwritten: the caller is through with them
  int busy_ = 0;             // workers making a batch
  bool quit_ = false;
  std::vector<std::thread> threads_;  // (workers)
};

}  // namespace data
