// What the bench knows of every operation: its passes, what each reads and writes, how many operations it does, how to
// run it, and what is right. To add a pass: one entry in bench_operations.cpp.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <typeinfo>
#include <vector>

#include "engine/device/run.h"

namespace tools::bench {

// A shape as a shapes file has it: one number for each of its operation's fields, in their order.
using Values = std::vector<int64_t>;

// The shape struct of an operation (kernels::DepthwiseConvShape, …), its type forgotten.
using AnyShape = std::shared_ptr<const void>;

// An array that a pass reads or writes.
enum class Element { real, integer, bf16 };  // float, int32_t, kernels::Bf16
inline size_t size_of(Element element) { return element == Element::bf16 ? 2 : 4; }
enum class Use { in, out, updated };
struct Array {
  std::string name;
  int64_t count;
  Use use = Use::in;
  double low = -1, high = 1;  // what is read is drawn uniformly between these; of integers, both included
  Element element = Element::real;
};
using Arrays = std::vector<Array>;

// One number an element, array by array, in the order of Pass::arrays.
using Numbers = std::vector<std::vector<double>>;

struct RowInfo {
  const char *name, *idea;
  kernels::Provider provider;
  kernels::Precision precision;
};

// The functions take a shape of the pass's own operation.
struct Pass {
  const char* name;
  size_t offset;               // engine::pass_offset
  const std::type_info* type;  // of a row of its table
  std::function<Arrays(const void* shape)> arrays;
  std::function<double(const void* shape)> flops;  // a multiply-add is two
  std::function<std::string(const void* shape)> describe;
  // The reference in double: fills what the pass writes, and changes what it updates.
  std::function<void(const void* shape, Numbers&)> reference;
  // How far each element that the pass writes or updates may be from the reference: `before` as reference() got it,
  // `after` as it left it, and the row computes in this precision.
  std::function<Numbers(const void* shape, const Numbers& before, const Numbers& after, kernels::Precision)> allowed;
  // The rows that have this pass and support the shape, in the table's order.
  std::function<std::vector<RowInfo>(engine::DeviceType, const void* shape)> rows;
  // What puts the pass on the device's stream each time it is called. `data` are the arrays in device memory; they and
  // the shape must stay.
  std::function<std::function<void()>(engine::Device&, const char* row, const void* shape,
                                      const std::vector<void*>& data)>
      prepare;
};

struct Operation {
  const char* name;
  std::vector<const char*> fields;  // of its shapes; the first is "batch" where the cost grows with a batch
  std::function<AnyShape(const Values&)> make;
  std::vector<Pass> passes;
};

// All operations, in the order in which a network meets them.
const std::vector<Operation>& operations();
const Operation* find_operation(const std::string& name);  // nullptr where there is none
// What engine::run() tells a RunObserver of.
const Pass* find_pass(const engine::PassCall&);  // nullptr where there is none

// Bytes that the pass must move: each array that it reads and each that it writes once.
double bytes_of(const Arrays&);

}  // namespace tools::bench
