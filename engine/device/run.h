// Running one pass of an operation on a device: from the operation's table to the kernel.
#pragma once

#include <algorithm>
#include <typeinfo>

#include "engine/device/device.h"
#include "engine/device/tuner.h"
#include "engine/error.h"
#include "kernels/common/candidates.h"

namespace kernels {
struct AddShape;
struct AugmentShape;
struct BatchNormShape;
struct Conv2dShape;
struct CrossEntropyShape;
struct DepthwiseConvShape;
struct GlobalAvgPoolShape;
struct LinearShape;
struct LossTotalsShape;
struct OptimizerShape;
struct PointwiseConvShape;
struct Relu6Shape;
}  // namespace kernels

namespace engine {

// A kernel's shape in words, for messages: "batch 128, height 32, width 32, channels 64, stride 2".
std::string describe(const kernels::AddShape&);
std::string describe(const kernels::AugmentShape&);
std::string describe(const kernels::BatchNormShape&);
std::string describe(const kernels::Conv2dShape&);
std::string describe(const kernels::CrossEntropyShape&);
std::string describe(const kernels::DepthwiseConvShape&);
std::string describe(const kernels::GlobalAvgPoolShape&);
std::string describe(const kernels::LinearShape&);
std::string describe(const kernels::LossTotalsShape&);
std::string describe(const kernels::OptimizerShape&);
std::string describe(const kernels::PointwiseConvShape&);
std::string describe(const kernels::Relu6Shape&);

// One pass that run() puts on a device's stream.
struct PassCall {
  const char* operation;       // Row::operation
  const char* row;             // the chosen row's name
  const std::type_info* type;  // of the row: an operation may have a table for each type of its activations
  size_t pass;                 // pass_offset of the pass
  const void* shape;           // the operation's shape
};

// To measure: run() tells it of every pass, before and after it is put on the stream. Null but for a measurement.
struct RunObserver {
  virtual void before(Device&, const PassCall&) = 0;
  virtual void after(Device&, const PassCall&) = 0;

 protected:
  ~RunObserver() = default;
};
inline RunObserver* run_observer = nullptr;

// Which of its operation's passes it is: where the pass's function stands in a row of the table.
template <class Row, class Pass>
size_t pass_offset(Pass Row::*pass) {
  static constexpr Row row{};
  return reinterpret_cast<const char*>(&(row.*pass)) - reinterpret_cast<const char*>(&row);
}

// The row to run a pass by: kernels::choose()'s, or where the device has a Tuner and there are several to take, the
// fastest.
template <class Row, class Pass, class Shape, class... Arguments>
const Row& row_for(Device& device, Pass Row::*pass, const Shape& shape, Arguments&... arguments) {
  const Row& usual = kernels::choose(device.type(), device.policy, shape, pass);
  if (device.tuner == nullptr) return usual;
  const auto rows = kernels::candidates(device.type(), device.policy, shape, pass);
  if (rows.size() < 2) return usual;
  Tuner::Choice choice = {std::string(Row::operation) + "." + kernels::pass_name(pass) + " " +
                              kernels::elements_of<Row> +
                              (device.policy.precision == kernels::Precision::fp32   ? ", "
                               : device.policy.precision == kernels::Precision::tf32 ? " by tf32, "
                                                                                     : " by bf16, ") +
                              describe(shape),
                          {},
                          0};
  size_t workspace = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    choice.rows.push_back(rows[i]->name);
    if (rows[i] == &usual) choice.usual = i;
    workspace = std::max(workspace, rows[i]->workspace(shape));
  }
  if (const int known = device.tuner->known(choice); known >= 0) return *rows[known];
  Written written(device);
  if (!device.is_capturing()) (note_written(written, shape, arguments), ...);
  return *rows[device.tuner->find(device, choice, written, workspace, [&](kernels::Context& context, size_t i) {
    (rows[i]->*pass)(context, shape, arguments...);
  })];
}

// run(device, &kernels::Relu6::forward, shape, x, y): takes the row of row_for(), makes sure that the workspace is
// large enough, and puts the pass on the device's stream. Throws Error, with operation, row and shape, where no row
// supports the shape or the launch fails.
template <class Row, class Pass, class Shape, class... Arguments>
void run(Device& device, Pass Row::*pass, const Shape& shape, Arguments&&... arguments) {
  const char* name = "";
  try {
    const Row& row = row_for(device, pass, shape, arguments...);
    name = row.name;
    kernels::Context& context = device.context(row.workspace(shape));
    const PassCall call = {Row::operation, name, &typeid(Row), pass_offset(pass), &shape};
    if (run_observer != nullptr) run_observer->before(device, call);
    (row.*pass)(context, shape, std::forward<Arguments>(arguments)...);
    if (run_observer != nullptr) run_observer->after(device, call);
  } catch (const kernels::Error& error) {
    throw Error(std::string(Row::operation) + (*name ? "=" : "") + name + " on " + to_string(device.type()),
                std::string(error.what()) + " [" + describe(shape) + "]");
  }
}

}  // namespace engine
