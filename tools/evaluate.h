// A model's loss and accuracy on a set of images.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "models/mobilenet_v1.h"
#include "tools/batches.h"

namespace tools {

struct Evaluation {
  int64_t images = 0, correct = 0;
  double loss = 0;                 // mean over the images
  std::vector<int32_t> predicted;  // (images): the likeliest class
  std::vector<float> probability;  // (images): its probability
  double seconds = 0;
  double accuracy() const { return images > 0 ? static_cast<double>(correct) / static_cast<double>(images) : 0; }
};

// How to load images for a test: in the set's order, without augmentation.
data::LoaderOptions test_loading(const data::Normalization&, int batch, int resolution, int workers);

// Runs all images of `batches` through the model in inference mode. The model is left training or not, as it was.
// `watch`, called before each batch with the images done so far, ends the work by returning false; then there is no
// result.
std::optional<Evaluation> evaluate(models::MobileNetV1& model, Batches& batches,
                                   const std::function<bool(int64_t done)>& watch);

// (classes, classes): how many images of a class (row) were taken for a class (column).
std::vector<std::vector<int64_t>> confusion_matrix(const data::Dataset& set, const Evaluation&);

}  // namespace tools
