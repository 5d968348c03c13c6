// The batches of a training or a test as tensors on the device: from data::Loader's threads through kernels/augment.
#pragma once

#include <cstdint>

#include "data/loader.h"
#include "engine/device/device.h"
#include "engine/tensor/tensor.h"

namespace tools {

struct Batch {
  engine::Tensor images;  // (B, R, R, 3), augmented and normalised
  engine::Tensor labels;  // (B)
};

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
  Batch next();                                      // data::Loader::next
  double seconds_waited() const { return loader_.seconds_waited(); }

 private:
  engine::Device& device_;
  const data::LoaderOptions options_;
  const int64_t height_, width_;
  engine::Tensor set_;  // (N, H, W, 3) bytes on the device, where it is kept there
  data::Loader loader_;
  uint32_t epoch_ = 0;
};

}  // namespace tools
