#include "tools/bench_fused.h"

#include <cmath>

#include "kernels/common/fused_norm.h"
#include "kernels/conv2d/conv2d.h"
#include "kernels/depthwise_conv/depthwise_conv.h"
#include "kernels/global_avg_pool/global_avg_pool.h"
#include "kernels/pointwise_conv/pointwise_conv.h"
#include "tools/bench_pass.h"

// Each pass is checked by itself: what it would get from other passes (a batch norm's statistics and gradients) is
// drawn, so its results are sums of products of given numbers.
namespace tools::bench {
namespace {

using namespace kernels;

constexpr float eps = 1e-5f, momentum = 0.1f;

// The arrays of a batch norm, one after the other from some place in a pass's arrays on.
//
// That of what a pass loads: weight bias mean invstd scale, and where its gradients are there, slope constant.
void append_loaded(Arrays& arrays, const std::string& name, int64_t channels, bool with_gradients) {
  arrays.push_back({name + ".weight", channels, Use::in, -1, 3});
  arrays.push_back({name + ".bias", channels, Use::in, 0, 4});
  arrays.push_back({name + ".mean", channels});
  arrays.push_back({name + ".invstd", channels, Use::in, 0.5, 2});
  arrays.push_back({name + ".scale", channels, Use::in, -1, 3});
  if (!with_gradients) return;
  arrays.push_back({name + ".slope", channels});
  arrays.push_back({name + ".constant", channels});
}
FusedNorm loaded(const std::vector<void*>& d, size_t i, bool with_gradients) {
  FusedNorm n{};
  n.weight = floats(d, i), n.bias = floats(d, i + 1);
  n.eps = eps, n.momentum = momentum;
  n.mean = floats(d, i + 2), n.invstd = floats(d, i + 3), n.scale = floats(d, i + 4);
  if (with_gradients) n.slope = floats(d, i + 5), n.constant = floats(d, i + 6);
  return n;
}

// That of what a pass stores forward: weight bias running_mean running_var mean invstd scale.
void append_stored(Arrays& arrays, int64_t channels) {
  arrays.push_back({"norm_z.weight", channels, Use::in, -1, 3});
  arrays.push_back({"norm_z.bias", channels, Use::in, 0, 4});
  arrays.push_back({"norm_z.running_mean", channels, Use::updated});
  arrays.push_back({"norm_z.running_var", channels, Use::updated, 0.5, 2});
  for (const char* name : {"norm_z.mean", "norm_z.invstd", "norm_z.scale"})
    arrays.push_back({name, channels, Use::out});
}
FusedNorm stored(const std::vector<void*>& d, size_t i) {
  FusedNorm n{};
  n.weight = floats(d, i), n.bias = floats(d, i + 1);
  n.eps = eps, n.momentum = momentum;
  n.running_mean = floats(d, i + 2), n.running_var = floats(d, i + 3);
  n.mean = floats(d, i + 4), n.invstd = floats(d, i + 5), n.scale = floats(d, i + 6);
  return n;
}

// And the gradients that a pass leaves of the norm of what it loads: dweight dbias slope constant.
void append_gradients(Arrays& arrays, int64_t channels) {
  for (const char* name : {"norm_x.dweight", "norm_x.dbias", "norm_x.slope", "norm_x.constant"})
    arrays.push_back({name, channels, Use::out});
}
FusedNorm with_gradients(FusedNorm n, const std::vector<void*>& d, size_t i) {
  n.dweight = floats(d, i), n.dbias = floats(d, i + 1), n.slope = floats(d, i + 2), n.constant = floats(d, i + 3);
  return n;
}

using Doubles = std::vector<double>;

int64_t rows_of(const Doubles& z, const Doubles& factor) { return static_cast<int64_t>(z.size() / factor.size()); }
int channels_of(const Doubles& factor) { return static_cast<int>(factor.size()); }

// The activation of n[z], whose norm stands at n[norm]; and the sizes of the numbers that add up to it.
Doubles activation(const Numbers& n, size_t z, size_t norm) {
  Doubles a(n[z].size());
  reference::fused_activate(rows_of(n[z], n[norm]), channels_of(n[norm]), n[norm + 2].data(), n[norm + 4].data(),
                            n[norm + 1].data(), n[z].data(), a.data());
  return a;
}
Doubles activation_size(const Numbers& n, size_t z, size_t norm) {
  Doubles size(n[z].size());
  for (size_t i = 0; i < size.size(); ++i) {
    const size_t c = i % n[norm].size();
    size[i] = std::fabs(n[norm + 4][c]) * (std::fabs(n[z][i]) + std::fabs(n[norm + 2][c])) + std::fabs(n[norm + 1][c]);
  }
  return size;
}

// The gradient at n[z] from that behind its norm, n[du].
Doubles gradient(const Numbers& n, size_t z, size_t norm, size_t du) {
  Doubles dz(n[z].size());
  reference::fused_gradient(rows_of(n[z], n[norm]), channels_of(n[norm]), n[norm + 2].data(), n[norm + 4].data(),
                            n[norm + 5].data(), n[norm + 6].data(), n[z].data(), n[du].data(), dz.data());
  return dz;
}
Doubles gradient_size(const Numbers& n, size_t z, size_t norm, size_t du) {
  Doubles size(n[z].size());
  for (size_t i = 0; i < size.size(); ++i) {
    const size_t c = i % n[norm].size();
    size[i] = std::fabs(n[norm + 4][c] * n[du][i]) +
              std::fabs(n[norm + 5][c]) * (std::fabs(n[z][i]) + std::fabs(n[norm + 2][c])) + std::fabs(n[norm + 6][c]);
  }
  return size;
}

// Numbers as an array of T holds them: statistics and sums are of these.
template <class T>
double as_stored(double x) {
  return std::is_same_v<T, Bf16> ? to_float(to_bf16(static_cast<float>(x))) : x;
}
template <class T>
Doubles as_stored(Doubles numbers) {
  for (double& x : numbers) x = as_stored<T>(x);
  return numbers;
}
// What is left or made of an error by the rounding to T: x may be off by `error` before it.
template <class T>
double stored_error(double x, double error) {
  return std::is_same_v<T, Bf16> ? std::fabs(as_stored<T>(x + error) - as_stored<T>(x - error)) : error;
}

// Rounded to the bits of mantissa that a product's factors have on tensor cores.
Doubles as_factors(Doubles numbers, Precision precision) {
  const int bits = precision == Precision::tf32 ? 11 : 8;
  for (double& x : numbers) {
    int exponent = 0;
    const double mantissa = std::frexp(x, &exponent);
    x = std::ldexp(std::nearbyint(std::ldexp(mantissa, bits)), exponent - bits);
  }
  return numbers;
}

void scale_by(Doubles& numbers, double factor) {
  for (double& x : numbers) x *= factor;
}

// What the weight gradient of so many terms may be off by: dw is the exact one of a and dz, error[i] the sum of the
// terms' sizes. Errors of rounded terms add up as a random walk, but where a channel's dz is nearly constant, which
// rounds all its terms the same way: what the rounding itself makes of dw is allowed besides.
template <class Op, class Shape>
void weight_allowed(const Shape& s, const Doubles& a, const Doubles& dz, const Doubles& dw, double terms,
                    Precision precision, Doubles& error) {
  scale_by(error, sum_tolerance(terms, tensor_core_rounding(precision, 2, terms)));
  if (precision == Precision::fp32) return;
  Doubles rounded(dw.size());
  Op::backward_weight(s, as_factors(a, precision).data(), as_factors(dz, precision).data(), rounded.data());
  for (size_t i = 0; i < dw.size(); ++i) error[i] += std::fabs(rounded[i] - dw[i]);
}

// n[du] and the four gradients from n[gradients] on, from the gradient da at the activation of n[x]. T: of du.
template <class T>
void mask(Numbers& n, size_t x, size_t norm, const Doubles& da, size_t du, size_t gradients) {
  const Doubles rounded = as_stored<T>(da);
  reference::fused_mask(rows_of(n[x], n[norm]), channels_of(n[norm]), n[norm + 2].data(), n[norm + 3].data(),
                        n[norm + 4].data(), n[norm + 1].data(), n[x].data(), rounded.data(), n[du].data(),
                        n[gradients].data(), n[gradients + 1].data(), n[gradients + 2].data(), n[gradients + 3].data());
}
// What they may be off by: `size` is that of the numbers that da is the sum of, `share` what a sum of as many terms may
// be off by. Where u is so near a corner of ReLU6 that its own rounding may decide on which side it is, da may be there
// or not.
template <class T>
void mask_allowed(const Numbers& n, size_t x, size_t norm, const Doubles& da, const Doubles& size, double terms,
                  Precision precision, size_t du, size_t gradients, Numbers& allowed) {
  const size_t channels = n[norm].size();
  const auto rows = static_cast<double>(rows_of(n[x], n[norm]));
  const double share = sum_tolerance(terms, tensor_core_rounding(precision, 2, terms));
  const double sum_share = sum_tolerance(terms + rows, tensor_core_rounding(precision, 2, terms));
  const double rows_share = sum_tolerance(rows);
  const Doubles u_size = activation_size(n, x, norm);
  for (size_t k = gradients; k < gradients + 4; ++k) std::fill(allowed[k].begin(), allowed[k].end(), 0.0);
  for (size_t i = 0; i < da.size(); ++i) {
    const size_t c = i % channels;
    const double difference = n[x][i] - n[norm + 2][c];
    const double u = n[norm + 4][c] * difference + n[norm + 1][c];
    const double corner = std::min(std::fabs(u), std::fabs(u - 6));
    const double wavering = corner <= 8 * unit * u_size[i] ? std::fabs(da[i]) : 0;
    const double error = stored_error<T>(da[i], share * size[i]);
    // In the sums: as one long sum of products, or each error of what was stored by itself.
    const double in_sum = !(u > 0 && u < 6)          ? 0
                          : std::is_same_v<T, float> ? sum_share * size[i]
                                                     : error + rows_share * (std::fabs(da[i]) + error);
    allowed[du][i] = error + wavering;
    const double factor = (std::fabs(n[x][i]) + std::fabs(n[norm + 2][c])) * n[norm + 3][c];
    allowed[gradients + 1][c] += in_sum + wavering;
    allowed[gradients][c] += (in_sum + wavering) * factor;
  }
  for (size_t c = 0; c < channels; ++c) {
    const double scale = std::fabs(n[norm + 4][c]) / rows;
    allowed[gradients + 2][c] = scale * n[norm + 3][c] * allowed[gradients][c];
    allowed[gradients + 3][c] = scale * allowed[gradients + 1][c];
  }
}

// The statistics of n[z] into the norm at n[norm].
void statistics(Numbers& n, size_t z, size_t norm) {
  const size_t channels = n[norm].size();
  const auto rows = static_cast<double>(rows_of(n[z], n[norm]));
  Doubles mean(channels), variance(channels);
  for (size_t i = 0; i < n[z].size(); ++i) mean[i % channels] += n[z][i] / rows;
  for (size_t i = 0; i < n[z].size(); ++i) {
    const double d = n[z][i] - mean[i % channels];
    variance[i % channels] += d * d / rows;
  }
  for (size_t c = 0; c < channels; ++c) {
    const double m = momentum;
    n[norm + 2][c] = (1 - m) * n[norm + 2][c] + m * mean[c];
    n[norm + 3][c] = (1 - m) * n[norm + 3][c] + m * variance[c] * rows / (rows - 1);
    n[norm + 4][c] = mean[c];
    n[norm + 5][c] = 1 / std::sqrt(variance[c] + double{eps});
    n[norm + 6][c] = n[norm][c] * n[norm + 5][c];
  }
}
// What they may be off by, where each element of z may be off by what stands in allowed[z]. A mean rounds as a sum of
// values does; the mean of M squares, each below range², as sum_tolerance says for M terms; and z's own errors add up
// to at most their mean.
void statistics_allowed(const Numbers& before, const Numbers& after, size_t z, size_t norm, Numbers& allowed) {
  const size_t channels = after[norm].size();
  const auto rows = static_cast<double>(rows_of(after[z], after[norm]));
  Doubles size(channels), range(channels), error(channels), largest(channels);
  for (size_t i = 0; i < after[z].size(); ++i) {
    const size_t c = i % channels;
    size[c] = std::max(size[c], std::fabs(after[z][i]));
    range[c] = std::max(range[c], std::fabs(after[z][i] - after[norm + 4][c]));
    error[c] += allowed[z][i] / rows;
    largest[c] = std::max(largest[c], allowed[z][i]);
  }
  const double sum = sum_tolerance(rows) + 12 * unit;
  for (size_t c = 0; c < channels; ++c) {
    const double invstd = after[norm + 5][c], variance = 1 / (invstd * invstd);
    const double mean_error = sum * size[c] + error[c];
    const double variance_error = sum * range[c] * range[c] + 2 * range[c] * error[c] + largest[c] * error[c];
    const double relative = std::min(1.0, variance_error / variance) + 4 * unit;  // of 1/σ
    allowed[norm + 4][c] = mean_error;
    allowed[norm + 5][c] = relative * invstd;
    allowed[norm + 6][c] = relative * std::fabs(after[norm + 6][c]);
    allowed[norm + 2][c] = mean_error + 3 * unit * (std::fabs(before[norm + 2][c]) + std::fabs(after[norm + 4][c]));
    allowed[norm + 3][c] = 2 * variance_error + 3 * unit * (std::fabs(before[norm + 3][c]) + 2 * variance);
  }
}

// What the passes below need to know of a convolution: T is the type of its activations and their gradients, X that of
// its input.
template <class T_>
struct Conv2dPass {
  using Shape = Conv2dShape;
  using T = T_;
  using X = float;
  using Row = Conv2dOf<T>;
  static int64_t x(const Shape& s) { return int64_t{s.batch} * s.height * s.width * s.in_channels; }
  static int64_t y(const Shape& s) { return int64_t{s.batch} * s.out_height() * s.out_width() * s.out_channels; }
  static int64_t w(const Shape& s) { return 9 * int64_t{s.in_channels} * s.out_channels; }
  static int in_channels(const Shape& s) { return s.in_channels; }
  static int out_channels(const Shape& s) { return s.out_channels; }
  static double terms(const Shape& s) { return 9.0 * s.in_channels; }
  static constexpr auto forward = reference::conv2d_forward;
  static constexpr auto backward_weight = reference::conv2d_backward_weight;
};
template <class T_>
struct DepthwisePass {
  using Shape = DepthwiseConvShape;
  using T = T_;
  using X = T;
  using Row = DepthwiseConvOf<T>;
  static int64_t x(const Shape& s) { return int64_t{s.batch} * s.height * s.width * s.channels; }
  static int64_t y(const Shape& s) { return int64_t{s.batch} * s.out_height() * s.out_width() * s.channels; }
  static int64_t w(const Shape& s) { return 9 * int64_t{s.channels}; }
  static int in_channels(const Shape& s) { return s.channels; }
  static int out_channels(const Shape& s) { return s.channels; }
  static double terms(const Shape&) { return 9; }
  static double data_terms(const Shape&) { return 9; }
  static constexpr auto forward = reference::depthwise_conv_forward;
  static constexpr auto backward_data = reference::depthwise_conv_backward_data;
  static constexpr auto backward_weight = reference::depthwise_conv_backward_weight;
};
template <class T_>
struct PointwisePass {
  using Shape = PointwiseConvShape;
  using T = T_;
  using X = T;
  using Row = PointwiseConvOf<T>;
  static int64_t x(const Shape& s) { return s.rows * s.in_channels; }
  static int64_t y(const Shape& s) { return s.rows * s.out_channels; }
  static int64_t w(const Shape& s) { return int64_t{s.in_channels} * s.out_channels; }
  static int in_channels(const Shape& s) { return s.in_channels; }
  static int out_channels(const Shape& s) { return s.out_channels; }
  static double terms(const Shape& s) { return s.in_channels; }
  static double data_terms(const Shape& s) { return s.out_channels; }
  static constexpr auto forward = reference::pointwise_conv_forward;
  static constexpr auto backward_data = reference::pointwise_conv_backward_data;
  static constexpr auto backward_weight = reference::pointwise_conv_backward_weight;
};

template <class Op>
double flops(const typename Op::Shape& s) {
  return 2 * static_cast<double>(Op::y(s)) * Op::terms(s);
}
template <class Op>
double twice_flops(const typename Op::Shape& s) {
  return 2 * flops<Op>(s);
}
template <class Op>
double weight_terms(const typename Op::Shape& s) {
  return static_cast<double>(Op::y(s)) / Op::out_channels(s);
}

Doubles absolute(Doubles numbers) {
  for (double& x : numbers) x = std::fabs(x);
  return numbers;
}

// x, and where there is a batch norm before it: norm_x.
template <class Op, bool normed>
struct Forward {
  using S = typename Op::Shape;
  using T = typename Op::T;
  static constexpr size_t norm_x = 1, w = normed ? 6 : 1, z = w + 1, norm_z = z + 1;
  static Arrays arrays(const S& s) {
    Arrays all = {activations<typename Op::X>("x", Op::x(s), Use::in, -2, 3)};
    if (normed) append_loaded(all, "norm_x", Op::in_channels(s), false);
    all.push_back({"w", Op::w(s)});
    all.push_back(activations<T>("z", Op::y(s), Use::out));
    append_stored(all, Op::out_channels(s));
    return all;
  }
  static Doubles input(const Numbers& n) { return normed ? activation(n, 0, norm_x) : n[0]; }
  static void reference(const S& s, Numbers& n) {
    Op::forward(s, input(n).data(), n[w].data(), n[z].data());
    n[z] = as_stored<T>(std::move(n[z]));
    statistics(n, z, norm_z);
  }
  static Numbers allowed(const S& s, const Numbers& before, const Numbers& after, Precision precision) {
    Numbers error = after;
    const Doubles size = normed ? activation_size(before, 0, norm_x) : absolute(before[0]);
    Op::forward(s, size.data(), absolute(before[w]).data(), error[z].data());
    const double terms = Op::terms(s) + 3;  // an activation has three roundings of its own
    scale_by(error[z], sum_tolerance(terms, tensor_core_rounding(precision, 2, terms)));
    if (!std::is_same_v<T, float>) {
      Doubles exact(after[z].size());
      Op::forward(s, input(before).data(), before[w].data(), exact.data());
      for (size_t i = 0; i < exact.size(); ++i) error[z][i] = stored_error<T>(exact[i], error[z][i]);
    }
    statistics_allowed(before, after, z, norm_z, error);
    return error;
  }
};

template <class Op>
struct Backward {
  using S = typename Op::Shape;
  using T = typename Op::T;
  static constexpr size_t norm_x = 1, w = 6, z = 7, norm_z = 8, du_z = 15, du_x = 16, dw = 17, gradients = 18;
  static Arrays arrays(const S& s) {
    Arrays all = {activations<T>("x", Op::x(s), Use::in, -2, 3)};
    append_loaded(all, "norm_x", Op::in_channels(s), false);
    all.push_back({"w", Op::w(s)});
    all.push_back(activations<T>("z", Op::y(s)));
    append_loaded(all, "norm_z", Op::out_channels(s), true);
    all.push_back(activations<T>("du_z", Op::y(s)));
    all.push_back(activations<T>("du_x", Op::x(s), Use::out));
    all.push_back({"dw", Op::w(s), Use::out});
    append_gradients(all, Op::in_channels(s));
    return all;
  }
  static Doubles input_gradient(const S& s, const Numbers& n) {
    Doubles da(n[0].size());
    Op::backward_data(s, gradient(n, z, norm_z, du_z).data(), n[w].data(), da.data());
    return da;
  }
  static void reference(const S& s, Numbers& n) {
    const Doubles dz = gradient(n, z, norm_z, du_z);
    Op::backward_weight(s, activation(n, 0, norm_x).data(), dz.data(), n[dw].data());
    mask<T>(n, 0, norm_x, input_gradient(s, n), du_x, gradients);
  }
  static Numbers allowed(const S& s, const Numbers& before, const Numbers& after, Precision precision) {
    Numbers error = after;
    const Doubles dz_size = gradient_size(before, z, norm_z, du_z);
    Doubles da_size(before[0].size());
    Op::backward_data(s, dz_size.data(), absolute(before[w]).data(), da_size.data());
    // dz and the activation have a few roundings of their own.
    mask_allowed<T>(before, 0, norm_x, input_gradient(s, before), da_size, Op::data_terms(s) + 4, precision, du_x,
                    gradients, error);
    Op::backward_weight(s, activation_size(before, 0, norm_x).data(), dz_size.data(), error[dw].data());
    weight_allowed<Op>(s, activation(before, 0, norm_x), gradient(before, z, norm_z, du_z), after[dw],
                       weight_terms<Op>(s) + 7, precision, error[dw]);
    return error;
  }
};

// x w bias y. `member`: forward_folded, or a pass that computes the same.
template <class Op, class Function, class Call>
Pass folded(const char* name, Function Op::Row::*member, Call call) {
  using S = typename Op::Shape;
  using T = typename Op::T;
  using X = typename Op::X;
  const auto arrays = [](const S& s) -> Arrays {
    return {activations<X>("x", Op::x(s), Use::in, 0, 6),
            {"w", Op::w(s)},
            {"bias", Op::out_channels(s), Use::in, -2, 4},
            activations<T>("y", Op::y(s), Use::out)};
  };
  const auto in_double = [](const S& s, Numbers& n) {
    Op::forward(s, n[0].data(), n[1].data(), n[3].data());
    for (size_t i = 0; i < n[3].size(); ++i) n[3][i] = std::clamp(n[3][i] + n[2][i % n[2].size()], 0.0, 6.0);
  };
  const auto allowed = [](const S& s, const Numbers& before, const Numbers& after, Precision precision) {
    Numbers error = after;
    Op::forward(s, absolute(before[0]).data(), absolute(before[1]).data(), error[3].data());
    const double terms = Op::terms(s) + 1;
    const double share = sum_tolerance(terms, tensor_core_rounding(precision, 2, terms));
    for (size_t i = 0; i < error[3].size(); ++i)
      error[3][i] = rounded_to<T>(share * (error[3][i] + std::fabs(before[2][i % before[2].size()])), after[3][i]);
    return error;
  };
  return pass<S>(member, {name, arrays, flops<Op>, in_double, allowed}, call);
}

template <class Op>
Pass folded() {
  using Row = typename Op::Row;
  using T = typename Op::T;
  using X = typename Op::X;
  return folded<Op>(named<T>("forward_folded", "forward_folded_bf16"), &Row::forward_folded,
                    [](const Row& row, Context& context, const typename Op::Shape& s, const std::vector<void*>& d) {
                      row.forward_folded(context, s, activations<X>(d, 0), floats(d, 1), floats(d, 2),
                                         activations<T>(d, 3));
                    });
}

// The weights are packed before it is timed.
template <class Op>
Pass packed() {
  using Row = typename Op::Row;
  using T = typename Op::T;
  Pass p = folded<Op>(named<T>("forward_packed", "forward_packed_bf16"), &Row::forward_packed,
                      [](const Row&, Context&, const typename Op::Shape&, const std::vector<void*>&) {});
  p.prepare = [](engine::Device& device, const char* name, const void* shape,
                 const std::vector<void*>& d) -> std::function<void()> {
    const Row& row = row_named<Row>(device.type(), name);
    const auto& s = *static_cast<const typename Op::Shape*>(shape);
    const auto weights = std::make_shared<engine::Buffer>(device, row.packed_bytes(s));
    row.pack(device.context(row.workspace(s)), s, floats(d, 1), weights->data());
    return [=, &row, &s, &device] {
      row.forward_packed(device.context(row.workspace(s)), s, activations<T>(d, 0), weights->data(), floats(d, 2),
                         activations<T>(d, 3));
    };
  };
  return p;
}

// Of a convolution between two batch norms.
template <class Op>
std::vector<Pass> between_norms() {
  using S = typename Op::Shape;
  using Row = typename Op::Row;
  using T = typename Op::T;
  using F = Forward<Op, true>;
  using B = Backward<Op>;
  return {
      pass<S>(&Row::forward_fused,
              {named<T>("forward_fused", "forward_fused_bf16"), F::arrays, flops<Op>, F::reference, F::allowed},
              [](const Row& row, Context& context, const S& s, const std::vector<void*>& d) {
                row.forward_fused(context, s, activations<T>(d, 0), loaded(d, F::norm_x, false), floats(d, F::w),
                                  activations<T>(d, F::z), stored(d, F::norm_z));
              }),
      pass<S>(&Row::backward_fused,
              {named<T>("backward_fused", "backward_fused_bf16"), B::arrays, twice_flops<Op>, B::reference, B::allowed},
              [](const Row& row, Context& context, const S& s, const std::vector<void*>& d) {
                row.backward_fused(context, s, activations<T>(d, 0),
                                   with_gradients(loaded(d, B::norm_x, false), d, B::gradients), floats(d, B::w),
                                   activations<T>(d, B::z), loaded(d, B::norm_z, true), activations<T>(d, B::du_z),
                                   activations<T>(d, B::du_x), floats(d, B::dw));
              }),
      folded<Op>()};
}

// x z norm_z du_z dw, of the first convolution.
template <class T>
struct BackwardWeight {
  using Op = Conv2dPass<T>;
  using S = Conv2dShape;
  static constexpr size_t z = 1, norm_z = 2, du_z = 9, dw = 10;
  static Arrays arrays(const S& s) {
    Arrays all = {{"x", Op::x(s), Use::in, -2, 3}, activations<T>("z", Op::y(s))};
    append_loaded(all, "norm_z", s.out_channels, true);
    all.push_back(activations<T>("du_z", Op::y(s)));
    all.push_back({"dw", Op::w(s), Use::out});
    return all;
  }
  static void reference(const S& s, Numbers& n) {
    Op::backward_weight(s, n[0].data(), gradient(n, z, norm_z, du_z).data(), n[dw].data());
  }
  static Numbers allowed(const S& s, const Numbers& before, const Numbers& after, Precision precision) {
    Numbers error = after;
    Op::backward_weight(s, absolute(before[0]).data(), gradient_size(before, z, norm_z, du_z).data(), error[dw].data());
    // dz has a few roundings of its own.
    weight_allowed<Op>(s, before[0], gradient(before, z, norm_z, du_z), after[dw], weight_terms<Op>(s) + 4, precision,
                       error[dw]);
    return error;
  }
};

// x norm_x y, and x norm_x dy du_x and the norm's gradients.
template <class T>
struct Pool {
  using S = GlobalAvgPoolShape;
  static constexpr size_t norm_x = 1, y = 6, dy = 6, du_x = 7, gradients = 8;
  static int64_t x_count(const S& s) { return int64_t{s.batch} * s.positions * s.channels; }
  static int64_t y_count(const S& s) { return int64_t{s.batch} * s.channels; }
  static Arrays loaded_arrays(const S& s) {
    Arrays all = {activations<T>("x", x_count(s), Use::in, -2, 3)};
    append_loaded(all, "norm_x", s.channels, false);
    return all;
  }
  static Arrays forward_arrays(const S& s) {
    Arrays all = loaded_arrays(s);
    all.push_back({"y", y_count(s), Use::out});
    return all;
  }
  static void forward(const S& s, Numbers& n) {
    kernels::reference::global_avg_pool_forward(s, activation(n, 0, norm_x).data(), n[y].data());
  }
  static Numbers forward_allowed(const S& s, const Numbers& before, const Numbers& after, Precision) {
    Numbers error = after;
    kernels::reference::global_avg_pool_forward(s, activation_size(before, 0, norm_x).data(), error[y].data());
    scale_by(error[y], sum_tolerance(s.positions + 3.0));
    return error;
  }
  static Arrays backward_arrays(const S& s) {
    Arrays all = loaded_arrays(s);
    all.push_back({"dy", y_count(s)});
    all.push_back(activations<T>("du_x", x_count(s), Use::out));
    append_gradients(all, s.channels);
    return all;
  }
  static Doubles input_gradient(const S& s, const Doubles& dy_values) {
    Doubles da(x_count(s));
    kernels::reference::global_avg_pool_backward(s, dy_values.data(), da.data());
    return da;
  }
  static void backward(const S& s, Numbers& n) { mask<T>(n, 0, norm_x, input_gradient(s, n[dy]), du_x, gradients); }
  static Numbers backward_allowed(const S& s, const Numbers& before, const Numbers& after, Precision precision) {
    Numbers error = after;
    const Doubles da = input_gradient(s, before[dy]);
    mask_allowed<T>(before, 0, norm_x, da, absolute(da), 1 + 4, precision, du_x, gradients, error);
    return error;
  }
};

template <class T>
std::vector<Pass> first_conv2d() {
  using S = Conv2dShape;
  using Op = Conv2dPass<T>;
  using Row = Conv2dOf<T>;
  using F = Forward<Op, false>;
  using B = BackwardWeight<T>;
  return {pass<S>(&Row::forward_fused,
                  {named<T>("forward_fused", "forward_fused_bf16"), F::arrays, flops<Op>, F::reference, F::allowed},
                  [](const Row& row, Context& context, const S& s, const std::vector<void*>& d) {
                    row.forward_fused(context, s, floats(d, 0), floats(d, F::w), activations<T>(d, F::z),
                                      stored(d, F::norm_z));
                  }),
          pass<S>(&Row::backward_weight_fused,
                  {named<T>("backward_weight_fused", "backward_weight_fused_bf16"), B::arrays, flops<Op>, B::reference,
                   B::allowed},
                  [](const Row& row, Context& context, const S& s, const std::vector<void*>& d) {
                    row.backward_weight_fused(context, s, floats(d, 0), activations<T>(d, B::z),
                                              loaded(d, B::norm_z, true), activations<T>(d, B::du_z), floats(d, B::dw));
                  }),
          folded<Op>()};
}

template <class T>
std::vector<Pass> last_pool() {
  using S = GlobalAvgPoolShape;
  using P = Pool<T>;
  using Row = GlobalAvgPoolOf<T>;
  const auto flops = [](const S& s) { return 4.0 * static_cast<double>(P::x_count(s)); };
  return {pass<S>(&Row::forward_fused,
                  {named<T>("forward_fused", "forward_fused_bf16"), P::forward_arrays, flops, P::forward,
                   P::forward_allowed},
                  [](const Row& row, Context& context, const S& s, const std::vector<void*>& d) {
                    row.forward_fused(context, s, activations<T>(d, 0), loaded(d, P::norm_x, false), floats(d, P::y));
                  }),
          pass<S>(&Row::backward_fused,
                  {named<T>("backward_fused", "backward_fused_bf16"), P::backward_arrays, flops, P::backward,
                   P::backward_allowed},
                  [](const Row& row, Context& context, const S& s, const std::vector<void*>& d) {
                    row.backward_fused(context, s, activations<T>(d, 0),
                                       with_gradients(loaded(d, P::norm_x, false), d, P::gradients), floats(d, P::dy),
                                       activations<T>(d, P::du_x));
                  })};
}

}  // namespace

std::vector<Pass> conv2d_fused_passes() { return joined(first_conv2d<float>(), first_conv2d<Bf16>()); }

std::vector<Pass> depthwise_conv_fused_passes() {
  return joined(between_norms<DepthwisePass<float>>(), between_norms<DepthwisePass<Bf16>>());
}

std::vector<Pass> pointwise_conv_fused_passes() {
  std::vector<Pass> passes = joined(between_norms<PointwisePass<float>>(), between_norms<PointwisePass<Bf16>>());
  passes.push_back(packed<PointwisePass<float>>());
  passes.push_back(packed<PointwisePass<Bf16>>());
  return passes;
}

std::vector<Pass> global_avg_pool_fused_passes() { return joined(last_pool<float>(), last_pool<Bf16>()); }

}  // namespace tools::bench
