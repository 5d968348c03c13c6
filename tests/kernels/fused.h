// What the tests of the fused passes share (kernels/common/fused_norm.h). A pass is checked by itself: what it would
// get from other passes (a batch norm's statistics and gradients) is drawn, so every result is a sum of products of
// given numbers, and check_sum's bound holds for it.
#pragma once

#include <algorithm>
#include <optional>

#include "kernels/common/fused_norm.h"
#include "kernels/convolution.h"

namespace test {

using Doubles = std::vector<double>;

// A batch norm as some pass left it.
struct DrawnNorm {
  int channels;
  std::vector<float> weight, bias, running_mean, running_var, mean, invstd, scale, slope, constant;
  DrawnNorm(Random& random, int channels)
      : channels(channels),
        weight(random.floats(channels, -1, 3)),
        bias(random.floats(channels, 0, 4)),
        running_mean(random.floats(channels)),
        running_var(random.floats(channels, 0.5f, 2)),
        mean(random.floats(channels)),
        invstd(random.floats(channels, 0.5f, 2)),
        slope(random.floats(channels)),
        constant(random.floats(channels)) {
    for (int c = 0; c < channels; ++c) scale.push_back(weight[c] * invstd[c]);
  }
  // Of z (M, C): the activation, u before the clamp, and bounds of the sizes of the numbers that add up to it.
  Doubles activation(const std::vector<float>& z) const {
    Doubles a(z.size());
    kernels::reference::fused_activate(static_cast<int64_t>(z.size()) / channels, channels, to_double(mean).data(),
                                       to_double(scale).data(), to_double(bias).data(), to_double(z).data(), a.data());
    return a;
  }
  double u(double z, int64_t c) const { return double{scale[c]} * (z - mean[c]) + bias[c]; }
  Doubles activation_size(const std::vector<float>& z) const {
    Doubles size(z.size());
    for (size_t i = 0; i < z.size(); ++i) {
      const size_t c = i % channels;
      size[i] = std::fabs(scale[c]) * (std::fabs(z[i]) + std::fabs(mean[c])) + std::fabs(bias[c]);
    }
    return size;
  }
  Doubles gradient(const std::vector<float>& z, const std::vector<float>& du) const {
    Doubles dz(z.size());
    kernels::reference::fused_gradient(static_cast<int64_t>(z.size()) / channels, channels, to_double(mean).data(),
                                       to_double(scale).data(), to_double(slope).data(), to_double(constant).data(),
                                       to_double(z).data(), to_double(du).data(), dz.data());
    return dz;
  }
  Doubles gradient_size(const std::vector<float>& z, const std::vector<float>& du) const {
    Doubles size(z.size());
    for (size_t i = 0; i < z.size(); ++i) {
      const size_t c = i % channels;
      size[i] = std::fabs(scale[c] * du[i]) + std::fabs(slope[c]) * (std::fabs(z[i]) + std::fabs(mean[c])) +
                std::fabs(constant[c]);
    }
    return size;
  }
  // Moves z a little where u is so near a corner of ReLU6 that a rounding may decide which side it is on.
  void leave_corners(std::vector<float>& z) const {
    const auto at_a_corner = [](double u) { return std::fabs(u) < 1e-4 || std::fabs(u - 6) < 1e-4; };
    for (size_t i = 0; i < z.size(); ++i)
      for (int tries = 0; tries < 20 && at_a_corner(u(z[i], i % channels)); ++tries) z[i] += 1e-2f;
  }
};

// The input z of a norm, as numbers of T, away from ReLU6's corners.
template <class T>
std::vector<float> drawn_off_corners(Random& random, const DrawnNorm& norm, int64_t count) {
  auto z = random.floats(count, -2, 3);
  norm.leave_corners(z);
  z = to_floats(typed<T>(z));
  norm.leave_corners(z);  // (a rounding may have brought it back)
  return to_floats(typed<T>(z));
}

// Its arrays on the device; `before`: the statistics are not there yet.
enum class Stage { no_statistics, no_gradients, complete };
struct DeviceNorm {
  Array<float> weight, bias, running_mean, running_var, mean, invstd, scale, dweight, dbias, slope, constant;
  DeviceNorm(const DrawnNorm& n, Stage stage, int offset = 0)
      : weight(n.weight, offset),
        bias(n.bias, offset),
        running_mean(n.running_mean, offset),
        running_var(n.running_var, offset),
        mean(given(n.mean, stage != Stage::no_statistics), offset),
        invstd(given(n.invstd, stage != Stage::no_statistics), offset),
        scale(given(n.scale, stage != Stage::no_statistics), offset),
        dweight(n.channels, offset),
        dbias(n.channels, offset),
        slope(given(n.slope, stage == Stage::complete), offset),
        constant(given(n.constant, stage == Stage::complete), offset) {}
  kernels::FusedNorm get() const {
    return {weight, bias,  eps,     momentum, running_mean, running_var, mean,
            invstd, scale, dweight, dbias,    slope,        constant};
  }
  static constexpr float eps = 1e-5f, momentum = 0.25f;

 private:
  static std::vector<float> given(const std::vector<float>& values, bool there) {
    std::vector<float> result = values;
    if (!there) std::fill(result.begin(), result.end(), NAN);
    return result;
  }
};

// Checks the statistics that a pass left of its output z (M, C), against those of the z that it wrote. Appends what it
// read to `outputs`.
inline void check_statistics(const std::vector<float>& z, const DrawnNorm& before, const DeviceNorm& after,
                             Outputs& outputs) {
  const int C = before.channels;
  const auto M = static_cast<double>(z.size()) / C;
  Doubles mean(C), variance(C), size(C), range(C);
  for (size_t i = 0; i < z.size(); ++i) mean[i % C] += z[i] / M;
  for (size_t i = 0; i < z.size(); ++i) {
    const double d = z[i] - mean[i % C];
    variance[i % C] += d * d / M;
    size[i % C] = std::max(size[i % C], std::fabs(double{z[i]}));
    range[i % C] = std::max(range[i % C], std::fabs(d));
  }
  // A mean rounds as a sum of differences no larger than the values do; the mean of M squares, each below range², as
  // check_sum says for M terms.
  const double roundings = 0x1p-24 * (4 * std::sqrt(M) + 16);
  const auto running_mean = after.running_mean.read(), running_var = after.running_var.read(), mu = after.mean.read(),
             invstd = after.invstd.read(), scale = after.scale.read();
  const float momentum = DeviceNorm::momentum;
  for (int c = 0; c < C; ++c) {
    INFO(current_case.repeat() << "  (statistics of channel " << c << ")");
    const double mean_error = roundings * size[c], variance_error = roundings * range[c] * range[c];
    CHECK(std::fabs(mu[c] - mean[c]) <= mean_error);
    const double floor = variance[c] + DeviceNorm::eps, expected = 1 / std::sqrt(floor);
    const double relative = std::min(1.0, variance_error / floor) + 0x1p-22;
    CHECK(std::fabs(invstd[c] - expected) <= relative * expected);
    CHECK(std::fabs(scale[c] - before.weight[c] * expected) <= relative * std::fabs(before.weight[c]) * expected);
    CHECK(std::fabs(running_mean[c] - ((1 - momentum) * double{before.running_mean[c]} + momentum * mean[c])) <=
          mean_error + 0x1p-22);
    CHECK(std::fabs(running_var[c] -
                    ((1 - momentum) * double{before.running_var[c]} + momentum * variance[c] * (M / (M - 1)))) <=
          2 * variance_error + 0x1p-21 * (1 + variance[c]));
  }
  for (const auto& values : {mu, invstd, scale, running_mean, running_var}) outputs.push_back(values);
}

// Checks du (M, C) and the norm's gradients that a pass left, given the activation's gradient da and the size of the
// numbers that add up to it, which are `terms`.
inline void check_du(const std::vector<float>& z, const DrawnNorm& norm, const DeviceNorm& after, const Doubles& da,
                     const Doubles& size, double terms, const std::vector<float>& du, Outputs& outputs,
                     Rounding besides = {}, double du_rounding = 0) {
  const int C = norm.channels;
  const int64_t M = static_cast<int64_t>(z.size()) / C;
  Doubles expected(z.size()), again(z.size()), dweight(C), dbias(C), slope(C), constant(C);
  const auto mask = [&](const Doubles& gradient, Doubles& result) {
    kernels::reference::fused_mask(M, C, to_double(norm.mean).data(), to_double(norm.invstd).data(),
                                   to_double(norm.scale).data(), to_double(norm.bias).data(), to_double(z).data(),
                                   gradient.data(), result.data(), dweight.data(), dbias.data(), slope.data(),
                                   constant.data());
  };
  mask(da, expected);
  mask(to_double(du), again);  // the sums are of du as it is stored
  Doubles dweight_size(C), dbias_size(C), slope_size(C), constant_size(C), du_size(z.size());
  for (size_t i = 0; i < z.size(); ++i) {
    const size_t c = i % C;
    const double u = norm.u(z[i], static_cast<int64_t>(c));
    if (!(u > 0 && u < 6)) continue;
    du_size[i] = size[i];
    dbias_size[c] += size[i];
    dweight_size[c] += size[i] * (std::fabs(z[i]) + std::fabs(norm.mean[c])) * norm.invstd[c];
  }
  for (int c = 0; c < C; ++c) {
    slope_size[c] = std::fabs(norm.scale[c]) * norm.invstd[c] * dweight_size[c] / static_cast<double>(M);
    constant_size[c] = std::fabs(norm.scale[c]) * dbias_size[c] / static_cast<double>(M);
  }
  Rounding of_du = besides;
  of_du.result = du_rounding;
  check_sum(du, expected, du_size, terms, of_du);
  const double all = terms + static_cast<double>(M);
  check_sum(after.dbias.read(), dbias, dbias_size, all);
  check_sum(after.dweight.read(), dweight, dweight_size, all);
  check_sum(after.slope.read(), slope, slope_size, all);
  check_sum(after.constant.read(), constant, constant_size, all);
  for (const Array<float>* array : {&after.dbias, &after.dweight, &after.slope, &after.constant})
    outputs.push_back(array->read());
}

// A convolution's two fused passes. in_channels, out_channels: of its shape. forward_terms, data_terms: the products
// that an element of z or of the input's gradient is the sum of. offset: of all arrays, in elements. T: of x, z, du and
// du_x. Both factors of a product are rounded where the row computes in a lower precision: prologues compute in float.
template <class Row, class T = float, class Shape>
auto forward_fused_check(const Convolution<Shape>& op, int (*in_channels)(const Shape&),
                         int (*out_channels)(const Shape&), double (*forward_terms)(const Shape&), int offset = 0) {
  return [=](const Row& row, const Shape& s, Random& random) -> Outputs {
    if (op.outputs(s) / out_channels(s) < 2) return {};  // has no unbiased variance
    const DrawnNorm norm_x(random, in_channels(s)), norm_z(random, out_channels(s));
    const auto x = to_floats(typed<T>(random.floats(op.inputs(s), -2, 3))), w = random.floats(op.weights(s));
    const Array<T> device_x(typed<T>(x), offset), device_z(op.outputs(s), offset);
    const Array<float> device_w(w, offset);
    const DeviceNorm before(norm_x, Stage::no_gradients, offset), after(norm_z, Stage::no_statistics, offset);
    row.forward_fused(context(row.workspace(s)), s, device_x, before.get(), device_w, device_z, after.get());
    Doubles expected(op.outputs(s)), magnitude(op.outputs(s));
    op.forward(s, norm_x.activation(x).data(), to_double(w).data(), expected.data());
    op.forward(s, norm_x.activation_size(x).data(), absolute(w).data(), magnitude.data());
    Outputs outputs = {to_floats(device_z.read())};
    Rounding besides = tensor_core_rounding(kernels::precision_of(row), 2, forward_terms(s));
    besides.result = result_rounding<T>;
    // An activation has three roundings of its own.
    check_sum(outputs[0], expected, magnitude, forward_terms(s) + 3, besides);
    check_statistics(outputs[0], norm_z, after, outputs);
    return outputs;
  };
}

// forward_folded: the bias is the last term, then ReLU6. T: of y, X: of x. `run` runs it; without one, the row's pass
// of that name does.
template <class Row, class T = float, class X = T, class Shape>
auto forward_folded_check(const Convolution<Shape>& op, int (*out_channels)(const Shape&),
                          double (*forward_terms)(const Shape&), int offset = 0,
                          void (*run)(const Row&, const Shape&, const X* x, const float* w, const float* bias,
                                      T* y) = nullptr) {
  return [=](const Row& row, const Shape& s, Random& random) -> Outputs {
    const auto x = to_floats(typed<X>(random.floats(op.inputs(s), 0, 6))), w = random.floats(op.weights(s));
    const auto bias = random.floats(out_channels(s), -2, 6);
    const Array<X> device_x(typed<X>(x), offset);
    const Array<float> device_w(w, offset), device_bias(bias, offset);
    const Array<T> device_y(op.outputs(s), offset);
    if (run != nullptr)
      run(row, s, device_x, device_w, device_bias, device_y);
    else
      row.forward_folded(context(row.workspace(s)), s, device_x, device_w, device_bias, device_y);
    Doubles expected(op.outputs(s)), magnitude(op.outputs(s));
    op.forward(s, to_double(x).data(), to_double(w).data(), expected.data());
    op.forward(s, absolute(x).data(), absolute(w).data(), magnitude.data());
    for (size_t i = 0; i < expected.size(); ++i) {
      expected[i] = std::clamp(expected[i] + bias[i % bias.size()], 0.0, 6.0);
      magnitude[i] += std::fabs(bias[i % bias.size()]);
    }
    const std::vector<float> y = to_floats(device_y.read());
    Rounding besides = tensor_core_rounding(kernels::precision_of(row), 2, forward_terms(s));
    besides.result = result_rounding<T>;
    check_sum(y, expected, magnitude, forward_terms(s) + 1, besides);
    return {y};
  };
}

template <class Row, class T = float, class Shape>
auto backward_fused_check(const Convolution<Shape>& op, int (*in_channels)(const Shape&),
                          int (*out_channels)(const Shape&), double (*data_terms)(const Shape&), int offset = 0) {
  return [=](const Row& row, const Shape& s, Random& random) -> Outputs {
    const DrawnNorm norm_x(random, in_channels(s)), norm_z(random, out_channels(s));
    const auto x = drawn_off_corners<T>(random, norm_x, op.inputs(s));
    const auto w = random.floats(op.weights(s)), z = to_floats(typed<T>(random.floats(op.outputs(s)))),
               du = to_floats(typed<T>(random.floats(op.outputs(s))));
    const Array<T> device_x(typed<T>(x), offset), device_z(typed<T>(z), offset), device_du(typed<T>(du), offset),
        device_du_x(op.inputs(s), offset);
    const Array<float> device_w(w, offset), device_dw(op.weights(s), offset);
    const DeviceNorm below(norm_x, Stage::no_gradients, offset), above(norm_z, Stage::complete, offset);
    row.backward_fused(context(row.workspace(s)), s, device_x, below.get(), device_w, device_z, above.get(), device_du,
                       device_du_x, device_dw);
    const Doubles dz = norm_z.gradient(z, du), dz_size = norm_z.gradient_size(z, du);
    Doubles da(op.inputs(s)), da_size(op.inputs(s)), dw(op.weights(s)), dw_size(op.weights(s));
    op.backward_data(s, dz.data(), to_double(w).data(), da.data());
    op.backward_data(s, dz_size.data(), absolute(w).data(), da_size.data());
    op.backward_weight(s, norm_x.activation(x).data(), dz.data(), dw.data());
    op.backward_weight(s, norm_x.activation_size(x).data(), dz_size.data(), dw_size.data());
    Outputs outputs = {to_floats(device_du_x.read()), device_dw.read()};
    const double rows = static_cast<double>(op.outputs(s)) / out_channels(s);
    // dz and the activation have a few roundings of their own.
    check_du(x, norm_x, below, da, da_size, data_terms(s) + 4, outputs[0], outputs,
             tensor_core_rounding(kernels::precision_of(row), 2, data_terms(s)), result_rounding<T>);
    check_sum(outputs[1], dw, dw_size, rows + 7, tensor_core_rounding(kernels::precision_of(row), 2, rows));
    return outputs;
  };
}

}  // namespace test
