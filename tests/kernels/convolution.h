// What the tests of the convolutions (depthwise_conv, conv2d) share: a check a pass, and the references' own check.
#pragma once

#include <type_traits>

#include "kernels/harness.h"

namespace test {

// An operation's references and the sizes of its arrays.
template <class Shape>
struct Convolution {
  void (*forward)(const Shape&, const double* x, const double* w, double* y);
  void (*backward_data)(const Shape&, const double* dy, const double* w, double* dx);
  void (*backward_weight)(const Shape&, const double* x, const double* dy, double* dw);
  int64_t (*inputs)(const Shape&);   // elements of x
  int64_t (*outputs)(const Shape&);  // of y
  int64_t (*weights)(const Shape&);  // of w
};

// A result of T is rounded once to it: by half a last place, 8 bits of mantissa for Bf16, of the result and of what its
// sum was off by.
template <class T>
constexpr double result_rounding = std::is_same_v<T, float> ? 0 : 0x1.02p-8;

// Runs one pass of a row on random arrays a of A and b of B and compares its result, of R, with the reference. offset:
// of all arrays, in elements.
template <class A, class B, class R, class Row, class Pass, class Shape, class Reference>
Outputs check_pass(Pass Row::*pass, const Row& row, const Shape& s, Reference reference, Random& random,
                   int64_t count_a, int64_t count_b, int64_t count_result, double terms, int offset) {
  const auto a = to_floats(typed<A>(random.floats(count_a))), b = to_floats(typed<B>(random.floats(count_b)));
  const Array<A> device_a(typed<A>(a), offset);
  const Array<B> device_b(typed<B>(b), offset);
  const Array<R> device_result(count_result, offset);
  (row.*pass)(context(row.workspace(s)), s, device_a, device_b, device_result);
  const std::vector<float> result = to_floats(device_result.read());
  std::vector<double> expected(count_result), magnitude(count_result);
  reference(s, to_double(a).data(), to_double(b).data(), expected.data());
  reference(s, absolute(a).data(), absolute(b).data(), magnitude.data());
  Rounding besides;
  besides.result = result_rounding<R>;
  check_sum(result, expected, magnitude, terms, besides);
  return {result};
}

// forward_terms, data_terms: the products that an element of y or dx is the sum of. T: of y and its gradient; X: of x
// and its gradient.
template <class Row, class T = float, class X = T, class Shape>
auto forward_check(const Convolution<Shape>& op, double (*forward_terms)(const Shape&), int offset = 0) {
  return [=](const Row& row, const Shape& s, Random& random) {
    return check_pass<X, float, T>(&Row::forward, row, s, op.forward, random, op.inputs(s), op.weights(s),
                                   op.outputs(s), forward_terms(s), offset);
  };
}
template <class Row, class T = float, class X = T, class Shape>
auto backward_data_check(const Convolution<Shape>& op, double (*data_terms)(const Shape&), int offset = 0) {
  return [=](const Row& row, const Shape& s, Random& random) {
    return check_pass<T, float, X>(&Row::backward_data, row, s, op.backward_data, random, op.outputs(s), op.weights(s),
                                   op.inputs(s), data_terms(s), offset);
  };
}
template <class Row, class T = float, class X = T, class Shape>
auto backward_weight_check(const Convolution<Shape>& op, int offset = 0) {
  return [=](const Row& row, const Shape& s, Random& random) {
    return check_pass<X, T, float>(&Row::backward_weight, row, s, op.backward_weight, random, op.inputs(s),
                                   op.outputs(s), op.weights(s), double(s.batch) * s.out_height() * s.out_width(),
                                   offset);
  };
}

// Finite differences of the references: with L = Σ g·y, L's derivative along a direction d of x is Σ d·dx, and along a
// direction e of w Σ e·dw. y is linear in x and in w, so a central difference with a step of 1 is exact but for
// double's rounding.
template <class Shape>
void check_gradients(const Convolution<Shape>& op, const Shape& s, Random& random) {
  const auto draw = [&](int64_t n) { return to_double(random.floats(n)); };
  const auto x = draw(op.inputs(s)), w = draw(op.weights(s)), g = draw(op.outputs(s));
  const auto d = draw(op.inputs(s)), e = draw(op.weights(s));
  const auto dot = [](const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
  };
  const auto loss = [&](double step_x, double step_w) {
    std::vector<double> moved_x = x, moved_w = w, y(g.size());
    for (size_t i = 0; i < x.size(); ++i) moved_x[i] += step_x * d[i];
    for (size_t i = 0; i < w.size(); ++i) moved_w[i] += step_w * e[i];
    op.forward(s, moved_x.data(), moved_w.data(), y.data());
    return dot(g, y);
  };
  std::vector<double> dx(x.size()), dw(w.size());
  op.backward_data(s, g.data(), w.data(), dx.data());
  op.backward_weight(s, x.data(), g.data(), dw.data());
  // A derivative is a sum of fewer than 9·|y|·|w| products, each at most 1 in size.
  const double rounding = 1e-15 * (10 + std::sqrt(9.0 * g.size() * w.size()));
  CHECK(std::fabs((loss(1, 0) - loss(-1, 0)) / 2 - dot(d, dx)) < rounding);
  CHECK(std::fabs((loss(0, 1) - loss(0, -1)) / 2 - dot(e, dw)) < rounding);
}

}  // namespace test
