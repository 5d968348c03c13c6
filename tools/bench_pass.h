// From an entry of the bench's table, in the types of its operation, to a Pass (tools/bench_operations.h).
#pragma once

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string_view>
#include <type_traits>

#include "kernels/common/bf16.h"
#include "kernels/common/tolerance.h"
#include "tools/bench_operations.h"

namespace tools::bench {

inline constexpr double unit = 0x1p-24;  // of fp32's rounding: half the distance of two floats, relative

// A pass of activations of T, float or Bf16, which has a table of its own.
template <class T>
constexpr Element element_of = std::is_same_v<T, kernels::Bf16> ? Element::bf16 : Element::real;
template <class T>
constexpr const char* named(const char* of_float, const char* of_bf16) {
  return std::is_same_v<T, kernels::Bf16> ? of_bf16 : of_float;
}
template <class T>
Array activations(const char* name, int64_t count, Use use = Use::in, double low = -1, double high = 1) {
  return {name, count, use, low, high, element_of<T>};
}
template <class T>
T* activations(const std::vector<void*>& data, size_t i) {
  return static_cast<T*>(data[i]);
}
// What is stored as T is rounded once more: by half a last place, of 8 bits, of itself and of what it was off by.
template <class T>
double rounded_to(double allowed, double value) {
  return allowed + (std::is_same_v<T, kernels::Bf16> ? 0x1p-8 * (std::fabs(value) + allowed) : 0);
}

inline std::vector<Pass> joined(std::vector<Pass> passes, const std::vector<Pass>& more) {
  passes.insert(passes.end(), more.begin(), more.end());
  return passes;
}

// An entry's parts, with the shape's type.
template <class Shape>
struct Entry {
  const char* name;
  Arrays (*arrays)(const Shape&);
  double (*flops)(const Shape&);
  void (*reference)(const Shape&, Numbers&);
  std::function<Numbers(const Shape&, const Numbers& before, const Numbers& after, kernels::Precision)> allowed;
};

template <class Row>
const Row& row_named(kernels::DeviceType device, std::string_view name) {
  for (const Row& row : kernels::implementations<Row>(device))
    if (name == row.name) return row;
  throw std::logic_error("bench: no such row");
}

// `call(row, context, shape, data)` runs the pass.
template <class Shape, class Row, class Function, class Call>
Pass pass(Function Row::*member, Entry<Shape> entry, Call call) {
  const auto typed = [](const void* shape) -> const Shape& { return *static_cast<const Shape*>(shape); };
  Pass p;
  p.name = entry.name;
  p.offset = engine::pass_offset(member);
  p.type = &typeid(Row);
  p.arrays = [=](const void* s) { return entry.arrays(typed(s)); };
  p.flops = [=](const void* s) { return entry.flops(typed(s)); };
  p.describe = [=](const void* s) { return engine::describe(typed(s)); };
  p.reference = [=](const void* s, Numbers& numbers) { entry.reference(typed(s), numbers); };
  p.allowed = [=](const void* s, const Numbers& before, const Numbers& after, kernels::Precision precision) {
    return entry.allowed(typed(s), before, after, precision);
  };
  p.rows = [=](kernels::DeviceType device, const void* s) {
    std::vector<RowInfo> infos;
    for (const Row& row : kernels::implementations<Row>(device))
      if (row.*member != nullptr && row.supports(typed(s)))
        infos.push_back({row.name, row.idea, row.provider, kernels::precision_of(row)});
    return infos;
  };
  p.prepare = [=](engine::Device& device, const char* name, const void* s,
                  const std::vector<void*>& data) -> std::function<void()> {
    const Row& row = row_named<Row>(device.type(), name);
    const Shape& shape = typed(s);
    return [=, &row, &shape, &device] { call(row, device.context(row.workspace(shape)), shape, data); };
  };
  return p;
}

// Of a pass whose results are sums of products of two numbers that it reads: the reference on absolute values gives
// the magnitudes. `arrays`: where not all are float. Those that are not are of the row's precision already.
template <class Shape>
auto sums(void (*reference)(const Shape&, Numbers&), double (*terms)(const Shape&),
          Arrays (*arrays)(const Shape&) = nullptr) {
  return [=](const Shape& s, const Numbers& before, const Numbers& after, kernels::Precision precision) {
    const Arrays all = arrays != nullptr ? arrays(s) : Arrays(before.size());
    int rounded = 2;
    for (const Array& a : all) rounded -= a.use == Use::in && a.element == Element::bf16;
    const double n = terms(s);
    const double share = kernels::sum_tolerance(n, kernels::tensor_core_rounding(precision, rounded, n));
    Numbers magnitude = before;
    for (auto& array : magnitude)
      for (double& x : array) x = std::fabs(x);
    reference(s, magnitude);
    for (size_t i = 0; i < all.size(); ++i)
      for (size_t k = 0; k < magnitude[i].size(); ++k) {
        magnitude[i][k] *= share;
        if (all[i].element == Element::bf16) magnitude[i][k] = rounded_to<kernels::Bf16>(magnitude[i][k], after[i][k]);
      }
    return magnitude;
  };
}

// Of a pass that rounds nothing.
template <class Shape>
Numbers exact(const Shape&, const Numbers&, const Numbers& after, kernels::Precision) {
  Numbers zero = after;
  for (auto& array : zero) std::fill(array.begin(), array.end(), 0.0);
  return zero;
}

inline float* floats(const std::vector<void*>& data, size_t i) { return static_cast<float*>(data[i]); }

// f(context, shape, a, b, result), the signature of most passes; a and b are pointers to const.
template <class Row, class Shape, class A, class B, class C>
auto three_arrays(void (*Row::*member)(kernels::Context&, const Shape&, A*, B*, C*)) {
  return [=](const Row& row, kernels::Context& context, const Shape& s, const std::vector<void*>& d) {
    (row.*member)(context, s, static_cast<A*>(d[0]), static_cast<B*>(d[1]), static_cast<C*>(d[2]));
  };
}

// A pass of three arrays, of a reference with the same three. terms: the products that an element of the result is a
// sum of.
template <auto reference, class Shape, class Row, class Function>
Pass product(const char* name, Function Row::*member, Arrays (*arrays)(const Shape&), double (*flops)(const Shape&),
             double (*terms)(const Shape&)) {
  const auto in_double = [](const Shape& s, Numbers& n) { reference(s, n[0].data(), n[1].data(), n[2].data()); };
  return pass<Shape>(member, {name, arrays, flops, in_double, sums<Shape>(in_double, terms, arrays)},
                     three_arrays(member));
}

}  // namespace tools::bench
