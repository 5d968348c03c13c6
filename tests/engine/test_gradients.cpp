// Every differentiable function against finite differences. How to add one: a Case in `cases`: its name, the shapes of
// the inputs that have a gradient, the function on tensors, and the same in double precision (kernels/OP's reference,
// forward only, so that nothing that backward computes is taken from the code under test).
#include <functional>

#include "engine/autograd/functions.h"
#include "kernels/add/add.h"
#include "kernels/batchnorm/batchnorm.h"
#include "kernels/conv2d/conv2d.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/depthwise_conv/depthwise_conv.h"
#include "kernels/global_avg_pool/global_avg_pool.h"
#include "kernels/linear/linear.h"
#include "kernels/pointwise_conv/pointwise_conv.h"
#include "kernels/relu6/relu6.h"
#include "support.h"

using namespace engine;

namespace {

using Doubles = std::vector<double>;
using Inputs = std::vector<Doubles>;

struct Case {
  std::string name;
  std::vector<Shape> shapes;
  std::function<Tensor(const std::vector<Tensor>&)> function;
  std::function<Doubles(const Inputs&)> reference;  // the output for these inputs
};

Case depthwise(int n, int h, int w, int c, int stride) {
  const kernels::DepthwiseConvShape s = {n, h, w, c, stride};
  return {"depthwise_conv",
          {{n, h, w, c}, {3, 3, c}},
          [=](const auto& in) { return depthwise_conv(in[0], in[1], stride); },
          [=](const Inputs& in) {
            Doubles y(int64_t{n} * s.out_height() * s.out_width() * c);
            kernels::reference::depthwise_conv_forward(s, in[0].data(), in[1].data(), y.data());
            return y;
          }};
}

Case conv(int n, int h, int w, int ci, int co, int stride) {
  const kernels::Conv2dShape s = {n, h, w, ci, co, stride};
  return {"conv2d",
          {{n, h, w, ci}, {co, 3, 3, ci}},
          [=](const auto& in) { return conv2d(in[0], in[1], stride); },
          [=](const Inputs& in) {
            Doubles y(int64_t{n} * s.out_height() * s.out_width() * co);
            kernels::reference::conv2d_forward(s, in[0].data(), in[1].data(), y.data());
            return y;
          }};
}

Case pointwise(Shape x, int co) {
  const int ci = static_cast<int>(x.back());
  const kernels::PointwiseConvShape s = {count(x) / ci, ci, co};
  return {"pointwise_conv",
          {x, {co, ci}},
          [](const auto& in) { return pointwise_conv(in[0], in[1]); },
          [=](const Inputs& in) {
            Doubles y(s.rows * co);
            kernels::reference::pointwise_conv_forward(s, in[0].data(), in[1].data(), y.data());
            return y;
          }};
}

Case norm(Shape x) {
  const int c = static_cast<int>(x.back());
  const kernels::BatchNormShape s = {count(x) / c, c};
  return {"batchnorm",
          {x, {c}, {c}},
          [=](const auto& in) {
            const Tensor mean = Tensor::zeros({c}, in[0].device()), var = Tensor::zeros({c}, in[0].device());
            return batchnorm(in[0], in[1], in[2], mean, var, {.training = true, .eps = 1e-3f, .momentum = 0.1f});
          },
          [=](const Inputs& in) {
            Doubles y(in[0].size()), mean(c), var(c), saved_mean(c), saved_invstd(c);
            kernels::reference::batchnorm_forward_training(s, in[0].data(), in[1].data(), in[2].data(), 1e-3f, 0.1,
                                                           mean.data(), var.data(), saved_mean.data(),
                                                           saved_invstd.data(), y.data());
            return y;
          }};
}

Case clamp(Shape x) {
  return {"relu6",
          {x},
          [](const auto& in) { return relu6(in[0]); },
          [=](const Inputs& in) {
            Doubles y(in[0].size());
            kernels::reference::relu6_forward({count(x)}, in[0].data(), y.data());
            return y;
          }};
}

Case pool(int n, int h, int w, int c) {
  return {"global_avg_pool",
          {{n, h, w, c}},
          [](const auto& in) { return global_avg_pool(in[0]); },
          [=](const Inputs& in) {
            Doubles y(int64_t{n} * c);
            kernels::reference::global_avg_pool_forward({n, h * w, c}, in[0].data(), y.data());
            return y;
          }};
}

Case fully_connected(int m, int in_features, int out_features) {
  return {"linear",
          {{m, in_features}, {out_features, in_features}, {out_features}},
          [](const auto& in) { return linear(in[0], in[1], in[2]); },
          [=](const Inputs& in) {
            Doubles y(int64_t{m} * out_features);
            kernels::reference::linear_forward({m, in_features, out_features}, in[0].data(), in[1].data(), in[2].data(),
                                               y.data());
            return y;
          }};
}

Case sum(Shape x) {
  return {"add",
          {x, x},
          [](const auto& in) { return add(in[0], in[1]); },
          [=](const Inputs& in) {
            Doubles y(in[0].size());
            kernels::reference::add_forward({count(x)}, in[0].data(), in[1].data(), y.data());
            return y;
          }};
}

Case reshaped(Shape from, Shape to) {
  return {
      "reshape", {from}, [=](const auto& in) { return reshape(in[0], to); }, [](const Inputs& in) { return in[0]; }};
}

Case entropy(int n, int k, float smoothing) {
  std::vector<int32_t> labels(n);
  for (int i = 0; i < n; ++i) labels[i] = i * 7 % k;
  return {"cross_entropy",
          {{n, k}},
          [=](const auto& in) {
            return cross_entropy(in[0], Tensor::from_host(labels, {n}, in[0].device()), smoothing).loss;
          },
          [=](const Inputs& in) {
            Doubles losses(n), loss(1), dlogits(in[0].size());
            std::vector<int32_t> correct(n);
            kernels::reference::cross_entropy({n, k}, in[0].data(), labels.data(), smoothing, losses.data(),
                                              correct.data(), loss.data(), dlogits.data());
            return loss;
          }};
}

// Several functions in a row, with a tensor that has two uses: a block with a shortcut.
Case residual(int n, int h, int w, int c) {
  const kernels::DepthwiseConvShape s = {n, h, w, c, 1};
  return {"add(relu6(depthwise_conv(x)), x), pooled",
          {{n, h, w, c}, {3, 3, c}},
          [](const auto& in) { return global_avg_pool(add(relu6(depthwise_conv(in[0], in[1], 1)), in[0])); },
          [=](const Inputs& in) {
            Doubles y(in[0].size()), pooled(int64_t{n} * c);
            kernels::reference::depthwise_conv_forward(s, in[0].data(), in[1].data(), y.data());
            kernels::reference::relu6_forward({count({n, h, w, c})}, y.data(), y.data());
            for (size_t i = 0; i < y.size(); ++i) y[i] += in[0][i];
            kernels::reference::global_avg_pool_forward({n, h * w, c}, y.data(), pooled.data());
            return pooled;
          }};
}

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {depthwise(2, 5, 4, 3, 1),
                                        depthwise(1, 6, 6, 5, 2),
                                        depthwise(2, 1, 3, 8, 2),
                                        depthwise(1, 7, 5, 1, 2),
                                        conv(2, 4, 5, 3, 4, 1),
                                        conv(1, 6, 5, 3, 5, 2),
                                        conv(2, 1, 1, 2, 3, 1),
                                        pointwise({2, 3, 2, 5}, 4),
                                        pointwise({7, 3}, 1),
                                        norm({2, 3, 3, 4}),
                                        norm({2, 5}),
                                        clamp({3, 5, 7}),
                                        pool(2, 3, 5, 4),
                                        pool(3, 1, 1, 2),
                                        fully_connected(3, 5, 4),
                                        fully_connected(1, 1, 1),
                                        sum({3, 4}),
                                        reshaped({2, 6}, {3, 4}),
                                        entropy(4, 5, 0),
                                        entropy(4, 5, 0.1f),
                                        entropy(1, 2, 0),
                                        entropy(1, 2, 0.1f),
                                        residual(2, 3, 4, 3)};
  return all;
}

// Keeps away from ReLU6's corners, where there is no derivative; half of the values lie below 0 and beyond 6.
std::vector<float> draw(const Case& c, const Shape& shape, test::Random& random) {
  std::vector<float> values = random.floats(count(shape), -1, 1);
  if (c.name == "relu6")
    for (float& v : values) v = 3 + 8 * v + (std::fabs(std::fabs(8 * v) - 3) < 0.1f ? 1.0f : 0.0f);
  return values;
}

// By input; empty where there is none.
using Result = std::vector<std::vector<float>>;

// Runs forward and backward with those inputs for which wanted[i].
Result gradients(const Case& c, const std::vector<std::vector<float>>& values, const std::vector<float>& seed,
                 const std::vector<bool>& wanted) {
  std::vector<Tensor> in;
  for (size_t i = 0; i < values.size(); ++i) {
    in.push_back(Tensor::from_host(values[i], c.shapes[i], test::device()));
    in[i].set_requires_grad(wanted[i]);
  }
  const Tensor y = c.function(in);
  if (seed.empty()) {
    backward(y);
  } else {
    backward(y, Tensor::from_host(seed, y.shape(), test::device()));
  }
  Result result;
  for (const Tensor& x : in) result.push_back(x.grad().defined() ? x.grad().to_host<float>() : std::vector<float>());
  return result;
}

}  // namespace

TEST_CASE("every function's gradients agree with finite differences", "[gradients]") {
  if (!test::device_present()) return;
  Device& d = device(test::device());
  const auto before = d.policy;
  for (const char* rows : {"native", "auto"}) {
    d.policy = kernels::parse_policy(rows, d.type());
    test::Random random{1};
    for (const Case& c : cases()) {
      std::vector<std::vector<float>> values;
      Inputs doubles;
      for (const Shape& shape : c.shapes) {
        values.push_back(draw(c, shape, random));
        doubles.emplace_back(values.back().begin(), values.back().end());
      }
      INFO(c.name << " of " << to_string(c.shapes[0]) << ", rows " << rows);
      const size_t outputs = c.reference(doubles).size();
      // The loss is Σ seed·y; cross_entropy starts from its own.
      const std::vector<float> seed = c.name == "cross_entropy" ? std::vector<float>() : random.floats(outputs);
      const auto loss = [&](const Inputs& in) {
        const Doubles y = c.reference(in);
        double sum = 0;
        for (size_t i = 0; i < y.size(); ++i) sum += (seed.empty() ? 1 : seed[i]) * y[i];
        return sum;
      };

      const Result actual = gradients(c, values, seed, std::vector<bool>(values.size(), true));
      for (size_t i = 0; i < values.size(); ++i) {
        REQUIRE(actual[i].size() == values[i].size());
        Doubles expected(values[i].size());
        double largest = 0;
        for (size_t j = 0; j < expected.size(); ++j) {
          constexpr double h = 1e-4;  // central differences in double: wrong by about h² = 1e-8 of the third derivative
          Inputs moved = doubles;
          moved[i][j] = doubles[i][j] + h;
          const double above = loss(moved);
          moved[i][j] = doubles[i][j] - h;
          expected[j] = (above - loss(moved)) / (2 * h);
          largest = std::max(largest, std::fabs(expected[j]));
        }
        // fp32 sums of up to 60 terms round by at most 60 · 2⁻²⁴ ≈ 4e-6 of their largest partial sum, which may be a
        // few times the largest result; a wrong term would be wrong by a share of the order of 1/60.
        for (size_t j = 0; j < expected.size(); ++j) {
          INFO("input " << i << " element " << j << ": " << actual[i][j] << ", expected " << expected[j]);
          CHECK(std::fabs(actual[i][j] - expected[j]) <= 2e-5 * std::max(largest, 0.1));
        }
      }
    }
  }
  d.policy = before;
}

TEST_CASE("a gradient does not depend on which others are wanted, and no other is made", "[gradients]") {
  if (!test::device_present()) return;
  test::Random random{2};
  for (const Case& c : cases()) {
    std::vector<std::vector<float>> values;
    Inputs doubles;
    for (const Shape& shape : c.shapes) {
      values.push_back(draw(c, shape, random));
      doubles.emplace_back(values.back().begin(), values.back().end());
    }
    const size_t outputs = c.reference(doubles).size();
    const std::vector<float> seed = c.name == "cross_entropy" ? std::vector<float>() : random.floats(outputs);
    const Result all = gradients(c, values, seed, std::vector<bool>(values.size(), true));
    for (size_t only = 0; only < values.size(); ++only) {
      std::vector<bool> wanted(values.size());
      wanted[only] = true;
      INFO(c.name << " input " << only);
      const Result one = gradients(c, values, seed, wanted);
      for (size_t i = 0; i < values.size(); ++i) {
        if (i == only) {
          CHECK(one[i] == all[i]);
        } else {
          CHECK(one[i].empty());
        }
      }
    }
  }
}
