// What `--kernels auto` needs of a table beside kernels::choose() (table.h): the rows among which it takes the fastest,
// and names for what was timed.
#pragma once

#include <type_traits>
#include <vector>

#include "kernels/common/bf16.h"
#include "kernels/common/table.h"

namespace kernels {

// The rows to time, in the table's order; choose()'s is one of them. On a GPU all that have `pass`, support `shape` and
// are not of a lower precision than the policy's, native and vendor. On the CPU the vendor's alone: an emulated one
// would take minutes to time. None where the policy prefers a provider, or names a row that can run the pass.
template <class Row, class Shape, class Pass>
std::vector<const Row*> candidates(DeviceType device, const Policy& policy, const Shape& shape, Pass Row::*pass) {
  if (policy.preference != Policy::Preference::automatic) return {};
  std::vector<const Row*> rows;
  const auto named = policy.named.find(Row::operation);
  for (const Row& row : implementations<Row>(device)) {
    if (row.*pass == nullptr || !row.supports(shape)) continue;
    if (named != policy.named.end() && named->second == row.name) return {};
    if (precision_of(row) <= policy.precision && (device == DeviceType::cuda || row.provider == Provider::vendor))
      rows.push_back(&row);
  }
  return rows;
}

// The type of the activations that a table is for: "fp32", or "bf16" for PointwiseConvOf<Bf16> and its like.
template <class Row>
inline constexpr const char* elements_of = "fp32";
template <template <class> class RowOf>
inline constexpr const char* elements_of<RowOf<Bf16>> = "bf16";

// A pass's name, as its operation's header has it. Throws Error for one that is missing in the list here.
template <class Row, class Pass>
const char* pass_name(Pass Row::*pass) {
#define KERNELS_PASS(name)                                                                \
  if constexpr (requires { requires std::is_same_v<decltype(&Row::name), Pass Row::*>; }) \
    if (pass == &Row::name) return #name;
  KERNELS_PASS(forward)
  KERNELS_PASS(backward_data)
  KERNELS_PASS(backward_weight)
  KERNELS_PASS(forward_fused)
  KERNELS_PASS(backward_fused)
  KERNELS_PASS(backward_weight_fused)
  KERNELS_PASS(forward_folded)
  KERNELS_PASS(pack)
  KERNELS_PASS(forward_packed)
  KERNELS_PASS(forward_training)
  KERNELS_PASS(forward_inference)
  KERNELS_PASS(backward)
  KERNELS_PASS(forward_backward)
  KERNELS_PASS(add)
  KERNELS_PASS(gradient_norm)
  KERNELS_PASS(adam)
  KERNELS_PASS(sgd)
#undef KERNELS_PASS
  throw Error(std::string(Row::operation) + ": pass_name has no name for this pass");
}

}  // namespace kernels
