#include "tools/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/io/file.h"
#include "tools/command.h"
#include "tools/progress.h"

namespace tools {
namespace {

constexpr const char* style = R"css(
:root { color-scheme: light dark; --back: #fff; --text: #1c1e21; --faint: #667; --line: #dde; --train: #c2571a; --test: #1f6fb2; }
@media (prefers-color-scheme: dark) {
  :root { --back: #16181c; --text: #e6e7ea; --faint: #9aa0aa; --line: #33373f; --train: #f0985f; --test: #6cb4ee; }
}
body { background: var(--back); color: var(--text); font: 15px/1.5 system-ui, sans-serif; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.sub, figcaption, th, text { color: var(--faint); fill: var(--faint); }
.facts { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; margin: 1.5rem 0; }
.facts b { display: block; font-size: 1.6rem; font-weight: 600; }
.charts { display: flex; flex-wrap: wrap; gap: 1.5rem; } figure { margin: 0; flex: 1 1 440px; }
svg { width: 100%; height: auto; } text { font-size: 12px; font-family: inherit; }
.grid { stroke: var(--line); } .axis { stroke: var(--faint); }
.train { stroke: var(--train); fill: var(--train); } .test { stroke: var(--test); fill: var(--test); }
polyline { fill: none !important; stroke-width: 2; } .key { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 1em; }
.key.train { background: var(--train); } .key.test { background: var(--test); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; }
th, td { text-align: right; padding: .15rem .9rem .15rem 0; border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; }
th { font-weight: 500; } .config { display: flex; flex-wrap: wrap; align-items: flex-start; gap: 1.5rem 3rem; } .config th, .config td, caption { text-align: left; }
caption { font-weight: 600; padding-bottom: .3rem; }
)css";

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&quot;";
    } else {
      out += c;
    }
  }
  return out;
}

// About five round numbers that span [low, high]: steps of 1, 2 or 5 times a power of ten.
std::vector<double> ticks(double low, double high) {
  const double rough = std::max(high - low, 1e-9) / 5, power = std::pow(10, std::floor(std::log10(rough)));
  const double step = power * (rough / power > 5 ? 10 : rough / power > 2 ? 5 : rough / power > 1 ? 2 : 1);
  std::vector<double> all;
  const auto first = static_cast<int64_t>(std::floor(low / step + 1e-6));
  const auto last = static_cast<int64_t>(std::ceil(high / step - 1e-6));
  for (int64_t i = first; i <= last; ++i) all.push_back(static_cast<double>(i) * step);
  return all;
}

struct Series {
  const char* name;  // its class in the style, too
  double EpochResult::*value;
};

// A chart of both series over the epochs; `scale` multiplies the values (100 for percent).
std::string chart(const std::string& title, const std::vector<EpochResult>& history, const Series (&series)[2],
                  double scale, const char* unit) {
  constexpr double width = 520, height = 300, left = 46, right = 14, top = 12, bottom = 34;
  double low = INFINITY, high = -INFINITY;
  for (const EpochResult& r : history)
    for (const Series& s : series)
      if (const double y = r.*s.value * scale; std::isfinite(y)) low = std::min(low, y), high = std::max(high, y);
  if (low > high) low = 0, high = 1;
  const std::vector<double> y_ticks = ticks(low, high);
  low = std::min(low, y_ticks.front()), high = std::max(high, y_ticks.back());
  const double last_epoch = std::max(history.empty() ? 1 : history.back().epoch, 2);
  const auto x_of = [&](double epoch) { return left + (epoch - 1) / (last_epoch - 1) * (width - left - right); };
  const auto y_of = [&](double y) { return top + (high - y) / std::max(high - low, 1e-12) * (height - top - bottom); };

  std::string svg = fmt::format("<figure><figcaption>{}", title);
  for (const Series& s : series) svg += fmt::format("<span class=\"key {0}\"></span>{0}", s.name);
  svg += fmt::format("</figcaption>\n<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{} by epoch\">\n", width,
                     height, title);
  for (const double y : y_ticks)
    svg += fmt::format(
        "<line class=\"grid\" x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\"/>"
        "<text x=\"{3}\" y=\"{4:.1f}\" text-anchor=\"end\">{5:.4g}</text>\n",
        left, width - right, y_of(y), left - 6, y_of(y) + 4, y);
  for (const double epoch : ticks(1, last_epoch)) {
    if (epoch < 1 || epoch > last_epoch || epoch != std::floor(epoch)) continue;
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", x_of(epoch),
                       height - bottom + 16, epoch);
  }
  svg += fmt::format(
      "<path class=\"axis\" fill=\"none\" d=\"M{0} {1}V{2}H{3}\"/>"
      "<text x=\"{4}\" y=\"{5}\" text-anchor=\"middle\">epoch</text>\n",
      left, top, height - bottom, width - right, (left + width - right) / 2, height - 4);
  for (const Series& s : series) {
    std::string points, dots;
    for (const EpochResult& r : history) {
      const double y = r.*s.value * scale;
      if (!std::isfinite(y)) continue;
      points += fmt::format("{:.1f},{:.1f} ", x_of(r.epoch), y_of(y));
      dots += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\"><title>epoch {}, {}: {:.4g}{}</title></circle>",
                          x_of(r.epoch), y_of(y), r.epoch, s.name, y, unit);
    }
    svg += fmt::format("<g class=\"{}\"><polyline points=\"{}\"/>{}</g>\n", s.name, points, dots);
  }
  return svg + "</svg></figure>\n";
}

std::string epochs_table(const std::vector<EpochResult>& history) {
  std::string rows;
  for (const EpochResult& r : history)
    rows += fmt::format("<tr><td>{}<td>{:.4f}<td>{:.2f} %<td>{:.4f}<td>{:.2f} %<td>{:.3g}<td>{:.0f}<td>{}</tr>\n",
                        r.epoch, r.train_loss, 100 * r.train_accuracy, r.val_loss, 100 * r.accuracy, r.lr,
                        r.images_per_second, duration(r.seconds));
  return "<div class=\"scroll\"><table><tr><th>epoch<th>train loss<th>train accuracy<th>test loss<th>test accuracy"
         "<th>learning rate<th>images/s<th>time</tr>\n" +
         rows + "</table></div>\n";
}

std::string value_text(const nlohmann::json& value) {
  return value.is_string() ? value.get<std::string>() : to_text(value);
}

std::string config_tables(const nlohmann::json& config) {
  std::string tables;
  for (const auto& [name, part] : config.items()) {
    if (!part.is_object()) continue;
    tables += fmt::format("<table><caption>{}</caption>\n", escaped(name));
    for (const auto& [key, value] : part.items())
      tables += fmt::format("<tr><th>{}<td>{}</tr>\n", escaped(key), escaped(value_text(value)));
    tables += "</table>\n";
  }
  return "<div class=\"config\">" + tables + "</div>\n";
}

std::string facts(const std::vector<EpochResult>& history) {
  if (history.empty()) return "<p class=\"sub\">No epoch is finished yet.</p>\n";
  const auto best = std::max_element(history.begin(), history.end(),
                                     [](const auto& a, const auto& b) { return a.accuracy < b.accuracy; });
  double seconds = 0;
  for (const EpochResult& r : history) seconds += r.seconds;
  const auto fact = [](const std::string& value, const std::string& what) {
    return fmt::format("<div><b>{}</b><span class=\"sub\">{}</span></div>\n", value, what);
  };
  return "<div class=\"facts\">\n" +
         fact(fmt::format("{:.2f} %", 100 * best->accuracy), fmt::format("best test accuracy, epoch {}", best->epoch)) +
         fact(fmt::format("{:.2f} %", 100 * history.back().accuracy), "last test accuracy") +
         fact(std::to_string(history.size()), "epochs") + fact(duration(seconds), "time") +
         fact(fmt::format("{:.0f}", history.back().images_per_second), "images/s, last epoch") + "</div>\n";
}

}  // namespace

std::string report_html(const std::string& title, const nlohmann::json& config,
                        const std::vector<EpochResult>& history) {
  const Series loss[] = {{"train", &EpochResult::train_loss}, {"test", &EpochResult::val_loss}};
  const Series accuracy[] = {{"train", &EpochResult::train_accuracy}, {"test", &EpochResult::accuracy}};
  return "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" +
         escaped(title) + "</title>\n<style>" + style + "</style></head><body>\n<h1>" + escaped(title) +
         "</h1>\n<p class=\"sub\">MobileNetV1, trained by mobilenet.cu</p>\n" + facts(history) +
         "<div class=\"charts\">\n" + chart("loss", history, loss, 1, "") +
         chart("accuracy, %", history, accuracy, 100, " %") + "</div>\n<h2>Epochs</h2>\n" + epochs_table(history) +
         "<h2>Configuration</h2>\n" + config_tables(config) + "</body></html>\n";
}

void write_report(const std::filesystem::path& folder) {
  const Run run = read_run(folder);
  std::vector<EpochResult> history;
  for (const std::vector<double>& row : run.metrics.rows) {
    nlohmann::json json;
    for (size_t i = 0; i < row.size(); ++i) json[run.metrics.columns[i]] = row[i];
    history.push_back(epoch_result(json));
  }
  engine::io::write_file(folder / report_file, report_html(run.name, run.config, history));
}

}  // namespace tools
