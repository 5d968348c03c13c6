// MobileNetV1 (A. Howard et al., "MobileNets", arXiv:1704.04861, 2017, table 1) as a table of blocks. Weights have
// timm's names (mobilenetv1_100): conv_stem.weight, bn1.*, blocks.S.I.{conv_dw.weight, bn1.*, conv_pw.weight, bn2.*},
// classifier.{weight, bias}.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/nn/layers.h"

namespace models {

struct MobileNetV1Config {
  double width = 1;     // α in (0, 1]: scales the channels of every layer
  int resolution = 32;  // height and width of the images: a multiple of 32, from 32 to 224
  int classes = 10;     // 1 … 100,000
};

// Throws engine::InputError that names the value that is out of range, and the range; `where` begins the message.
void check(const MobileNetV1Config&, const std::string& where);

// The blocks, stage by stage: channels after the block, at width 1, and the stride of its depthwise convolution.
struct BlockSpec {
  int channels, stride;
};
inline const std::array<std::vector<BlockSpec>, 5> mobilenet_v1_stages = {{
    {{64, 1}},
    {{128, 2}, {128, 1}},
    {{256, 2}, {256, 1}},
    {{512, 2}, {512, 1}, {512, 1}, {512, 1}, {512, 1}, {512, 1}},
    {{1024, 2}, {1024, 1}},
}};
inline constexpr int mobilenet_v1_stem_channels = 32;

// Channels at width α: ⌊channels · α⌋, but at least 8, as in the authors' code.
int scaled(int channels, double width);

// The stem's stride: 2 as in the paper, 1 below a resolution of 64, which leaves the last layers of a 32×32 image a
// map of 2×2.
int stem_stride(int resolution);

// depthwise 3×3 → batch norm → ReLU6 → pointwise → batch norm → ReLU6.
struct DepthwiseSeparableBlock : engine::nn::Module {
  DepthwiseSeparableBlock(engine::nn::Init&, int in_channels, int out_channels, int stride);
  engine::Tensor forward(const engine::Tensor& x) override;  // (N, H, W, Cin) → (N, ⌈H/stride⌉, ⌈W/stride⌉, Cout)
  engine::nn::DepthwiseConv2d conv_dw;
  engine::nn::BatchNorm2d bn1;
  engine::nn::PointwiseConv2d conv_pw;
  engine::nn::BatchNorm2d bn2;
  engine::nn::ReLU6 relu6;
};

struct MobileNetV1 : engine::nn::Module {
  MobileNetV1(engine::nn::Init&, const MobileNetV1Config&);
  engine::Tensor forward(const engine::Tensor& x) override;  // (N, resolution, resolution, 3) → logits (N, classes)
  const MobileNetV1Config config;
  engine::nn::Conv2d conv_stem;
  engine::nn::BatchNorm2d bn1;
  engine::nn::ReLU6 relu6;
  engine::nn::Sequential blocks;  // stages, each a Sequential of DepthwiseSeparableBlock
  engine::nn::GlobalAvgPool pool;
  engine::nn::Linear classifier;
};

// --- arithmetic: what the network costs, without building it ---

enum class LayerKind { stem, depthwise, pointwise, pool, linear };
const char* to_string(LayerKind);

// A layer with the batch norm that follows it (ReLU6 has no parameters).
struct Layer {
  LayerKind kind;
  std::string name;             // of its weights, without ".weight": "blocks.1.0.conv_dw"
  int stride;                   // 1 where there is none
  engine::Shape input, output;  // of one image: (H, W, C) or (C)
  int64_t parameters;           // its own weights and biases
  int64_t norm_parameters;      // weight and bias of the batch norm; 0 where there is none
  int64_t multiply_adds;        // an image; of convolutions and the linear layer, as the paper counts
};
std::vector<Layer> layers(const MobileNetV1Config&);

// What a weights file says of its network, in the metadata: model, width, resolution, classes.
std::map<std::string, std::string> to_metadata(const MobileNetV1Config&);

// Reads it back. Throws engine::InputError that begins with `where` for a missing or impossible value.
MobileNetV1Config from_metadata(const std::map<std::string, std::string>&, const std::string& where);

}  // namespace models
