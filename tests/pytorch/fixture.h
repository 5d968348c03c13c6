// What PyTorch computed (tests/fixtures, made by make_fixtures.py there), and how results are compared with it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "engine/io/checkpoint.h"
#include "engine/support.h"

namespace test {

using engine::Layout, engine::NamedTensor, engine::Tensor;

// The largest error of a tensor over its largest magnitude must stay below this. PyTorch's own float32 is up to 1.1e-5
// from the double precision of the fixtures (the files' metadata have the figures), and sums in another order may be a
// few times farther.
constexpr double tolerance = 1e-4;

struct Fixture {
  engine::io::Safetensors file;
  explicit Fixture(const std::string& name)
      : file(engine::io::read_safetensors(std::string(MOBILENET_FIXTURES) + "/" + name)) {}

  const engine::io::Array& array(const std::string& name) const {
    const engine::io::Array* array = file.find(name);
    INFO(file.path << " has no " << name);
    REQUIRE(array != nullptr);
    return *array;
  }
  Tensor tensor(const std::string& name, Layout layout = Layout::same) const {
    return engine::io::from_array(array(name), layout, device()).tensor;
  }
  // A leaf that wants a gradient.
  Tensor leaf(const std::string& name, Layout layout = Layout::same) const {
    return tensor(name, layout).set_requires_grad(true);
  }

  // How far a tensor is from the fixture's array `name`, both in PyTorch's layout.
  double distance(const std::string& name, const Tensor& actual, Layout layout = Layout::same) const {
    const engine::io::Array ours = engine::io::to_array({name, actual, layout}), &theirs = array(name);
    INFO(name);
    REQUIRE(ours.dtype == "F32");
    REQUIRE(theirs.dtype == "F32");
    REQUIRE(ours.shape == theirs.shape);
    double error = 0, magnitude = 0;
    for (size_t i = 0; i < theirs.data.size(); i += sizeof(float)) {
      float a, b;
      std::memcpy(&a, &ours.data[i], sizeof a);
      std::memcpy(&b, &theirs.data[i], sizeof b);
      const double e = std::fabs(double{a} - b);
      error = std::max(error, e >= 0 ? e : INFINITY);  // NaN is far from everything
      magnitude = std::max(magnitude, std::fabs(double{b}));
    }
    return error / magnitude;
  }
  void check(const std::string& name, const Tensor& actual, Layout layout = Layout::same) const {
    INFO(name);
    CHECK(distance(name, actual, layout) <= tolerance);
  }
};

}  // namespace test
