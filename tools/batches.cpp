#include "tools/batches.h"

#include <vector>

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
      epoch_(Tensor::zeros({1}, device.type(), engine::DType::int32)),
      loader_(set, options_) {
  if (options_.content == Content::indices)
    set_ = Tensor::from_host(set.images, {static_cast<int64_t>(set.size()), height_, width_, 3}, device.type());
}

void Batches::start(uint32_t epoch, int64_t first_step) {
  epoch_.write<int32_t>(std::vector<int32_t>{static_cast<int32_t>(epoch)});
  loader_.start(epoch, first_step);
}

int64_t Batches::load() {
  const data::HostBatch& host = loader_.next();
  const auto count = static_cast<int64_t>(host.items.size());
  const engine::Shape shape = {count, height_, width_, 3};
  const auto [place, is_new] = memory_.try_emplace(count);
  Memory& memory = place->second;
  loaded_ = &memory;
  if (is_new) {
    memory.labels = Tensor::empty({count}, device_.type(), engine::DType::int32);
    if (options_.content == Content::images) {
      memory.images = Tensor::empty(shape, device_.type());
    } else {
      memory.items = Tensor::empty({count}, device_.type(), engine::DType::int32);
      if (options_.content == Content::bytes) memory.bytes = Tensor::empty(shape, device_.type(), engine::DType::uint8);
    }
  }
  memory.labels.write<int32_t>(host.labels);
  if (memory.images.defined()) memory.images.write<float>(host.images);
  if (memory.bytes.defined()) memory.bytes.write<uint8_t>(host.bytes);
  // Tensors have no unsigned 32-bit numbers; the bits are the same.
  if (memory.items.defined()) memory.items.write<int32_t>(std::vector<int32_t>(host.items.begin(), host.items.end()));
  return count;
}

Batch Batches::make() {
  const Memory& memory = *loaded_;
  if (memory.images.defined()) return {memory.images, memory.labels};
  const int64_t count = memory.labels.count();
  const bool kept = options_.content == Content::indices;
  const auto bits = [](const Tensor& t) { return reinterpret_cast<const uint32_t*>(t.data<int32_t>()); };
  const Tensor images = Tensor::empty({count, height_, width_, 3}, device_.type());
  engine::run(device_, &kernels::Augment::forward, shape_of(count, height_, width_), options_.augment, options_.seed,
              bits(epoch_), (kept ? set_ : memory.bytes).data<uint8_t>(), kept ? memory.items.data<int32_t>() : nullptr,
              bits(memory.items), images.data<float>());
  return {images, memory.labels};
}

}  // namespace tools
