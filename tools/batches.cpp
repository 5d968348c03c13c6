#include "tools/batches.h"

#include "engine/device/run.h"
#include "kernels/augment/augment.h"

namespace tools {
namespace {

using engine::Tensor;
using Content = data::LoaderOptions::Content;

int64_t or_else(int resolution, int size) { return resolution > 0 ? resolution : size; }

kernels::AugmentShape shape_of(int64_t batch, int64_t height, int64_t width) {
  return {static_cast<int>(batch), static_cast<int>(height), static_cast<int>(width), static_cast<int>(height),
          static_cast<int>(width)};
}

bool is_kept_on(engine::Device& device, const data::Dataset& set, int64_t height, int64_t width) {
  return device.type() == engine::DeviceType::cuda && set.height == height && set.width == width &&
         set.images.size() <= device.runtime().properties().total_memory / 2;
}

data::LoaderOptions with_content(data::LoaderOptions options, const data::Dataset& set, engine::Device& device) {
  const int64_t height = or_else(options.resolution, set.height), width = or_else(options.resolution, set.width);
  const auto& row =
      kernels::choose(device.type(), device.policy, shape_of(options.batch, height, width), &kernels::Augment::forward);
  const bool in_loader =
      device.type() == engine::DeviceType::cpu && row.provider == kernels::Provider::vendor;  // it needs no device
  options.content = in_loader                                ? Content::images
                    : is_kept_on(device, set, height, width) ? Content::indices
                                                             : Content::bytes;
  return options;
}

}  // namespace

Batches::Batches(const data::Dataset& set, data::LoaderOptions options, engine::Device& device)
    : device_(device),
      options_(with_content(options, set, device)),
      height_(or_else(options.resolution, set.height)),
      width_(or_else(options.resolution, set.width)),
      loader_(set, options_) {
  if (options_.content == Content::indices)
    set_ = Tensor::from_host(set.images, {static_cast<int64_t>(set.size()), height_, width_, 3}, device.type());
}

void Batches::start(uint32_t epoch, int64_t first_step) {
  epoch_ = epoch;
  loader_.start(epoch, first_step);
}

Batch Batches::next() {
  const data::HostBatch& host = loader_.next();
  const auto count = static_cast<int64_t>(host.items.size());
  Batch batch;
  batch.labels = Tensor::from_host(host.labels, {count}, device_.type());
  const engine::Shape shape = {count, height_, width_, 3};
  if (options_.content == Content::images) {
    batch.images = Tensor::from_host(host.images, shape, device_.type());
    return batch;
  }
  // Tensors have no unsigned 32-bit numbers; the bits are the same.
  const Tensor items =
      Tensor::from_host(std::vector<int32_t>(host.items.begin(), host.items.end()), {count}, device_.type());
  const bool kept = options_.content == Content::indices;
  const Tensor bytes = kept ? set_ : Tensor::from_host(host.bytes, shape, device_.type());
  batch.images = Tensor::empty(shape, device_.type());
  engine::run(device_, &kernels::Augment::forward, shape_of(count, height_, width_), options_.augment, options_.seed,
              epoch_, bytes.data<uint8_t>(), kept ? items.data<int32_t>() : nullptr,
              reinterpret_cast<const uint32_t*>(items.data<int32_t>()), batch.images.data<float>());
  return batch;
}

}  // namespace tools
