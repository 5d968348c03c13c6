#include "tools/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "tools/command.h"
#include "tools/page.h"

namespace tools {
namespace {

constexpr double width = 440, height = 250, left = 52, right = 12, top = 12, bottom = 36;
constexpr int styles = 8;             // s0 … s7 in the page's style
constexpr size_t most_points = 1000;  // of a curve: more than there are pixels
constexpr size_t most_dots = 30;      // up to which each point has a dot

// Enough digits to tell neighbours that are `step` apart.
std::string tick_text(double value, double step) {
  if (std::abs(value) < step / 2) return "0";
  if (step < 1e-5 || std::abs(value) >= 1e7) return fmt::format("{:.3g}", value);
  const int digits = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
  return fmt::format("{:.{}f}", value, digits);
}

std::string value_text(double value, const std::string& unit) {
  if (unit == " %") return fmt::format("{:.2f}{}", value, unit);
  return fmt::format("{:.4g}{}", value, unit);
}

// A long curve has only every k-th of its points, and its last.
Curve thinned(const Curve& curve) {
  const size_t points = std::min(curve.epochs.size(), curve.values.size()),
               k = (points + most_points - 1) / most_points;
  Curve thin{curve.name, {}, {}};
  for (size_t i = 0; i < points; ++i) {
    if (k > 1 && i % k != 0 && i + 1 != points) continue;
    thin.epochs.push_back(curve.epochs[i]);
    thin.values.push_back(curve.values[i]);
  }
  return thin;
}

}  // namespace

std::vector<double> ticks(double low, double high) {
  const double rough = std::max(high - low, 1e-12) / 5, power = std::pow(10, std::floor(std::log10(rough)));
  // 0.999…: a span of exactly five steps has five steps, whatever the rounding of the logarithm.
  const double step = power * (rough / power * 0.999999 > 5   ? 10
                               : rough / power * 0.999999 > 2 ? 5
                               : rough / power * 0.999999 > 1 ? 2
                                                              : 1);
  std::vector<double> all;
  const double first = std::floor(low / step + 1e-6), last = std::ceil(high / step - 1e-6);
  for (double i = first; i <= last && all.size() < 20; ++i) all.push_back(i * step);
  return all;
}

std::string line_chart(const Chart& chart) {
  std::vector<Curve> curves;
  for (const Curve& curve : chart.curves) curves.push_back(thinned(curve));
  double low = INFINITY, high = -INFINITY, last_epoch = 2;
  std::set<double> epochs;
  for (const Curve& curve : curves) {
    for (size_t i = 0; i < curve.epochs.size(); ++i) {
      last_epoch = std::max(last_epoch, curve.epochs[i]);
      if (!std::isfinite(curve.values[i])) continue;
      epochs.insert(curve.epochs[i]);
      low = std::min(low, curve.values[i]), high = std::max(high, curve.values[i]);
    }
  }
  if (low > high) low = 0, high = 1;
  if (chart.from_zero) low = std::min(low, 0.0);
  if (high - low <= std::abs(high) * 1e-6)
    low -= std::max(std::abs(low), 1e-6) / 10, high += std::max(std::abs(high), 1e-6) / 10;
  const std::vector<double> y_ticks = ticks(low, high);
  const double step = y_ticks.size() > 1 ? y_ticks[1] - y_ticks[0] : 1;
  low = y_ticks.front(), high = y_ticks.back();
  const auto x_of = [&](double epoch) { return left + (epoch - 1) / (last_epoch - 1) * (width - left - right); };
  const auto y_of = [&](double y) { return top + (high - y) / (high - low) * (height - top - bottom); };
  const auto rounded = [](double v) { return std::round(v * 10) / 10; };

  std::string caption = fmt::format("<figcaption><b>{}</b>", escaped(chart.title)), axes, lines, dots;
  for (const double y : y_ticks)
    axes += fmt::format(
        "<path class=\"grid\" d=\"M{0} {1:.1f}H{2}\"/><text x=\"{3}\" y=\"{4:.1f}\" text-anchor=\"end\">{5}</text>\n",
        left, y_of(y), width - right, left - 6, y_of(y) + 4, tick_text(y, step));
  for (const double epoch : ticks(1, last_epoch))
    if (epoch >= 1 && epoch <= last_epoch && epoch == std::floor(epoch))
      axes += fmt::format(
          "<path class=\"axis\" d=\"M{0:.1f} {1}v4\"/><text x=\"{0:.1f}\" y=\"{2}\" "
          "text-anchor=\"middle\">{3}</text>\n",
          x_of(epoch), height - bottom, height - bottom + 17, epoch);
  axes += fmt::format(
      "<path class=\"axis\" d=\"M{0} {1}V{2}H{3}\"/><text x=\"{4}\" y=\"{5}\" text-anchor=\"middle\">epoch</text>\n",
      left, top, height - bottom, width - right, (left + width - right) / 2, height - 3);
  if (chart.best_epoch >= 1 && chart.best_epoch <= last_epoch)
    axes += fmt::format("<path class=\"best\" d=\"M{:.1f} {}V{}\"/>\n", x_of(chart.best_epoch), top, height - bottom);

  nlohmann::json data = {
      {"x", nlohmann::json::array()}, {"epochs", nlohmann::json::array()}, {"curves", nlohmann::json::array()}};
  for (const double epoch : epochs) {
    data["x"].push_back(rounded(x_of(epoch)));
    data["epochs"].push_back(epoch);
  }
  for (size_t k = 0; k < curves.size(); ++k) {
    const Curve& curve = curves[k];
    const size_t style = k % styles;
    std::string path, points;
    nlohmann::json ys = nlohmann::json::array(), texts = nlohmann::json::array();
    bool pen_down = false;
    auto epoch = epochs.begin();
    const auto skip_to = [&](double to) {
      for (; epoch != epochs.end() && *epoch < to; ++epoch) ys.push_back(nullptr), texts.push_back("");
    };
    for (size_t i = 0; i < curve.epochs.size(); ++i) {
      if (!std::isfinite(curve.values[i])) {
        pen_down = false;
        continue;
      }
      skip_to(curve.epochs[i]);
      const double x = rounded(x_of(curve.epochs[i])), y = rounded(y_of(curve.values[i]));
      // A point between two gaps shows by the round ends of a line of length 0.
      path += pen_down ? fmt::format("L{} {}", x, y) : fmt::format("M{} {}h0", x, y);
      if (curve.epochs.size() <= most_dots) points += fmt::format("<circle cx=\"{}\" cy=\"{}\" r=\"2.8\"/>", x, y);
      pen_down = true;
      ys.push_back(y), texts.push_back(value_text(curve.values[i], chart.unit));
      ++epoch;
    }
    skip_to(INFINITY);
    data["curves"].push_back({{"name", curve.name}, {"y", std::move(ys)}, {"text", std::move(texts)}});
    lines += fmt::format("<g class=\"s{}\"><path class=\"curve\" d=\"{}\"/><g class=\"points\">{}</g></g>\n", style,
                         path, points);
    dots += fmt::format("<circle class=\"dot s{}\" r=\"4.5\"/>", style);
    if (curves.size() > 1)
      caption += fmt::format(
          "<span class=\"key s{0}\"><svg class=\"sample\" viewBox=\"0 0 30 10\" aria-hidden=\"true\"><path "
          "class=\"curve\" d=\"M2 5H28\"/></svg>{1}</span>",
          style, escaped(curve.name));
  }
  return fmt::format(
      "<figure>{0}</figcaption>\n<div class=\"plot\" data-chart=\"{1}\"><svg class=\"curves\" viewBox=\"0 0 {2} {3}\" "
      "tabindex=\"0\" role=\"img\" aria-label=\"{4} by epoch; arrow keys show the values\">\n{5}{6}"
      "<line class=\"cursor\" y1=\"{7}\" y2=\"{8}\"/>{9}</svg>"
      "<div class=\"tip\" role=\"status\"></div></div></figure>\n",
      caption, escaped(to_text(data)), width, height, escaped(chart.title), axes, lines, top, height - bottom, dots);
}

}  // namespace tools
