// Named tensors: what a module or an optimiser consists of, and what files hold.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/tensor/tensor.h"

namespace engine {

// How a tensor lies in a file, where layouts are PyTorch's (engine/io converts).
enum class Layout {
  same,       // as in memory
  depthwise,  // memory (3, 3, C), file (C, 1, 3, 3)
  pointwise,  // memory (Cout, Cin), file (Cout, Cin, 1, 1)
  conv,       // memory (Cout, 3, 3, Cin), file (Cout, Cin, 3, 3)
};

struct NamedTensor {
  std::string name;  // "blocks.0.0.conv_dw.weight"
  Tensor tensor;     // shares the owner's memory
  Layout layout = Layout::same;
};
using State = std::vector<NamedTensor>;  // in the order in which modules were registered

// What must agree before a tensor is loaded.
struct Signature {
  std::string name, dtype;
  Shape shape;
};

// Throws InputError that names (up to five of each kind) the tensors that are missing, unexpected, or of another shape
// or type; `what` begins the message.
void check_same(const std::vector<Signature>& expected, const std::vector<Signature>& given, std::string_view what);

// Copies `from` into the tensors of `to`, by name; check_same first, so that nothing is changed where something is
// wrong.
void copy_state(const State& to, const State& from, std::string_view what);

}  // namespace engine
