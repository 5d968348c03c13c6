// A model's loss and accuracy on a set of images.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "data/batch.h"
#include "models/mobilenet_v1.h"

namespace tools {

struct Evaluation {
  int64_t images = 0, correct = 0;
  double loss = 0;                                   // mean over the images
  std::vector<int64_t> class_images, class_correct;  // (classes)
  double seconds = 0;
  double accuracy() const { return images > 0 ? static_cast<double>(correct) / static_cast<double>(images) : 0; }
};

// Runs all images through the model in inference mode, `batch` at a time, in the order of the set. The model is left
// training or not, as it was. `watch`, called before each batch with the images done so far, ends the work by returning
// false; then there is no result.
std::optional<Evaluation> evaluate(models::MobileNetV1& model, const data::Dataset& set,
                                   const data::Normalization& normalization, int batch, engine::DeviceType device,
                                   const std::function<bool(int64_t done)>& watch);

}  // namespace tools
