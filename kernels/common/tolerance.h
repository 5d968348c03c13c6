// How far what a kernel sums may be from the exact sum: for the tests and the bench.
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/common/table.h"

namespace kernels {

// What a lower precision adds to it.
struct Rounding {
  double term = 0;    // each term may be off by so much of itself, one up, the next down
  double sum = 0;     // the sum may be off by so much of its magnitude
  double result = 0;  // the result may be off by so much of itself
};

// Of a sum of products that a tensor core computes. tf32 has 11 bits of mantissa, bf16 has 8: each of the rounded
// factors is off by at most half of its last place, 2⁻¹¹ or 2⁻⁸ of itself. And where a processor rounds, a tensor core
// may cut off: a last place of the sum, 2⁻²³, every 8 terms.
inline Rounding tensor_core_rounding(Precision precision, int rounded_factors, double terms) {
  const double factor = precision == Precision::tf32 ? 0x1p-11 : 0x1p-8;
  if (precision == Precision::fp32) return {};
  return {rounded_factors * factor, std::ceil(terms / 8) * 0x1p-23, 0};
}

// The allowed error of a sum as a share of its magnitude Σ|term|: each of `terms` fp32 additions rounds by at most 2⁻²⁴
// of the running sum, which the magnitude bounds, and the errors add up as a random walk does; 4 is its margin. (A lost
// term of average size changes the sum by magnitude/terms, which is larger for up to 160,000 terms.) The terms' own
// errors add up as a random walk too.
inline double sum_tolerance(double terms, const Rounding& besides = {}) {
  return 0x1p-24 * (4 * std::sqrt(terms) + 4) + besides.sum +
         besides.term * std::min(1.0, 4 / std::sqrt(std::max(terms, 1.0)));
}

}  // namespace kernels
