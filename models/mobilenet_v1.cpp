#include "models/mobilenet_v1.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "engine/autograd/functions.h"
#include "engine/error.h"
#include "kernels/common/bf16.h"

namespace models {

using engine::InputError;
using engine::Tensor;
using engine::nn::Init;

const char* to_string(Convolutions convolutions) {
  return convolutions == Convolutions::separable ? "mobilenet_v1" : "standard";
}

Convolutions parse_model(std::string_view name) {
  for (const Convolutions c : {Convolutions::separable, Convolutions::standard})
    if (name == to_string(c)) return c;
  throw InputError("model", fmt::format("\"{}\" is none of mobilenet_v1, standard", name));
}

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

const Tensor& watched(const Watch& watch, const std::string& layer, const Tensor& output) {
  if (watch) watch(layer, output);
  return output;
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

Tensor DepthwiseSeparableBlock::run(const Tensor& x, const std::string& name, const Watch& watch) {
  const Tensor y = relu6(watched(watch, name + "bn1", bn1(watched(watch, name + "conv_dw", conv_dw(x)))));
  return relu6(watched(watch, name + "bn2", bn2(watched(watch, name + "conv_pw", conv_pw(y)))));
}

engine::Normed DepthwiseSeparableBlock::run_fused(const engine::Normed& x) {
  const engine::Normed y = engine::fused_depthwise_conv(x, conv_dw.weight, conv_dw.stride, bn1.norm());
  return engine::fused_pointwise_conv(y, conv_pw.weight, bn2.norm());
}

StandardBlock::StandardBlock(Init& init, int in_channels, int out_channels, int stride)
    : conv(init, in_channels, out_channels, stride), bn1(init, out_channels) {
  register_module("conv", conv);
  register_module("bn1", bn1);
}

Tensor StandardBlock::run(const Tensor& x, const std::string& name, const Watch& watch) {
  return relu6(watched(watch, name + "bn1", bn1(watched(watch, name + "conv", conv(x)))));
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
      if (c.convolutions == Convolutions::separable)
        stage.add<DepthwiseSeparableBlock>(init, channels, out, spec.stride);
      else
        stage.add<StandardBlock>(init, channels, out, spec.stride);
      channels = out;
    }
  }
  register_module("conv_stem", conv_stem);
  register_module("bn1", bn1);
  register_module("blocks", blocks);
  register_module("classifier", classifier);
}

Tensor MobileNetV1::forward(const Tensor& x, const Watch& watch) {
  const bool fuse = fused && training() && !watch && config.convolutions == Convolutions::separable;
  return watched(watch, "classifier", classifier(fuse ? fused_features(x) : features(x, watch)));
}

Tensor MobileNetV1::features(const Tensor& x, const Watch& watch) {
  Tensor y = relu6(watched(watch, "bn1", bn1(watched(watch, "conv_stem", conv_stem(x)))));
  for (size_t stage = 0; stage < mobilenet_v1_stages.size(); ++stage)
    for (size_t i = 0; i < mobilenet_v1_stages[stage].size(); ++i) {
      auto& block = dynamic_cast<Block&>(dynamic_cast<engine::nn::Sequential&>(blocks[stage])[i]);
      y = block.run(y, fmt::format("blocks.{}.{}.", stage, i), watch);
    }
  return watched(watch, "pool", pool(y));
}

Tensor MobileNetV1::fused_features(const Tensor& x) {
  engine::Normed y = engine::fused_conv2d(x, conv_stem.weight, conv_stem.stride, bn1.norm());
  for (size_t stage = 0; stage < mobilenet_v1_stages.size(); ++stage)
    for (size_t i = 0; i < mobilenet_v1_stages[stage].size(); ++i) {
      auto& block = dynamic_cast<DepthwiseSeparableBlock&>(dynamic_cast<engine::nn::Sequential&>(blocks[stage])[i]);
      y = block.run_fused(y);
    }
  return engine::fused_global_avg_pool(y);
}

namespace {

// The factor of each output channel, which goes into w, and the bias that is left: of w (…) whose channel `c` of
// element i is channel(i).
template <class Channel>
engine::FoldedWeights fold(const Tensor& weight, const engine::nn::BatchNorm2d& norm, Channel channel) {
  std::vector<float> w = weight.to_host<float>(), bias = norm.bias.to_host<float>();
  const std::vector<float> gamma = norm.weight.to_host<float>(), mean = norm.running_mean.to_host<float>(),
                           variance = norm.running_var.to_host<float>();
  std::vector<double> scale(gamma.size());
  for (size_t c = 0; c < scale.size(); ++c) {
    scale[c] = gamma[c] / std::sqrt(double{variance[c]} + norm.eps);
    bias[c] = static_cast<float>(bias[c] - scale[c] * mean[c]);
  }
  for (size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(w[i] * scale[channel(i)]);
  return {Tensor::from_host<float>(w, weight.shape(), weight.device()),
          Tensor::from_host<float>(bias, norm.bias.shape(), weight.device()),
          {}};
}

engine::FoldedWeights fold_rows(const Tensor& weight, const engine::nn::BatchNorm2d& norm) {  // (Cout, …)
  const size_t row = static_cast<size_t>(weight.count() / weight.size(0));
  return fold(weight, norm, [=](size_t i) { return i / row; });
}

}  // namespace

FoldedMobileNetV1::FoldedMobileNetV1(const MobileNetV1& m)
    : classifier_weight_(m.classifier.weight), classifier_bias_(m.classifier.bias) {
  const engine::NoGrad no_grad;
  const auto add = [&](LayerKind kind, int stride, engine::FoldedWeights weights) {
    convolutions_.push_back({kind, stride, std::move(weights)});
  };
  add(LayerKind::stem, m.conv_stem.stride, fold_rows(m.conv_stem.weight, m.bn1));
  for (size_t stage = 0; stage < m.blocks.size(); ++stage) {
    const auto& blocks = dynamic_cast<const engine::nn::Sequential&>(m.blocks[stage]);
    for (size_t i = 0; i < blocks.size(); ++i) {
      if (const auto* b = dynamic_cast<const StandardBlock*>(&blocks[i])) {
        add(LayerKind::standard, b->conv.stride, fold_rows(b->conv.weight, b->bn1));
        continue;
      }
      const auto& b = dynamic_cast<const DepthwiseSeparableBlock&>(blocks[i]);
      const auto channels = static_cast<size_t>(b.conv_dw.weight.size(2));
      add(LayerKind::depthwise, b.conv_dw.stride,
          fold(b.conv_dw.weight, b.bn1, [=](size_t k) { return k % channels; }));
      add(LayerKind::pointwise, 1, fold_rows(b.conv_pw.weight, b.bn2));
    }
  }
}

Tensor FoldedMobileNetV1::operator()(const Tensor& x) const {
  const engine::NoGrad no_grad;
  Tensor y = x;
  for (const Convolution& c : convolutions_) {
    if (c.kind == LayerKind::depthwise)
      y = engine::folded_depthwise_conv(y, c.weights, c.stride);
    else if (c.kind == LayerKind::pointwise)
      y = engine::folded_pointwise_conv(y, c.weights);
    else
      y = engine::folded_conv2d(y, c.weights, c.stride);
  }
  return engine::linear(engine::global_avg_pool(y), classifier_weight_, classifier_bias_);
}

namespace {

bool all_finite(const Tensor& t) {
  const auto all = [](const auto& values) {
    return std::all_of(values.begin(), values.end(), [](auto x) { return std::isfinite(kernels::to_float(x)); });
  };
  return t.dtype() == engine::DType::bfloat16 ? all(t.to_host<kernels::Bf16>()) : all(t.to_host<float>());
}

// Puts a model's buffers and mode back, however its scope is left.
struct Unchanged {
  explicit Unchanged(MobileNetV1& model) : model(model), training(model.training()) {
    for (const auto& n : model.buffers()) before.push_back({n.name, n.tensor.copy_to(n.tensor.device()), n.layout});
  }
  ~Unchanged() {
    model.train(training);
    try {
      engine::copy_state(model.buffers(), before, "buffers");
    } catch (const std::exception&) {
      // A copy within a device fails only where the device itself has; whatever is asked of it next says so.
    }
  }
  Unchanged(const Unchanged&) = delete;
  MobileNetV1& model;
  const bool training;
  engine::State before;
};

}  // namespace

std::string first_not_finite(MobileNetV1& model, const Tensor& images, const Tensor& labels, float label_smoothing) {
  if (!all_finite(images)) return "the input";
  for (const auto& n : model.parameters())
    if (!all_finite(n.tensor)) return "the weights " + n.name;
  const engine::NoGrad no_grad;
  const Unchanged unchanged(model);
  model.train();
  std::string first;
  const Tensor logits = model.forward(images, [&](const std::string& layer, const Tensor& output) {
    if (first.empty() && !all_finite(output)) first = "the output of " + layer;
  });
  if (!first.empty()) return first;
  return all_finite(engine::cross_entropy(logits, labels, label_smoothing).loss) ? "" : "the loss";
}

const char* to_string(LayerKind kind) {
  switch (kind) {
    case LayerKind::stem:
      return "stem";
    case LayerKind::depthwise:
      return "depthwise";
    case LayerKind::pointwise:
      return "pointwise";
    case LayerKind::standard:
      return "standard";
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
      const int out = scaled(spec.channels, c.width);
      if (c.convolutions == Convolutions::separable) {
        convolution(LayerKind::depthwise, block + "conv_dw", spec.stride, 9, channels);
        convolution(LayerKind::pointwise, block + "conv_pw", 1, channels, out);
      } else {
        convolution(LayerKind::standard, block + "conv", spec.stride, 9 * channels, out);
      }
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
  return {{"model", to_string(c.convolutions)},
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
  MobileNetV1Config c;
  try {
    c.convolutions = parse_model(text("model"));
  } catch (const InputError&) {
    throw InputError(where, "its metadata's \"model\" is none of mobilenet_v1, standard");
  }
  read("width", c.width);
  read("resolution", c.resolution);
  read("classes", c.classes);
  check(c, where);
  return c;
}

}  // namespace models
