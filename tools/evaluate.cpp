#include "tools/evaluate.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "engine/autograd/functions.h"

namespace tools {

using engine::Tensor;

std::optional<Evaluation> evaluate(models::MobileNetV1& model, const data::Dataset& set,
                                   const data::Normalization& normalization, int batch, engine::DeviceType device,
                                   const std::function<bool(int64_t done)>& watch) {
  const auto start = std::chrono::steady_clock::now();
  const engine::NoGrad no_grad;
  const bool was_training = model.training();
  model.eval();
  const int64_t size = model.config.resolution;
  std::vector<size_t> indices(set.size());
  std::iota(indices.begin(), indices.end(), size_t{0});
  Evaluation result;
  result.class_images.resize(set.class_names.size());
  result.class_correct.resize(set.class_names.size());
  std::vector<float> images;    // (B, size, size, 3)
  std::vector<int32_t> labels;  // (B)
  bool complete = true;
  for (size_t from = 0; from < set.size(); from += batch) {
    complete = watch(static_cast<int64_t>(from));
    if (!complete) break;
    const std::span<const size_t> chosen(&indices[from], std::min<size_t>(batch, set.size() - from));
    const auto count = static_cast<int64_t>(chosen.size());
    images.resize(count * size * size * 3);
    labels.resize(count);
    data::fill_batch(set, chosen, {.normalization = normalization, .resolution = model.config.resolution},
                     images.data(), labels.data());
    const Tensor x = Tensor::from_host(images, {count, size, size, 3}, device);
    const auto scored = engine::cross_entropy(model(x), Tensor::from_host(labels, {count}, device));
    const std::vector<float> losses = scored.losses.to_host<float>();
    const std::vector<int32_t> correct = scored.correct.to_host<int32_t>();
    for (int64_t i = 0; i < count; ++i) {
      result.loss += losses[i];
      result.correct += correct[i];
      ++result.class_images[labels[i]];
      result.class_correct[labels[i]] += correct[i];
    }
    result.images += count;
  }
  model.train(was_training);
  if (!complete) return std::nullopt;
  result.loss /= static_cast<double>(std::max<int64_t>(result.images, 1));
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace tools
