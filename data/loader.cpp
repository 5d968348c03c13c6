#include "data/loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "data/image.h"
#include "data/random.h"

namespace data {
namespace {

LoaderOptions checked(const LoaderOptions& options) {
  const auto check = [](const char* name, int value, int least) {
    if (value < least) {
      throw std::invalid_argument(fmt::format("Loader: {} = {}; expected {} or more", name, value, least));
    }
  };
  check("batch", options.batch, 1);
  check("workers", options.workers, 0);
  check("prefetch", options.prefetch, 1);
  check("resolution", options.resolution, 0);
  return options;
}

size_t checked(size_t images) {
  if (images < 1 || images > std::numeric_limits<uint32_t>::max()) {
    throw std::invalid_argument(fmt::format("Loader: a set of {} images; expected 1 … 2^32 - 1", images));
  }
  return images;
}

void check(const Dataset& set) {
  if (set.height < 1 || set.width < 1 || set.images.size() != set.size() * set.image_bytes()) {
    throw std::invalid_argument(fmt::format("Loader: a set of {} images of {}x{} has {} bytes; expected {}", set.size(),
                                            set.height, set.width, set.images.size(), set.size() * set.image_bytes()));
  }
  for (size_t i = 0; i < set.size(); ++i) {
    if (set.labels[i] < 0 || size_t(set.labels[i]) >= set.class_names.size()) {
      throw std::invalid_argument(
          fmt::format("Loader: image {} has label {} of {} classes", i, set.labels[i], set.class_names.size()));
    }
  }
}

// The row of kernels::Augment that runs on the calling thread alone.
const kernels::Augment& loop() {
  for (const kernels::Augment& row : kernels::implementations<kernels::Augment>(kernels::DeviceType::cpu)) {
    if (row.name == std::string("loop")) return row;
  }
  throw std::logic_error("Loader: augment has no row \"loop\"");
}

// What workers share: all of it is read only.
class Maker {
 public:
  Maker(const Dataset& set, const LoaderOptions& options) : set_(set), options_(options) {
    check(set);
    kernels::check(options.augment);
    height_ = options.resolution > 0 ? options.resolution : set.height;
    width_ = options.resolution > 0 ? options.resolution : set.width;
    if (height_ != set.height || width_ != set.width) resizer_.emplace(set.height, set.width, height_, width_);
  }

  void operator()(uint32_t epoch, HostBatch& batch) const {
    using Content = LoaderOptions::Content;
    const size_t count = batch.items.size(), values = size_t(height_) * size_t(width_) * 3;
    batch.labels.resize(count);
    for (size_t b = 0; b < count; ++b) batch.labels[b] = set_.labels[batch.items[b]];
    if (options_.content == Content::indices) return;

    const bool copy = options_.content == Content::bytes || resizer_;
    if (copy) {
      batch.bytes.resize(count * values);
      for (size_t b = 0; b < count; ++b) {
        const uint8_t* image = set_.image(batch.items[b]);
        uint8_t* out = batch.bytes.data() + b * values;
        if (resizer_) {
          (*resizer_)(image, out);
        } else {
          std::copy_n(image, values, out);
        }
      }
    }
    if (options_.content == Content::bytes) return;

    batch.images.resize(count * values);
    // From the set itself, image items[b], or from the resized batch, image b.
    static_assert(sizeof(int32_t) == sizeof(uint32_t));
    kernels::Context context;
    loop_.forward(context, {int(count), height_, width_, height_, width_}, options_.augment, options_.seed, &epoch,
                  copy ? batch.bytes.data() : set_.images.data(),
                  copy ? nullptr : reinterpret_cast<const int32_t*>(batch.items.data()), batch.items.data(),
                  batch.images.data());
  }

 private:
  const Dataset& set_;
  const LoaderOptions options_;
  const kernels::Augment& loop_ = loop();
  int height_ = 0, width_ = 0;  // of what is handed out
  std::optional<Resizer> resizer_;
};

}  // namespace

kernels::AugmentOptions only_normalize(const Normalization& normalization) {
  kernels::AugmentOptions options;
  std::copy(normalization.mean.begin(), normalization.mean.end(), options.mean);
  std::copy(normalization.std.begin(), normalization.std.end(), options.std);
  return options;
}

Loader::Loader(const Dataset& set, const LoaderOptions& options)
    : Loader(set.size(), options,
             [maker = std::make_shared<const Maker>(set, checked(options))](uint32_t epoch, HostBatch& batch) {
               (*maker)(epoch, batch);
             }) {}

Loader::Loader(size_t images, const LoaderOptions& options, Fill fill)
    : size_(checked(images)), options_(checked(options)), fill_(std::move(fill)) {
  slots_.resize(options.workers > 0 ? size_t(options.prefetch) + 1 : 1);
  start(0);
  try {
    for (int i = 0; i < options.workers; ++i) threads_.emplace_back([this] { work(); });
  } catch (...) {  // no thread to be had: the destructor does not run
    quit();
    throw;
  }
}

Loader::~Loader() { quit(); }

void Loader::quit() {
  {
    const std::lock_guard lock(mutex_);
    quit_ = true;
  }
  wake_workers_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Loader::start(uint32_t epoch, int64_t first_step) {
  if (first_step < 0 || first_step > steps()) {
    throw std::invalid_argument(fmt::format("Loader: step {} of an epoch of {} steps", first_step, steps()));
  }
  {
    std::unique_lock lock(mutex_);
    claimed_ = steps();  // nothing more to take
    wake_caller_.wait(lock, [&] { return busy_ == 0; });
    if (order_.empty() || (options_.shuffle && epoch != epoch_)) {
      if (options_.shuffle) {
        order_ = shuffled_indices(size_, options_.seed, epoch);
      } else {
        order_.resize(size_);
        std::iota(order_.begin(), order_.end(), size_t{0});
      }
    }
    epoch_ = epoch;
    for (Slot& slot : slots_) slot.made = -1, slot.error = nullptr;
    next_ = claimed_ = released_ = first_step;
  }
  wake_workers_.notify_all();
}

const HostBatch& Loader::next() {
  const auto began = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  if (next_ == steps()) {
    throw std::out_of_range(fmt::format("Loader: epoch {} has no more than {} batches", epoch_, steps()));
  }
  Slot& slot = slots_[size_t(next_) % slots_.size()];
  if (threads_.empty()) {
    make(next_, slot.batch);
  } else {
    released_ = next_;
    wake_workers_.notify_all();
    wake_caller_.wait(lock, [&] { return slot.made == next_; });
    if (slot.error) std::rethrow_exception(slot.error);
  }
  ++next_;
  seconds_waited_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  return slot.batch;
}

void Loader::make(int64_t step, HostBatch& batch) const {
  const size_t from = size_t(step) * size_t(options_.batch), to = std::min(from + size_t(options_.batch), size_);
  batch.items.assign(order_.begin() + int64_t(from), order_.begin() + int64_t(to));
  fill_(epoch_, batch);
}

void Loader::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_workers_.wait(lock,
                       [&] { return quit_ || (claimed_ < steps() && claimed_ < released_ + int64_t(slots_.size())); });
    if (quit_) return;
    const int64_t step = claimed_++;
    Slot& slot = slots_[size_t(step) % slots_.size()];
    ++busy_;
    lock.unlock();
    std::exception_ptr error;
    try {
      make(step, slot.batch);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    --busy_;
    slot.error = std::move(error);
    slot.made = step;
    wake_caller_.notify_one();
  }
}

}  // namespace data
