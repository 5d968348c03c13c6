#include "tools/evaluate.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "engine/autograd/functions.h"

namespace tools {

data::LoaderOptions test_loading(const data::Normalization& normalization, int batch, int resolution, int workers) {
  data::LoaderOptions options{.batch = batch, .workers = workers, .resolution = resolution};
  std::copy(normalization.mean.begin(), normalization.mean.end(), options.augment.mean);
  std::copy(normalization.std.begin(), normalization.std.end(), options.augment.std);
  return options;
}

std::optional<Evaluation> evaluate(models::MobileNetV1& model, Batches& batches,
                                   const std::function<bool(int64_t done)>& watch) {
  const auto start = std::chrono::steady_clock::now();
  const engine::NoGrad no_grad;
  const models::FoldedMobileNetV1 network(model);
  Evaluation result;
  bool complete = true;
  batches.start(0, 0);
  for (int64_t step = 0; step < batches.steps(); ++step) {
    complete = watch(result.images);
    if (!complete) break;
    const Batch batch = batches.next();
    const engine::Tensor logits = network(batch.images);
    const auto scored = engine::cross_entropy(logits, batch.labels);
    const std::vector<float> losses = scored.losses.to_host<float>();
    const std::vector<int32_t> correct = scored.correct.to_host<int32_t>();
    const std::vector<float> z = logits.to_host<float>();
    const size_t classes = z.size() / losses.size();
    for (size_t i = 0; i < losses.size(); ++i) {
      result.loss += losses[i];
      result.correct += correct[i];
      const float* row = &z[i * classes];
      const float* highest = std::max_element(row, row + classes);
      double sum = 0;
      for (size_t k = 0; k < classes; ++k) sum += std::exp(static_cast<double>(row[k]) - *highest);
      result.predicted.push_back(static_cast<int32_t>(highest - row));
      result.probability.push_back(static_cast<float>(1 / sum));
    }
    result.images += static_cast<int64_t>(losses.size());
  }
  if (!complete) return std::nullopt;
  result.loss /= static_cast<double>(std::max<int64_t>(result.images, 1));
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

std::vector<std::vector<int64_t>> confusion_matrix(const data::Dataset& set, const Evaluation& e) {
  const size_t classes = set.class_names.size();
  std::vector<std::vector<int64_t>> matrix(classes, std::vector<int64_t>(classes));
  for (size_t i = 0; i < e.predicted.size(); ++i) ++matrix[set.labels[i]][e.predicted[i]];
  return matrix;
}

}  // namespace tools
