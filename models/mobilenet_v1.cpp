#include "models/mobilenet_v1.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "engine/autograd/functions.h"
#include "engine/error.h"

namespace models {

using engine::InputError;
using engine::Tensor;
using engine::nn::Init;

void check(const MobileNetV1Config& c, const std::string& where) {
  if (!(c.width > 0 && c.width <= 1))
    throw InputError(where, fmt::format("width {}; expected a number above 0 and up to 1", c.width));
  if (c.resolution < 32 || c.resolution > 224 || c.resolution % 32 != 0)
    throw InputError(where, fmt::format("resolution {}; expected a multiple of 32 from 32 to 224", c.resolution));
  if (c.classes < 1 || c.classes > 100'000)
    throw InputError(where, fmt::format("{} classes; expected 1 to 100000", c.classes));
}

int scaled(int channels, double width) { return std::max(8, static_cast<int>(channels * width)); }

int stem_stride(int resolution) { return resolution < 64 ? 1 : 2; }

namespace {

const MobileNetV1Config& checked(const MobileNetV1Config& c) {
  check(c, "MobileNetV1");
  return c;
}

int last_channels(double width) { return scaled(mobilenet_v1_stages.back().back().channels, width); }

}  // namespace

DepthwiseSeparableBlock::DepthwiseSeparableBlock(Init& init, int in_channels, int out_channels, int stride)
    : conv_dw(init, in_channels, stride),
      bn1(init, in_channels),
      conv_pw(init, in_channels, out_channels),
      bn2(init, out_channels) {
  register_module("conv_dw", conv_dw);
  register_module("bn1", bn1);
  register_module("conv_pw", conv_pw);
  register_module("bn2", bn2);
}

Tensor DepthwiseSeparableBlock::forward(const Tensor& x) {
  const Tensor y = relu6(bn1(conv_dw(x)));
  return relu6(bn2(conv_pw(y)));
}

MobileNetV1::MobileNetV1(Init& init, const MobileNetV1Config& c)
    : config(checked(c)),
      conv_stem(init, 3, scaled(mobilenet_v1_stem_channels, c.width), stem_stride(c.resolution)),
      bn1(init, scaled(mobilenet_v1_stem_channels, c.width)),
      classifier(init, last_channels(c.width), c.classes) {
  int channels = scaled(mobilenet_v1_stem_channels, c.width);
  for (const auto& specs : mobilenet_v1_stages) {
    auto& stage = blocks.add<engine::nn::Sequential>();
    for (const BlockSpec& spec : specs) {
      const int out = scaled(spec.channels, c.width);
      stage.add<DepthwiseSeparableBlock>(init, channels, out, spec.stride);
      channels = out;
    }
  }
  register_module("conv_stem", conv_stem);
  register_module("bn1", bn1);
  register_module("blocks", blocks);
  register_module("classifier", classifier);
}

Tensor MobileNetV1::forward(const Tensor& x) {
  const Tensor stem = relu6(bn1(conv_stem(x)));
  return classifier(pool(blocks(stem)));
}

const char* to_string(LayerKind kind) {
  switch (kind) {
    case LayerKind::stem:
      return "stem";
    case LayerKind::depthwise:
      return "depthwise";
    case LayerKind::pointwise:
      return "pointwise";
    case LayerKind::pool:
      return "pool";
    case LayerKind::linear:
      return "linear";
  }
  return "?";
}

std::vector<Layer> layers(const MobileNetV1Config& c) {
  check(c, "MobileNetV1");
  std::vector<Layer> all;
  int64_t size = c.resolution, channels = 3;  // of the next layer's input
  // Appends a convolution; `filter` is how many inputs one of its outputs sums.
  const auto convolution = [&](LayerKind kind, const std::string& name, int stride, int64_t filter, int64_t out) {
    const int64_t out_size = (size + stride - 1) / stride;
    all.push_back({.kind = kind,
                   .name = name,
                   .stride = stride,
                   .input = {size, size, channels},
                   .output = {out_size, out_size, out},
                   .parameters = filter * out,
                   .norm_parameters = 2 * out,
                   .multiply_adds = out_size * out_size * out * filter});
    size = out_size, channels = out;
  };

  convolution(LayerKind::stem, "conv_stem", stem_stride(c.resolution), 9 * 3,
              scaled(mobilenet_v1_stem_channels, c.width));
  for (size_t stage = 0; stage < mobilenet_v1_stages.size(); ++stage)
    for (size_t i = 0; i < mobilenet_v1_stages[stage].size(); ++i) {
      const BlockSpec& spec = mobilenet_v1_stages[stage][i];
      const std::string block = fmt::format("blocks.{}.{}.", stage, i);
      convolution(LayerKind::depthwise, block + "conv_dw", spec.stride, 9, channels);
      convolution(LayerKind::pointwise, block + "conv_pw", 1, channels, scaled(spec.channels, c.width));
    }
  all.push_back({LayerKind::pool, "pool", 1, {size, size, channels}, {channels}, 0, 0, 0});
  all.push_back({.kind = LayerKind::linear,
                 .name = "classifier",
                 .stride = 1,
                 .input = {channels},
                 .output = {c.classes},
                 .parameters = (channels + 1) * c.classes,
                 .norm_parameters = 0,
                 .multiply_adds = channels * c.classes});
  return all;
}

std::map<std::string, std::string> to_metadata(const MobileNetV1Config& c) {
  return {{"model", "mobilenet_v1"},
          {"width", fmt::format("{}", c.width)},
          {"resolution", std::to_string(c.resolution)},
          {"classes", std::to_string(c.classes)}};
}

MobileNetV1Config from_metadata(const std::map<std::string, std::string>& metadata, const std::string& where) {
  const auto text = [&](const char* key) {
    const auto found = metadata.find(key);
    if (found == metadata.end()) throw InputError(where, fmt::format("its metadata has no \"{}\"", key));
    return found->second;
  };
  const auto read = [&](const char* key, auto& value) {
    const std::string word = text(key);
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc() || end != word.data() + word.size())
      throw InputError(where, fmt::format("its metadata's \"{}\" is no such number", key));
  };
  if (text("model") != "mobilenet_v1") throw InputError(where, "its metadata's \"model\" is not mobilenet_v1");
  MobileNetV1Config c;
  read("width", c.width);
  read("resolution", c.resolution);
  read("classes", c.classes);
  check(c, where);
  return c;
}

}  // namespace models
