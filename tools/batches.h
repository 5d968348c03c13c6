// The batches of a training or a test as tensors on the device: from data::Loader's threads through kernels/augment.
#pragma once

#include <cstdint>
#include <map>

#include "data/loader.h"
#include "engine/device/device.h"
#include "engine/tensor/tensor.h"

namespace tools {

struct Batch {
  engine::Tensor images;  // (B, R, R, 3), augmented and normalised
  engine::Tensor labels;  // (B)
};

// Reading a batch has two parts, so that the second one can be captured in a graph: load() brings what the loader's
// threads made into device memory, which is the same for all batches of a size, and make() augments it there, where
// that is done on the device.

// Where the pixels are augmented follows from the device and its policy:
//   CPU, a row of plain loops  in the loader's threads, beside the training
//   CPU, emulated kernels      on the device, from bytes that the loader's threads gather
//   GPU                        on the device, which keeps the whole set as bytes where that takes at most half of its
//                              memory, and else gets each batch's bytes
// The images are the same in every case.
class Batches {
 public:
  // Of options, `content` is chosen here. Keeps a reference to the set.
  Batches(const data::Dataset& set, data::LoaderOptions options, engine::Device& device);

  int64_t steps() const { return loader_.steps(); }  // batches an epoch
  void start(uint32_t epoch, int64_t first_step);    // data::Loader::start
  int64_t load();  // the next batch (data::Loader::next); returns its number of images
  // The batch that was loaded. Copies nothing and waits for nothing. Labels, and images that are not made on the
  // device, are overwritten by the next load().
  Batch make();
  Batch next() { return load(), make(); }
  double seconds_waited() const { return loader_.seconds_waited(); }

 private:
  // Device memory that batches of one size are brought to; what the content does not need is undefined.
  struct Memory {
    engine::Tensor labels;  // (B)
    engine::Tensor items;   // (B) the images' numbers; their bits as int32
    engine::Tensor bytes;   // (B, R, R, 3)
    engine::Tensor images;  // (B, R, R, 3)
  };
  engine::Device& device_;
  const data::LoaderOptions options_;
  const int64_t height_, width_;
  engine::Tensor set_;    // (N, H, W, 3) bytes on the device, where it is kept there
  engine::Tensor epoch_;  // (1), its bits as int32
  data::Loader loader_;
  std::map<int64_t, Memory> memory_;  // of each size of batch
  Memory* loaded_ = nullptr;          // what load() filled last
};

}  // namespace tools
