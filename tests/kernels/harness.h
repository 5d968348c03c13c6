// How every kernel is tested: each row of an operation's table, over awkward and random shapes, against the reference
// in double precision, under several thread orders, which must all give the same bits.
//
// How to add an operation: one test_OP.cpp with a list of awkward shapes, a function that draws a random one, and a
// TEST_CASE a pass that calls for_each_case; see test_relu6.cpp, the shortest.
//
// The device under test is the CPU, or $MOBILENET_TEST_DEVICE=cuda: the same cases. A failure prints the line that
// repeats it.
#pragma once

#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "catch.h"
#include "engine/device/runtime.h"
#include "kernels/common/bf16.h"
#include "kernels/common/table.h"
#include "kernels/common/tolerance.h"

namespace test {

using kernels::DeviceType;

// splitmix64: small, and the same everywhere.
struct Random {
  uint64_t state;
  uint64_t bits() {
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  int between(int low, int high) { return low + static_cast<int>(bits() % (high - low + 1)); }  // both ends included
  float uniform(float low, float high) { return low + (high - low) * static_cast<float>(bits() >> 40) * 0x1p-24f; }
  template <class T>
  T one_of(std::initializer_list<T> values) {
    return *(values.begin() + between(0, static_cast<int>(values.size()) - 1));
  }
  std::vector<float> floats(int64_t n, float low = -1, float high = 1) {
    std::vector<float> v(n);
    for (float& x : v) x = uniform(low, high);
    return v;
  }
};

DeviceType device_under_test();
// False, with a warning that CTest reads as "skipped", where the device is not there.
bool device_present();
// 0 is the natural order of threads and blocks; does nothing on a GPU, which has an order of its own.
void set_thread_order(uint64_t seed);
// A context on the device under test with a poisoned workspace of at least this many bytes.
kernels::Context& context(size_t workspace_bytes);
void copy_to_host(void* to, const void* from, size_t bytes);  // from the device's memory

// An array in the device's memory, with 256 guard bytes at each end that its destructor checks.
class Bytes {
 public:
  explicit Bytes(size_t bytes);
  ~Bytes();
  Bytes(const Bytes&) = delete;
  void write(const void* from);
  void read(void* to) const;
  void* data() const;

 private:
  size_t bytes_;
  char* memory_;
  uint32_t array_;  // its number
};

// `offset`: the array starts so many elements behind a multiple of 256 bytes, as a view into a larger one may.
template <class T>
class Array {
 public:
  // Filled with NaN (0xFF bytes): an output that a kernel forgets to write cannot pass.
  explicit Array(int64_t count, int offset = 0) : Array(std::vector<T>(count), offset, true) {}
  Array(const std::vector<T>& values, int offset = 0) : Array(values, offset, false) {}
  T* data() const { return static_cast<T*>(bytes_.data()) + offset_; }
  operator T*() const { return data(); }
  std::vector<T> read() const {
    std::vector<T> values(offset_ + count_);
    bytes_.read(values.data());
    values.erase(values.begin(), values.begin() + offset_);
    return values;
  }

 private:
  Array(std::vector<T> values, int offset, bool poison)
      : count_(values.size()), offset_(offset), bytes_((offset + values.size()) * sizeof(T)) {
    if (poison) std::memset(static_cast<void*>(values.data()), 0xFF, values.size() * sizeof(T));
    values.insert(values.begin(), offset, T());
    bytes_.write(values.data());
  }
  size_t count_;
  int offset_;
  Bytes bytes_;
};

// What a case leaves in memory: must not depend on the thread order.
using Outputs = std::vector<std::vector<float>>;

std::vector<double> to_double(const std::vector<float>&);
std::vector<double> absolute(const std::vector<float>&);  // |x| in double: for the magnitude of a sum

// As elements of an array of T, float or Bf16, and back.
template <class T>
std::vector<T> typed(const std::vector<float>& values) {
  std::vector<T> result;
  for (const float x : values) result.push_back(kernels::from_float<T>(x));
  return result;
}
template <class T>
std::vector<float> to_floats(const std::vector<T>& values) {
  std::vector<float> result;
  for (const T x : values) result.push_back(kernels::to_float(x));
  return result;
}

// The case at hand; failures print it.
struct Case {
  const char* operation;
  const char* row;
  uint64_t seed;  // draws the shape and the data; small seeds index the list of awkward shapes
  std::string repeat() const;
};
extern Case current_case;

using kernels::Rounding, kernels::tensor_core_rounding;
// Fails unless each |actual - expected| ≤ sum_tolerance(terms, besides) · magnitude + besides.result · |expected|, with
// magnitude = Σ|term| (kernels/common/tolerance.h).
void check_sum(const std::vector<float>& actual, const std::vector<double>& expected,
               const std::vector<double>& magnitude, double terms, Rounding besides = {});
// Fails unless each |actual - expected| ≤ relative · |expected| + absolute.
void check_close(const std::vector<float>& actual, const std::vector<double>& expected, double relative,
                 double absolute);

// Which seeds and rows to run: $MOBILENET_TEST_SEED and $MOBILENET_TEST_ROW, as a failure prints them; else all.
bool selected(uint64_t seed, const char* row);
bool part_selected();

// Runs body(row, shape, random) for each awkward shape that the row supports and `drawn` random ones. body runs the
// kernel, checks it, and returns its raw outputs, which must not depend on the thread order. Returns the cases run.
template <class Row, class Shape, class Draw, class Body>
int for_each_shape(const Row& row, const std::vector<Shape>& awkward, int drawn, Draw draw, Body body) {
  int cases = 0;
  for (uint64_t seed = 0; seed < awkward.size() + drawn; ++seed) {
    if (!selected(seed, row.name)) continue;
    Random shape_random{seed * 2 + 1};
    const Shape shape = seed < awkward.size() ? awkward[seed] : draw(shape_random);
    if (!row.supports(shape)) continue;
    current_case = {Row::operation, row.name, seed};
    Outputs first;
    for (const uint64_t order : {0, 1, 2}) {
      set_thread_order(order);
      Random data_random{seed * 2 + 2};
      const Outputs outputs = body(row, shape, data_random);
      INFO(current_case.repeat() << "  (thread order " << order << ")");
      if (order == 0) first = outputs;
      REQUIRE(outputs.size() == first.size());
      size_t values = 0;
      for (size_t i = 0; i < outputs.size(); ++i) {
        REQUIRE(std::memcmp(outputs[i].data(), first[i].data(), first[i].size() * sizeof(float)) == 0);
        values += outputs[i].size();
      }
      // Twice: the same bits. A third time where it is quick.
      if (order == 1 && (device_under_test() == DeviceType::cuda || values > 100'000)) break;
    }
    ++cases;
  }
  set_thread_order(0);
  return cases;
}

// Rows of an operation that no table has, the tests' own.
template <class Row>
std::vector<Row> own_rows() {
  return {};
}

// The same for every row that has `pass`.
template <class Row, class Pass, class Shape, class Draw, class Body>
void for_each_case(Pass Row::*pass, const std::vector<Shape>& awkward, int drawn, Draw draw, Body body) {
  if (!device_present()) return;
  int rows = 0, cases = 0;
  const auto table = kernels::implementations<Row>(device_under_test());
  std::vector<Row> all(table.begin(), table.end());
  for (const Row& row : own_rows<Row>()) all.push_back(row);
  for (const Row& row : all) {
    if (row.*pass == nullptr) continue;
    ++rows;
    cases += for_each_shape(row, awkward, drawn, draw, body);
  }
  // A row may lack a pass; on the CPU some row has it.
  CHECK((cases > 0 || part_selected() || (rows == 0 && device_under_test() == DeviceType::cuda)));
}

}  // namespace test
