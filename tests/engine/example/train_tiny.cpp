// Trains a small network on made-up images: which of three colours is the brightest?
#include <cstdio>

#include "engine/autograd/functions.h"
#include "engine/device/device.h"
#include "engine/nn/layers.h"
#include "engine/optim/optimizer.h"

using namespace engine;

int main() {
  const DeviceType device = best_device();
  const int batch = 32, size = 8;
  std::vector<float> pixels(batch * size * size * 3);  // NHWC
  std::vector<int32_t> colours(batch);
  for (size_t i = 0; i < pixels.size(); ++i) {
    const size_t image = i / (size * size * 3), channel = i % 3;
    colours[image] = static_cast<int32_t>(image % 3);
    pixels[i] = static_cast<float>(i * 7919 % 101) / 50 - 1 + (channel == image % 3 ? 0.3f : 0.0f);
  }
  const Tensor images = Tensor::from_host(pixels, {batch, size, size, 3}, device);
  const Tensor labels = Tensor::from_host(colours, {batch}, device);

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
  float first = 0, last = 0;
  for (int step = 0; step < 20; ++step) {
    const CrossEntropyResult result = cross_entropy(net(images), labels);
    backward(result.loss);
    optimizer.step();
    optimizer.zero_grad();
    last = result.loss.item<float>();
    if (step == 0) first = last;
    std::printf("step %2d  loss %.4f\n", step, last);
  }
  return last < first / 2 ? 0 : 1;
}
