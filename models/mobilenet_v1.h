// MobileNetV1 (A. Howard et al., "MobileNets", arXiv:1704.04861, 2017, table 1) as a table of blocks. Weights have
// timm's names (mobilenetv1_100): conv_stem.weight, bn1.*, blocks.S.I.{conv_dw.weight, bn1.*, conv_pw.weight, bn2.*},
// classifier.{weight, bias}.
//
// And its twin, the same table with one standard 3×3 convolution in place of each depthwise separable one: what the
// paper compares with (table 4). Its blocks are blocks.S.I.{conv.weight, bn1.*}.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/nn/layers.h"

namespace models {

enum class Convolutions { separable, standard };
const char* to_string(Convolutions);              // the network's name: "mobilenet_v1", "standard"
Convolutions parse_model(std::string_view name);  // and back; throws engine::InputError for any other name

struct MobileNetV1Config {
  double width = 1;     // α in (0, 1]: scales the channels of every layer
  int resolution = 32;  // height and width of the images: a multiple of 32, from 32 to 224
  int classes = 10;     // 1 … 100,000
  Convolutions convolutions = Convolutions::separable;
};

// Throws engine::InputError that names the value that is out of range, and the range; `where` begins the message.
void check(const MobileNetV1Config&, const std::string& where);

// The blocks, stage by stage: channels after the block, at width 1, and the stride of its 3×3 convolution.
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

enum class LayerKind { stem, depthwise, pointwise, standard, pool, linear };
const char* to_string(LayerKind);

// Called with the name ("blocks.3.2.bn2") and the output of each layer of a forward pass, in order.
using Watch = std::function<void(const std::string& layer, const engine::Tensor& output)>;

struct Block : engine::nn::Module {
  // (N, H, W, Cin) → (N, ⌈H/stride⌉, ⌈W/stride⌉, Cout); `name` begins the layers' names.
  virtual engine::Tensor run(const engine::Tensor& x, const std::string& name, const Watch&) = 0;
  engine::Tensor forward(const engine::Tensor& x) override { return run(x, "", {}); }
  engine::nn::ReLU6 relu6;
};

// depthwise 3×3 → batch norm → ReLU6 → pointwise → batch norm → ReLU6.
struct DepthwiseSeparableBlock : Block {
  DepthwiseSeparableBlock(engine::nn::Init&, int in_channels, int out_channels, int stride);
  engine::Tensor run(const engine::Tensor& x, const std::string& name, const Watch&) override;
  engine::Normed run_fused(const engine::Normed& x);  // in training; both as batch norm 2 of the block before left them
  engine::nn::DepthwiseConv2d conv_dw;
  engine::nn::BatchNorm2d bn1;
  engine::nn::PointwiseConv2d conv_pw;
  engine::nn::BatchNorm2d bn2;
};

// 3×3 over all channels → batch norm → ReLU6.
struct StandardBlock : Block {
  StandardBlock(engine::nn::Init&, int in_channels, int out_channels, int stride);
  engine::Tensor run(const engine::Tensor& x, const std::string& name, const Watch&) override;
  engine::nn::Conv2d conv;
  engine::nn::BatchNorm2d bn1;
};

// Either network, as the config says.
struct MobileNetV1 : engine::nn::Module {
  MobileNetV1(engine::nn::Init&, const MobileNetV1Config&);
  engine::Tensor forward(const engine::Tensor& x) override { return forward(x, {}); }
  engine::Tensor forward(const engine::Tensor& x,
                         const Watch&);  // (N, resolution, resolution, 3) → logits (N, classes)
  const MobileNetV1Config config;
  // Whether training passes run batch norm and ReLU6 within the separable convolutions around them
  // (engine/autograd/fused.h): the same within rounding, with less memory and traffic. A pass that is watched runs
  // plain.
  bool fused = false;
  engine::nn::Conv2d conv_stem;
  engine::nn::BatchNorm2d bn1;
  engine::nn::ReLU6 relu6;
  engine::nn::Sequential blocks;  // stages, each a Sequential of Block
  engine::nn::GlobalAvgPool pool;
  engine::nn::Linear classifier;

 private:
  engine::Tensor features(const engine::Tensor& x, const Watch&);  // (N, channels) behind the pooling
  engine::Tensor fused_features(const engine::Tensor& x);
};

// The network in inference, its batch norms folded into the weights of the convolutions before them: what the model
// computes in inference mode, within rounding, in fewer and shorter passes. Takes the weights as they are when it is
// made.
class FoldedMobileNetV1 {
 public:
  explicit FoldedMobileNetV1(const MobileNetV1&);
  engine::Tensor operator()(const engine::Tensor& x) const;  // (N, resolution, resolution, 3) → logits (N, classes)

 private:
  struct Convolution {
    LayerKind kind;
    int stride;
    engine::FoldedWeights weights;
  };
  std::vector<Convolution> convolutions_;
  engine::Tensor classifier_weight_, classifier_bias_;
};

// Where a training pass over this batch first meets a value that is NaN or infinite: "the input", "the weights NAME",
// "the output of LAYER" ("blocks.3.2.bn2"; ReLU6 follows each batch norm and is not named), "the loss", or "" where all
// are finite. Leaves the running statistics and everything else as they were. Reads every layer's output back: slow.
std::string first_not_finite(MobileNetV1&, const engine::Tensor& images, const engine::Tensor& labels,
                             float label_smoothing = 0);

// --- arithmetic: what the network costs, without building it ---

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
