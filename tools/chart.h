// Line charts as inline SVG, for a page (tools/page.h).
#pragma once

#include <string>
#include <vector>

namespace tools {

// A curve over epochs. A value that is not finite leaves a gap.
struct Curve {
  std::string name;
  std::vector<double> epochs;  // whole numbers that rise
  std::vector<double> values;  // as many
};

struct Chart {
  std::string title, unit;  // unit: " %" or nothing
  std::vector<Curve> curves;
  bool from_zero = false;  // whether the axis must start at 0
  double best_epoch = 0;   // marked; 0: none
};

// A <figure>: title, legend, axes, curves; the values show under the pointer and with the arrow keys. A curve has the
// colour and the dash of its place in the list, also where it is empty.
std::string line_chart(const Chart&);

// Around five round numbers that span [low, high]: whole multiples of 1, 2 or 5 times a power of ten.
std::vector<double> ticks(double low, double high);

}  // namespace tools
