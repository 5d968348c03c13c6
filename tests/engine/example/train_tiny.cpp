// Trains a small network on made-up images: which of three colours is the brightest?
#include <cstdio>

#include "engine/autograd/functions.h"
#include "engine/device/device.h"
#include "engine/nn/layers.h"
#include "engine/optim/optimizer.h"

using namespace engine;

int main() {
  std::vector<float> pixels(32 * 8 * 8 * 3);  // 32 images of 8×8 pixels of 3 channels
  std::vector<int32_t> colours(32);
  for (size_t i = 0; i < pixels.size(); ++i) {
    const size_t image = i / (8 * 8 * 3), colour = image % 3, noise = i * 7919 % 101;
    colours[image] = static_cast<int32_t>(colour);
    pixels[i] = static_cast<float>(noise) / 50 - 1 + (i % 3 == colour ? 0.3f : 0.0f);
  }
  const DeviceType device = best_device();  // a GPU where there is one
  const Tensor images = Tensor::from_host(pixels, {32, 8, 8, 3}, device);
  const Tensor labels = Tensor::from_host(colours, {32}, device);

  nn::Init init{device, /*seed=*/1};
  nn::Sequential net;
  net.add<nn::Conv2d>(init, 3, 16);
  net.add<nn::BatchNorm2d>(init, 16);
  net.add<nn::ReLU6>();
  net.add<nn::DepthwiseConv2d>(init, 16, /*stride=*/2);
  net.add<nn::PointwiseConv2d>(init, 16, 32);
  net.add<nn::BatchNorm2d>(init, 32);
  net.add<nn::ReLU6>();
  net.add<nn::GlobalAvgPool>();
  net.add<nn::Linear>(init, 32, 3);

  optim::Optimizer optimizer(net.parameters(), {.method = optim::Method::adam, .lr = 1e-2f});
  std::vector<float> losses;
  for (int step = 0; step < 20; ++step) {
    const CrossEntropyResult result = cross_entropy(net(images), labels);
    backward(result.loss);
    optimizer.step();
    optimizer.zero_grad();
    losses.push_back(result.loss.item<float>());
    std::printf("step %2d  loss %.4f\n", step, losses.back());
  }
  return losses.back() < losses.front() / 10 ? 0 : 1;
}
