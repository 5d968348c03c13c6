// The page of `bench kernels --html`: for each pass a roofline with a dot for each row and layer, and the ladder as
// bars.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "tools/bench.h"
#include "tools/page.h"

namespace tools::bench {
namespace {

using nlohmann::json;

constexpr double width = 440, height = 290, left = 52, right = 14, top = 12, bottom = 40;
constexpr int styles = 8;  // s0 … s7 in the page's style; rows beyond them have squares for dots

std::string text_of(const json& j) { return escaped(j.get<std::string>()); }

std::string shape_text(const json& result) {
  std::string text;
  for (const auto& [field, value] : result["shape"].items()) {
    std::string name = field;
    std::replace(name.begin(), name.end(), '_', ' ');
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, value.get<int64_t>());
  }
  return text;
}

// A logarithmic axis from and to powers of ten.
struct Axis {
  int low, high;         // exponents
  double start, length;  // in the drawing; negative: upwards
  double at(double value) const { return start + (std::log10(value) - low) / (high - low) * length; }
};

Axis axis(double least, double most, double start, double length) {
  const int low = static_cast<int>(std::floor(std::log10(least))), high = static_cast<int>(std::ceil(std::log10(most)));
  return {low, std::max(high, low + 1), start, length};
}

std::string power_text(int exponent) {
  const double value = std::pow(10, exponent);
  return exponent >= 6 || exponent < -3 ? fmt::format("1e{}", exponent) : fmt::format("{:g}", value);
}

// The place of a row in its ladder, which gives its colour.
size_t place_of(const std::vector<json>& rungs, const json& row) {
  return std::find_if(rungs.begin(), rungs.end(), [&](const json& r) { return r["row"] == row; }) - rungs.begin();
}

std::string roofline_chart(const std::string& title, const json& roofline, const std::vector<json>& rungs,
                           const std::vector<json>& results) {
  const auto copy = roofline["copy_bytes_per_second"].get<double>();
  const auto product = roofline["product_flops_per_second"].get<double>();
  const double ridge = product / copy;
  double least_x = ridge / 10, most_x = ridge * 10, least_y = product / 100;
  const auto intensity = [](const json& r) { return r["flops"].get<double>() / r["bytes"].get<double>(); };
  for (const json& r : results) {
    least_x = std::min(least_x, intensity(r)), most_x = std::max(most_x, intensity(r));
    least_y = std::min(least_y, 1e9 * r["gflop_per_second"].get<double>());
  }
  const Axis x = axis(least_x, most_x, left, width - left - right);
  const Axis y = axis(1e-9 * least_y, 1e-9 * product * 1.01, height - bottom, -(height - top - bottom));
  std::string drawing;
  for (int e = x.low; e <= x.high; ++e)
    drawing += fmt::format(
        "<path class=\"grid\" d=\"M{0:.1f} {1}V{2}\"/><text x=\"{0:.1f}\" y=\"{3}\" "
        "text-anchor=\"middle\">{4}</text>\n",
        x.at(std::pow(10, e)), top, height - bottom, height - bottom + 15, power_text(e));
  for (int e = y.low; e <= y.high; ++e)
    drawing += fmt::format(
        "<path class=\"grid\" d=\"M{0} {1:.1f}H{2}\"/><text x=\"{3}\" y=\"{4:.1f}\" text-anchor=\"end\">{5}</text>\n",
        left, y.at(std::pow(10, e)), width - right, left - 6, y.at(std::pow(10, e)) + 4, power_text(e));
  drawing += fmt::format(
      "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">operations for a byte</text><text x=\"{}\" y=\"{}\" "
      "text-anchor=\"middle\" transform=\"rotate(-90 10 {})\">GFLOP/s</text>\n",
      (left + width - right) / 2, height - 6, 10, (top + height - bottom) / 2, (top + height - bottom) / 2);
  // The roof: up to the ridge what the memory allows, then what the arithmetic does. It enters from the left or from
  // below.
  const double start = std::max(std::pow(10, x.low), std::pow(10, y.low) * 1e9 / copy);
  drawing += fmt::format("<path class=\"roof\" d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}H{}\"/>\n", x.at(start),
                         y.at(1e-9 * copy * start), x.at(ridge), y.at(1e-9 * product), width - right);
  for (const json& r : results) {
    const size_t k = place_of(rungs, r["row"]);
    const double cx = x.at(intensity(r)), cy = y.at(r["gflop_per_second"].get<double>());
    const std::string words = fmt::format(
        "<title>{}: {}\n{}, {:.1f} GB/s, {:.1f} GFLOP/s, {:.0f} % of the roofline</title>", text_of(r["row"]),
        shape_text(r), time_text(r["seconds"]["median"].get<double>()), r["gb_per_second"].get<double>(),
        r["gflop_per_second"].get<double>(), 100 * r["share_of_roofline"].get<double>());
    drawing +=
        k < styles
            ? fmt::format("<circle class=\"spot s{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\">{}</circle>\n", k, cx, cy,
                          words)
            : fmt::format("<rect class=\"spot s{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"7\" height=\"7\">{}</rect>\n",
                          k % styles, cx - 3.5, cy - 3.5, words);
  }
  return fmt::format(
      "<figure><figcaption><b>Roofline</b> a dot is a row on a layer</figcaption>\n<div class=\"plot\"><svg "
      "class=\"roofline\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}: GFLOP/s by operations for a byte, below "
      "the roofline\">\n{}</svg></div></figure>\n",
      width, height, escaped(title), drawing);
}

std::string ladder_bars(const std::vector<json>& rungs) {
  std::string bars;
  for (size_t k = 0; k < rungs.size(); ++k) {
    const json& r = rungs[k];
    const double share = 100 * r["share_of_roofline"].get<double>();
    std::string more = fmt::format("{:.3g} %", share);
    if (r.contains("times_naive") && r["row"] != "naive")
      more += fmt::format(", {:.1f}× naive", r["times_naive"].get<double>());
    if (r["layers"] != r["of_layers"])
      more += fmt::format(", {} of {} layers", r["layers"].get<int>(), r["of_layers"].get<int>());
    bars += fmt::format(
        "<div class=\"s{0}\"><span><svg class=\"sample\" viewBox=\"0 0 10 10\" aria-hidden=\"true\">{1}</svg>{2}"
        "</span><span class=\"meter\"><i style=\"width:max({3:.2f}%,1px)\"></i></span>"
        "<span>{4}<small>{5}</small></span><p class=\"hint\">{6}</p></div>\n",
        k % styles,
        k < styles ? "<circle class=\"spot\" cx=\"5\" cy=\"5\" r=\"4\"/>"
                   : "<rect class=\"spot\" x=\"1.5\" y=\"1.5\" width=\"7\" height=\"7\"/>",
        text_of(r["row"]), std::min(share, 100.0), time_text(r["seconds"].get<double>()), more, text_of(r["idea"]));
  }
  return fmt::format(
      "<figure><figcaption><b>Ladder</b> time of all layers, and share of the roofline</figcaption>\n<div "
      "class=\"ladder\">\n{}</div></figure>\n",
      bars);
}

std::string results_table(const std::vector<json>& results) {
  std::string rows;
  for (const json& r : results)
    rows += fmt::format(
        "<tr><th>{}</th><td>{}</td><td>{}</td><td>{} … {}</td><td>{:.1f}</td><td>{:.1f}</td><td>{:.0f} %</td></tr>\n",
        text_of(r["row"]), shape_text(r), time_text(r["seconds"]["median"].get<double>()),
        time_text(r["seconds"]["low"].get<double>()), time_text(r["seconds"]["high"].get<double>()),
        r["gb_per_second"].get<double>(), r["gflop_per_second"].get<double>(),
        100 * r["share_of_roofline"].get<double>());
  return fmt::format(
      "<details><summary>All layers</summary><div class=\"scroll\" tabindex=\"0\"><table><thead><tr><th>row</th>"
      "<th>shape</th><th>median</th><th>quartiles</th><th>GB/s</th><th>GFLOP/s</th><th>of the roofline</th></tr>"
      "</thead><tbody>\n{}</tbody></table></div></details>\n",
      rows);
}

std::string fact(const std::string& value, const std::string& what) {
  return fmt::format("<div><b>{}</b><span>{}</span></div>\n", escaped(value), escaped(what));
}

std::string head(const json& j) {
  const json& roofline = j["roofline"];
  const auto copy = roofline["copy_bytes_per_second"].get<double>();
  const auto product = roofline["product_flops_per_second"].get<double>();
  const auto wrong = j["wrong"].get<int64_t>();
  const std::string clock = j["clock"] == "processor" ? "processor time" : "device time";
  return fmt::format(
             "<h1>Kernels on {}</h1>\n<p class=\"sub\">{}{}. mobilenet {}, {}. Shapes: {}. Median of {}, cold cache; "
             "every "
             "row was compared with the reference in double precision first.</p>\n<div class=\"facts\">\n",
             text_of(j["device"]["name"]), text_of(j["date"]),
             j["device"].contains("threads") ? fmt::format(", {} threads", j["device"]["threads"].get<int>()) : "",
             text_of(j["version"]), text_of(j["compiler"]), text_of(j["shapes"]), clock) +
         fact(fmt::format("{:.1f} GB/s", 1e-9 * copy), "copy of large arrays, read and written") +
         fact(fmt::format("{:.0f} GFLOP/s", 1e-9 * product),
              "fastest matrix product, by " + roofline["product_by"].get<std::string>()) +
         fact(fmt::format("{:.1f}", product / copy), "operations for a byte where the two meet") +
         fact(wrong == 0 ? "all right" : fmt::format("{} wrong", wrong),
              fmt::format("of {} rows on layers, against the reference", j["results"].size())) +
         "</div>\n";
}

}  // namespace

std::string kernels_page(const json& j) {
  std::string body = head(j);
  std::vector<std::pair<json, json>> passes;  // operation and pass, in the results' order
  for (const json& r : j["results"])
    if (passes.empty() || passes.back().first != r["operation"] || passes.back().second != r["pass"])
      passes.emplace_back(r["operation"], r["pass"]);
  for (const auto& pass : passes) {
    const auto is_of = [&](const json& r) { return r["operation"] == pass.first && r["pass"] == pass.second; };
    const std::string title = pass.first.get<std::string>() + " " + pass.second.get<std::string>();
    body += fmt::format("<h2>{}</h2>\n", escaped(title));
    std::vector<json> rungs, results;
    for (const json& r : j["ladder"])
      if (is_of(r)) rungs.push_back(r);
    for (const json& r : j["results"]) {
      if (!is_of(r)) continue;
      if (r.contains("seconds")) results.push_back(r);
      if (r.contains("wrong"))
        body +=
            fmt::format("<p><b>{} is wrong</b> on {}: {}</p>\n", text_of(r["row"]), shape_text(r), text_of(r["wrong"]));
    }
    if (results.empty()) continue;
    body += "<div class=\"charts top\">\n" + roofline_chart(title, j["roofline"], rungs, results) + ladder_bars(rungs) +
            "</div>\n" + results_table(results);
  }
  return page("Kernels on " + j["device"]["name"].get<std::string>(), body);
}

}  // namespace tools::bench
