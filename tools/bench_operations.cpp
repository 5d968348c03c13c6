#include "tools/bench_operations.h"

#include <cmath>
#include <type_traits>

#include "engine/tensor/tensor.h"
#include "kernels/adam/adam.h"
#include "kernels/add/add.h"
#include "kernels/batchnorm/batchnorm.h"
#include "kernels/conv2d/conv2d.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/depthwise_conv/depthwise_conv.h"
#include "kernels/global_avg_pool/global_avg_pool.h"
#include "kernels/linear/linear.h"
#include "kernels/pointwise_conv/pointwise_conv.h"
#include "kernels/relu6/relu6.h"
#include "tools/bench_fused.h"
#include "tools/bench_pass.h"

namespace tools::bench {
namespace {

using namespace kernels;

template <class Shape>
AnyShape shape(const Shape& s) {
  return std::make_shared<const Shape>(s);
}
int narrow(int64_t value) { return static_cast<int>(value); }

// --- the operations ---

// In the passes, T is the type of the activations and of their gradients: float or Bf16.

template <class T>
std::vector<Pass> depthwise_passes() {
  using S = DepthwiseConvShape;
  using Row = DepthwiseConvOf<T>;
  static constexpr auto x = [](const S& s) { return int64_t{s.batch} * s.height * s.width * s.channels; };
  static constexpr auto y = [](const S& s) { return int64_t{s.batch} * s.out_height() * s.out_width() * s.channels; };
  static constexpr auto w = [](const S& s) { return 9 * int64_t{s.channels}; };
  const auto flops = [](const S& s) { return 18.0 * static_cast<double>(y(s)); };
  const auto nine = [](const S&) { return 9.0; };
  return {product<reference::depthwise_conv_forward, S>(
              named<T>("forward", "forward_bf16"), &Row::forward,
              [](const S& s) -> Arrays {
                return {activations<T>("x", x(s)), {"w", w(s)}, activations<T>("y", y(s), Use::out)};
              },
              flops, nine),
          product<reference::depthwise_conv_backward_data, S>(
              named<T>("backward_data", "backward_data_bf16"), &Row::backward_data,
              [](const S& s) -> Arrays {
                return {activations<T>("dy", y(s)), {"w", w(s)}, activations<T>("dx", x(s), Use::out)};
              },
              flops, nine),
          product<reference::depthwise_conv_backward_weight, S>(
              named<T>("backward_weight", "backward_weight_bf16"), &Row::backward_weight,
              [](const S& s) -> Arrays {
                return {activations<T>("x", x(s)), activations<T>("dy", y(s)), {"dw", w(s), Use::out}};
              },
              flops, [](const S& s) { return static_cast<double>(y(s)) / s.channels; })};
}

Operation depthwise_conv() {
  return {"depthwise_conv",
          {"batch", "height", "width", "channels", "stride"},
          [](const Values& v) {
            return shape(DepthwiseConvShape{narrow(v[0]), narrow(v[1]), narrow(v[2]), narrow(v[3]), narrow(v[4])});
          },
          joined(depthwise_passes<float>(), depthwise_passes<Bf16>())};
}

template <class T>
std::vector<Pass> pointwise_passes() {
  using S = PointwiseConvShape;
  using Row = PointwiseConvOf<T>;
  static constexpr auto x = [](const S& s) { return s.rows * s.in_channels; };
  static constexpr auto y = [](const S& s) { return s.rows * s.out_channels; };
  static constexpr auto w = [](const S& s) { return int64_t{s.in_channels} * s.out_channels; };
  const auto flops = [](const S& s) { return 2.0 * static_cast<double>(s.rows) * static_cast<double>(w(s)); };
  return {product<reference::pointwise_conv_forward, S>(
              named<T>("forward", "forward_bf16"), &Row::forward,
              [](const S& s) -> Arrays {
                return {activations<T>("x", x(s)), {"w", w(s)}, activations<T>("y", y(s), Use::out)};
              },
              flops, [](const S& s) { return static_cast<double>(s.in_channels); }),
          product<reference::pointwise_conv_backward_data, S>(
              named<T>("backward_data", "backward_data_bf16"), &Row::backward_data,
              [](const S& s) -> Arrays {
                return {activations<T>("dy", y(s)), {"w", w(s)}, activations<T>("dx", x(s), Use::out)};
              },
              flops, [](const S& s) { return static_cast<double>(s.out_channels); }),
          product<reference::pointwise_conv_backward_weight, S>(
              named<T>("backward_weight", "backward_weight_bf16"), &Row::backward_weight,
              [](const S& s) -> Arrays {
                return {activations<T>("x", x(s)), activations<T>("dy", y(s)), {"dw", w(s), Use::out}};
              },
              flops, [](const S& s) { return static_cast<double>(s.rows); })};
}

Operation pointwise_conv() {
  return {"pointwise_conv",
          {"batch", "height", "width", "in_channels", "out_channels"},
          [](const Values& v) {
            return shape(PointwiseConvShape{v[0] * v[1] * v[2], narrow(v[3]), narrow(v[4])});
          },
          joined(pointwise_passes<float>(), pointwise_passes<Bf16>())};
}

// x and its gradient are float, whatever T is.
template <class T>
std::vector<Pass> conv2d_passes() {
  using S = Conv2dShape;
  using Row = Conv2dOf<T>;
  static constexpr auto x = [](const S& s) { return int64_t{s.batch} * s.height * s.width * s.in_channels; };
  static constexpr auto y = [](const S& s) {
    return int64_t{s.batch} * s.out_height() * s.out_width() * s.out_channels;
  };
  static constexpr auto w = [](const S& s) { return 9 * int64_t{s.in_channels} * s.out_channels; };
  const auto flops = [](const S& s) { return 18.0 * static_cast<double>(y(s)) * s.in_channels; };
  return {product<reference::conv2d_forward, S>(
              named<T>("forward", "forward_bf16"), &Row::forward,
              [](const S& s) -> Arrays {
                return {{"x", x(s)}, {"w", w(s)}, activations<T>("y", y(s), Use::out)};
              },
              flops, [](const S& s) { return 9.0 * s.in_channels; }),
          product<reference::conv2d_backward_data, S>(
              named<T>("backward_data", "backward_data_bf16"), &Row::backward_data,
              [](const S& s) -> Arrays {
                return {activations<T>("dy", y(s)), {"w", w(s)}, {"dx", x(s), Use::out}};
              },
              flops, [](const S& s) { return 9.0 * s.out_channels; }),
          product<reference::conv2d_backward_weight, S>(
              named<T>("backward_weight", "backward_weight_bf16"), &Row::backward_weight,
              [](const S& s) -> Arrays {
                return {{"x", x(s)}, activations<T>("dy", y(s)), {"dw", w(s), Use::out}};
              },
              flops, [](const S& s) { return static_cast<double>(y(s)) / s.out_channels; })};
}

Operation conv2d() {
  return {
      "conv2d",
      {"batch", "height", "width", "in_channels", "out_channels", "stride"},
      [](const Values& v) {
        return shape(Conv2dShape{narrow(v[0]), narrow(v[1]), narrow(v[2]), narrow(v[3]), narrow(v[4]), narrow(v[5])});
      },
      joined(conv2d_passes<float>(), conv2d_passes<Bf16>())};
}

// x is drawn evenly from -1 … 1, so no channel is far from zero or nearly constant, which is what the kernel's own
// tests are for. Then a mean is off by at most what a sum of M terms below 1 is, an inverse deviation by half of that
// of the sum of squares (relative; 3 is 1/σ²), and either by a few roundings of its own.
namespace norm {
using S = BatchNormShape;
constexpr float eps = 1e-5f, momentum = 0.1f;
int64_t elements(const S& s) { return s.rows * s.channels; }
double sum_error(const S& s) { return sum_tolerance(static_cast<double>(s.rows)) + 4 * unit; }

// x weight bias running_mean running_var saved_mean saved_invstd y
void training(const S& s, Numbers& n) {
  reference::batchnorm_forward_training(s, n[0].data(), n[1].data(), n[2].data(), double{eps}, double{momentum},
                                        n[3].data(), n[4].data(), n[5].data(), n[6].data(), n[7].data());
}
template <class T>
Numbers training_allowed(const S& s, const Numbers& before, const Numbers& after, Precision) {
  Numbers allowed = after;
  const double sum = sum_error(s);
  for (size_t c = 0; c < static_cast<size_t>(s.channels); ++c) {
    const double invstd = after[6][c], variance = 1 / (invstd * invstd);
    const double unbiased = variance * static_cast<double>(s.rows) / static_cast<double>(s.rows - 1);
    const double relative = 2 * sum + 4 * unit;  // of 1/σ
    allowed[5][c] = sum;
    allowed[6][c] = relative * invstd;
    allowed[3][c] = sum + 3 * unit * (std::fabs(before[3][c]) + 1);
    allowed[4][c] = 4 * relative * unbiased + 3 * unit * (std::fabs(before[4][c]) + unbiased);
    for (size_t i = c; i < allowed[7].size(); i += s.channels) {
      const double scaled = std::fabs(after[7][i] - before[2][c]);  // γ·x̂
      allowed[7][i] = rounded_to<T>(
          std::fabs(before[1][c]) * invstd * sum + scaled * relative + 4 * unit * (scaled + std::fabs(before[2][c])),
          after[7][i]);
    }
  }
  return allowed;
}

// x weight bias running_mean running_var y
void inference(const S& s, Numbers& n) {
  reference::batchnorm_forward_inference(s, n[0].data(), n[1].data(), n[2].data(), n[3].data(), n[4].data(),
                                         double{eps}, n[5].data());
}
// A handful of roundings, each of a term of γ·x/σ - γ·μ/σ + β: a row may subtract μ from x, or make β - γ·μ/σ first, as
// cuDNN does.
template <class T>
Numbers inference_allowed(const S& s, const Numbers& before, const Numbers& after, Precision) {
  Numbers allowed = after;
  for (size_t i = 0; i < allowed[5].size(); ++i) {
    const int64_t c = i % s.channels;
    const double scale = std::fabs(before[1][c]) / std::sqrt(before[4][c] + double{eps});
    const double terms = scale * (std::fabs(before[0][i]) + std::fabs(before[3][c])) + std::fabs(before[2][c]);
    allowed[5][i] = rounded_to<T>(8 * unit * terms, after[5][i]);
  }
  return allowed;
}

// x dy weight saved_mean saved_invstd dx dweight dbias
void backward(const S& s, Numbers& n) {
  reference::batchnorm_backward(s, n[0].data(), n[1].data(), n[2].data(), n[3].data(), n[4].data(), n[5].data(),
                                n[6].data(), n[7].data());
}
// dγ and dβ are sums of M terms. dx is a sum of three terms: a few roundings of each, and what the two sums are off by.
template <class T>
Numbers backward_allowed(const S& s, const Numbers& before, const Numbers& after, Precision) {
  Numbers allowed = after;
  const auto channels = static_cast<size_t>(s.channels);
  const auto rows = static_cast<double>(s.rows);
  std::vector<double> weight_size(channels), bias_size(channels);
  const auto normalised = [&](size_t i) {
    return std::fabs((before[0][i] - before[3][i % channels]) * before[4][i % channels]);
  };
  for (size_t i = 0; i < before[0].size(); ++i) {
    bias_size[i % channels] += std::fabs(before[1][i]);
    weight_size[i % channels] += std::fabs(before[1][i]) * normalised(i);
  }
  const double sum = sum_tolerance(rows);
  for (size_t c = 0; c < channels; ++c) {
    allowed[6][c] = sum * weight_size[c];
    allowed[7][c] = sum * bias_size[c];
  }
  for (size_t i = 0; i < before[0].size(); ++i) {
    const size_t c = i % channels;
    const double n = normalised(i);
    const double terms = std::fabs(before[1][i]) + (std::fabs(after[7][c]) + n * std::fabs(after[6][c])) / rows;
    const double off = sum * (bias_size[c] + n * weight_size[c]) / rows;
    allowed[5][i] = rounded_to<T>(std::fabs(before[2][c] * before[4][c]) * (8 * unit * terms + off), after[5][i]);
  }
  return allowed;
}
}  // namespace norm

template <class T>
std::vector<Pass> batchnorm_passes() {
  using S = BatchNormShape;
  using Row = BatchNormOf<T>;
  using norm::elements;
  return {pass<S>(&Row::forward_training,
                  {named<T>("forward_training", "forward_training_bf16"),
                   [](const S& s) -> Arrays {
                     return {activations<T>("x", elements(s)),
                             {"weight", s.channels, Use::in, 0.5, 1.5},
                             {"bias", s.channels},
                             {"running_mean", s.channels, Use::updated},
                             {"running_var", s.channels, Use::updated, 0.5, 1.5},
                             {"saved_mean", s.channels, Use::out},
                             {"saved_invstd", s.channels, Use::out},
                             activations<T>("y", elements(s), Use::out)};
                   },
                   [](const S& s) { return 6.0 * static_cast<double>(elements(s)); }, norm::training,
                   norm::training_allowed<T>},
                  [](const Row& row, Context& context, const S& s, const std::vector<void*>& d) {
                    row.forward_training(context, s, activations<T>(d, 0), floats(d, 1), floats(d, 2), norm::eps,
                                         norm::momentum, floats(d, 3), floats(d, 4), floats(d, 5), floats(d, 6),
                                         activations<T>(d, 7));
                  }),
          pass<S>(&Row::forward_inference,
                  {named<T>("forward_inference", "forward_inference_bf16"),
                   [](const S& s) -> Arrays {
                     return {activations<T>("x", elements(s)),
                             {"weight", s.channels, Use::in, 0.5, 1.5},
                             {"bias", s.channels},
                             {"running_mean", s.channels},
                             {"running_var", s.channels, Use::in, 0.5, 1.5},
                             activations<T>("y", elements(s), Use::out)};
                   },
                   [](const S& s) { return 2.0 * static_cast<double>(elements(s)); }, norm::inference,
                   norm::inference_allowed<T>},
                  [](const Row& row, Context& context, const S& s, const std::vector<void*>& d) {
                    row.forward_inference(context, s, activations<T>(d, 0), floats(d, 1), floats(d, 2), floats(d, 3),
                                          floats(d, 4), norm::eps, activations<T>(d, 5));
                  }),
          pass<S>(&Row::backward,
                  {named<T>("backward", "backward_bf16"),
                   [](const S& s) -> Arrays {
                     return {activations<T>("x", elements(s)),
                             activations<T>("dy", elements(s)),
                             {"weight", s.channels, Use::in, 0.5, 1.5},
                             {"saved_mean", s.channels, Use::in, -0.1, 0.1},
                             {"saved_invstd", s.channels, Use::in, 1.5, 2},
                             activations<T>("dx", elements(s), Use::out),
                             {"dweight", s.channels, Use::out},
                             {"dbias", s.channels, Use::out}};
                   },
                   [](const S& s) { return 10.0 * static_cast<double>(elements(s)); }, norm::backward,
                   norm::backward_allowed<T>},
                  [](const Row& row, Context& context, const S& s, const std::vector<void*>& d) {
                    row.backward(context, s, activations<T>(d, 0), activations<T>(d, 1), floats(d, 2), floats(d, 3),
                                 floats(d, 4), activations<T>(d, 5), floats(d, 6), floats(d, 7));
                  })};
}

Operation batchnorm() {
  return {"batchnorm",
          {"batch", "height", "width", "channels"},
          [](const Values& v) {
            return shape(BatchNormShape{v[0] * v[1] * v[2], narrow(v[3])});
          },
          joined(batchnorm_passes<float>(), batchnorm_passes<Bf16>())};
}

template <class T>
std::vector<Pass> relu6_passes() {
  using S = Relu6Shape;
  using Row = Relu6Of<T>;
  const auto flops = [](const S& s) { return 2.0 * static_cast<double>(s.count); };
  return {
      pass<S>(&Row::forward,
              {named<T>("forward", "forward_bf16"),
               [](const S& s) -> Arrays {
                 return {activations<T>("x", s.count, Use::in, -3, 9), activations<T>("y", s.count, Use::out)};
               },
               flops, [](const S& s, Numbers& n) { reference::relu6_forward(s, n[0].data(), n[1].data()); }, exact<S>},
              [](const Row& row, Context& context, const S& s, const std::vector<void*>& d) {
                row.forward(context, s, activations<T>(d, 0), activations<T>(d, 1));
              }),
      pass<S>(
          &Row::backward,
          {named<T>("backward", "backward_bf16"),
           [](const S& s) -> Arrays {
             return {activations<T>("x", s.count, Use::in, -3, 9), activations<T>("dy", s.count),
                     activations<T>("dx", s.count, Use::out)};
           },
           flops, [](const S& s, Numbers& n) { reference::relu6_backward(s, n[0].data(), n[1].data(), n[2].data()); },
           exact<S>},
          three_arrays(&Row::backward))};
}

Operation relu6() {
  return {"relu6",
          {"batch", "height", "width", "channels"},
          [](const Values& v) { return shape(Relu6Shape{v[0] * v[1] * v[2] * v[3]}); },
          joined(relu6_passes<float>(), relu6_passes<Bf16>())};
}

template <class T>
std::vector<Pass> pool_passes() {
  using S = GlobalAvgPoolShape;
  using Row = GlobalAvgPoolOf<T>;
  static constexpr auto x = [](const S& s) { return int64_t{s.batch} * s.positions * s.channels; };
  static constexpr auto y = [](const S& s) { return int64_t{s.batch} * s.channels; };
  const auto flops = [](const S& s) { return static_cast<double>(x(s)); };
  const auto terms = [](const S& s) { return static_cast<double>(s.positions); };
  const auto forward = [](const S& s, Numbers& n) { reference::global_avg_pool_forward(s, n[0].data(), n[1].data()); };
  const auto backward = [](const S& s, Numbers& n) {
    reference::global_avg_pool_backward(s, n[0].data(), n[1].data());
  };
  const auto forward_arrays = [](const S& s) -> Arrays { return {activations<T>("x", x(s)), {"y", y(s), Use::out}}; };
  const auto backward_arrays = [](const S& s) -> Arrays {
    return {{"dy", y(s)}, activations<T>("dx", x(s), Use::out)};
  };
  return {pass<S>(&Row::forward,
                  {named<T>("forward", "forward_bf16"), forward_arrays, flops, forward,
                   sums<S>(forward, terms, forward_arrays)},
                  [](const Row& row, Context& context, const S& s, const std::vector<void*>& d) {
                    row.forward(context, s, activations<T>(d, 0), floats(d, 1));
                  }),
          pass<S>(&Row::backward,
                  {named<T>("backward", "backward_bf16"), backward_arrays, flops, backward,
                   sums<S>(backward, terms, backward_arrays)},
                  [](const Row& row, Context& context, const S& s, const std::vector<void*>& d) {
                    row.backward(context, s, floats(d, 0), activations<T>(d, 1));
                  })};
}

Operation global_avg_pool() {
  return {"global_avg_pool",
          {"batch", "height", "width", "channels"},
          [](const Values& v) {
            return shape(GlobalAvgPoolShape{narrow(v[0]), narrow(v[1] * v[2]), narrow(v[3])});
          },
          joined(pool_passes<float>(), pool_passes<Bf16>())};
}

Operation linear() {
  using S = LinearShape;
  static constexpr auto x = [](const S& s) { return int64_t{s.rows} * s.in_features; };
  static constexpr auto y = [](const S& s) { return int64_t{s.rows} * s.out_features; };
  static constexpr auto w = [](const S& s) { return int64_t{s.in_features} * s.out_features; };
  const auto flops = [](const S& s) { return 2.0 * static_cast<double>(x(s)) * s.out_features; };
  const auto forward = [](const S& s, Numbers& n) {
    reference::linear_forward(s, n[0].data(), n[1].data(), n[2].data(), n[3].data());
  };
  const auto backward_weight = [](const S& s, Numbers& n) {
    reference::linear_backward_weight(s, n[0].data(), n[1].data(), n[2].data(), n[3].data());
  };
  const auto rows = [](const S& s) { return static_cast<double>(s.rows); };
  return {"linear",
          {"batch", "in_features", "out_features"},
          [](const Values& v) {
            return shape(S{narrow(v[0]), narrow(v[1]), narrow(v[2])});
          },
          {pass<S>(&Linear::forward,
                   {"forward",
                    [](const S& s) -> Arrays {
                      return {{"x", x(s)}, {"w", w(s)}, {"b", s.out_features}, {"y", y(s), Use::out}};
                    },
                    flops, forward, sums<S>(forward, [](const S& s) { return s.in_features + 1.0; })},
                   [](const Linear& row, Context& context, const S& s, const std::vector<void*>& d) {
                     row.forward(context, s, floats(d, 0), floats(d, 1), floats(d, 2), floats(d, 3));
                   }),
           product<reference::linear_backward_data, S>(
               "backward_data", &Linear::backward_data,
               [](const S& s) -> Arrays {
                 return {{"dy", y(s)}, {"w", w(s)}, {"dx", x(s), Use::out}};
               },
               flops, [](const S& s) { return static_cast<double>(s.out_features); }),
           pass<S>(&Linear::backward_weight,
                   {"backward_weight",
                    [](const S& s) -> Arrays {
                      return {{"x", x(s)}, {"dy", y(s)}, {"dw", w(s), Use::out}, {"db", s.out_features, Use::out}};
                    },
                    flops, backward_weight, sums<S>(backward_weight, rows)},
                   [](const Linear& row, Context& context, const S& s, const std::vector<void*>& d) {
                     row.backward_weight(context, s, floats(d, 0), floats(d, 1), floats(d, 2), floats(d, 3));
                   })}};
}

Operation cross_entropy() {
  using S = CrossEntropyShape;
  constexpr float smoothing = 0.1f;
  // logits labels losses correct mean_loss dlogits
  const auto in_double = [](const S& s, Numbers& n) {
    const std::vector<int32_t> labels(n[1].begin(), n[1].end());
    std::vector<int32_t> correct(s.batch);
    reference::cross_entropy(s, n[0].data(), labels.data(), double{smoothing}, n[2].data(), correct.data(), n[4].data(),
                             n[5].data());
    n[3].assign(correct.begin(), correct.end());
  };
  // A loss is a difference of two sums of K terms: logarithms of numbers up to K, and logits below 4 in size. The
  // exponentials round with the logits, a few roundings each.
  const auto allowed = [](const S& s, const Numbers&, const Numbers& after, Precision) {
    Numbers error = after;
    const double sum = sum_tolerance(s.classes) + 16 * unit, size = 16 + std::log(s.classes);
    std::fill(error[2].begin(), error[2].end(), sum * size);
    std::fill(error[3].begin(), error[3].end(), 0.0);
    error[4][0] = (sum + sum_tolerance(s.batch)) * size;
    for (double& e : error[5]) e = sum * size / s.batch;
    return error;
  };
  return {"cross_entropy",
          {"batch", "classes"},
          [](const Values& v) {
            return shape(S{narrow(v[0]), narrow(v[1])});
          },
          {pass<S>(&CrossEntropy::forward_backward,
                   {"forward_backward",
                    [](const S& s) -> Arrays {
                      const int64_t count = int64_t{s.batch} * s.classes;
                      return {{"logits", count, Use::in, -4, 4},
                              {"labels", s.batch, Use::in, 0, s.classes - 1.0, Element::integer},
                              {"losses", s.batch, Use::out},
                              {"correct", s.batch, Use::out, 0, 1, Element::integer},
                              {"mean_loss", 1, Use::out},
                              {"dlogits", count, Use::out}};
                    },
                    [](const S& s) { return 8.0 * s.batch * s.classes; }, in_double, allowed},
                   [](const CrossEntropy& row, Context& context, const S& s, const std::vector<void*>& d) {
                     row.forward_backward(context, s, floats(d, 0), static_cast<const int32_t*>(d[1]), smoothing,
                                          floats(d, 2), static_cast<int32_t*>(d[3]), floats(d, 4), floats(d, 5));
                   })}};
}

// One parameter of whole chunks.
namespace optimizer {
using S = OptimizerShape;
constexpr AdamOptions options{};
constexpr float lr = 1e-3f;
constexpr int64_t t = 100;
int64_t elements(const S& s) { return int64_t{s.chunks} * optimizer_chunk; }

// value gradient first_moment second_moment
void adam(const S& s, Numbers& n) {
  reference::adam(elements(s), n[0].data(), n[1].data(), n[2].data(), n[3].data(), 0, options, double{lr}, t);
}
// A few roundings of each term; what θ moves by has those of m, which may be a small difference, over √v.
Numbers adam_allowed(const S&, const Numbers& before, const Numbers& after, Precision) {
  Numbers allowed = after;
  const OptimizerStep step = optimizer_step(options, lr, t);
  for (size_t i = 0; i < allowed[0].size(); ++i) {
    const double g = std::fabs(before[1][i]), m = std::fabs(before[2][i]) + g;
    const double slope = step.step_size / (std::sqrt(after[3][i]) * step.root_scale + options.eps);
    allowed[2][i] = 4 * unit * m;
    allowed[3][i] = 4 * unit * (std::fabs(before[3][i]) + g * g);
    allowed[0][i] = 2 * unit * std::fabs(before[0][i]) + slope * (4 * unit * m + 16 * unit * std::fabs(after[2][i]));
  }
  return allowed;
}
}  // namespace optimizer

Operation adam() {
  using S = OptimizerShape;
  using optimizer::elements;
  Pass p = pass<S>(
      &Adam::adam,
      {"adam",
       [](const S& s) -> Arrays {
         return {{"value", elements(s), Use::updated},
                 {"gradient", elements(s)},
                 {"first_moment", elements(s), Use::updated},
                 {"second_moment", elements(s), Use::updated, 0, 1}};
       },
       [](const S& s) { return 12.0 * static_cast<double>(elements(s)); }, optimizer::adam, optimizer::adam_allowed},
      [](const Adam&, Context&, const S&, const std::vector<void*>&) {});
  // The table of chunks and the step's numbers lie in device memory too.
  p.prepare = [](engine::Device& device, const char* name, const void* shape,
                 const std::vector<void*>& data) -> std::function<void()> {
    const auto& s = *static_cast<const S*>(shape);
    const Adam& row = row_named<Adam>(device.type(), name);
    std::vector<OptimizerChunk> chunks;
    for (int64_t i = 0; i < s.chunks; ++i) {
      const auto part = [&](size_t array) { return floats(data, array) + i * optimizer_chunk; };
      chunks.push_back({part(0), part(1), part(2), part(3), nullptr, optimizer_chunk, 0});
    }
    const OptimizerStep step = optimizer_step(optimizer::options, optimizer::lr, optimizer::t);
    const auto on_device = [&](const void* from, size_t bytes) {
      const auto buffer = std::make_shared<engine::Buffer>(device, bytes);
      device.runtime().copy(buffer->data(), from, bytes, engine::CopyKind::host_to_device, device.stream());
      device.synchronize();
      return buffer;
    };
    const auto table = on_device(chunks.data(), chunks.size() * sizeof chunks[0]);
    const auto numbers = on_device(&step, sizeof step);
    return [=, &row, &s, &device] {
      row.adam(device.context(row.workspace(s)), s, static_cast<const OptimizerChunk*>(table->data()),
               optimizer::options, {.step = static_cast<const OptimizerStep*>(numbers->data())});
    };
  };
  return {"adam", {"chunks"}, [](const Values& v) { return shape(S{narrow(v[0])}); }, {p}};
}

Operation add() {
  using S = AddShape;
  return {"add",
          {"batch", "height", "width", "channels"},
          [](const Values& v) { return shape(S{v[0] * v[1] * v[2] * v[3]}); },
          {product<reference::add_forward, S>(
              "forward", &Add::forward,
              [](const S& s) -> Arrays {
                return {{"a", s.count}, {"b", s.count}, {"y", s.count, Use::out}};
              },
              [](const S& s) { return static_cast<double>(s.count); }, [](const S&) { return 1.0; })}};
}

}  // namespace

const std::vector<Operation>& operations() {
  const auto with = [](Operation operation, const std::vector<Pass>& passes) {
    operation.passes = joined(std::move(operation.passes), passes);
    return operation;
  };
  static const std::vector<Operation> all = {with(conv2d(), conv2d_fused_passes()),
                                             with(depthwise_conv(), depthwise_conv_fused_passes()),
                                             with(pointwise_conv(), pointwise_conv_fused_passes()),
                                             batchnorm(),
                                             relu6(),
                                             with(global_avg_pool(), global_avg_pool_fused_passes()),
                                             linear(),
                                             cross_entropy(),
                                             adam(),
                                             add()};
  return all;
}

const Operation* find_operation(const std::string& name) {
  for (const Operation& operation : operations())
    if (name == operation.name) return &operation;
  return nullptr;
}

const Pass* find_pass(const engine::PassCall& call) {
  if (const Operation* operation = find_operation(call.operation))
    for (const Pass& pass : operation->passes)
      if (pass.offset == call.pass && *pass.type == *call.type) return &pass;
  return nullptr;
}

double bytes_of(const Arrays& arrays) {
  double bytes = 0;
  for (const Array& array : arrays)
    bytes += static_cast<double>(size_of(array.element)) * static_cast<double>(array.count) *
             (array.use == Use::updated ? 2 : 1);
  return bytes;
}

}  // namespace tools::bench
