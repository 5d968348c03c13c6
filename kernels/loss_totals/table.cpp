#include "kernels/common/target.h"
#include "kernels/loss_totals/loss_totals.h"

namespace kernels {

namespace KERNEL_TARGET {
extern const LossTotals loss_totals_naive_row, loss_totals_staged_row;
}

template <>
std::span<const LossTotals> rows<LossTotals, KERNEL_TARGET::target>() {
  using namespace KERNEL_TARGET;
  static const LossTotals table[] = {loss_totals_naive_row, loss_totals_staged_row};
  return table;
}

}  // namespace kernels
