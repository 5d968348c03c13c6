// mobilenet report: a run's page made anew, or several runs on one page.
#include "tools/report.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <numeric>

#include "engine/io/file.h"
#include "tools/chart.h"
#include "tools/command.h"
#include "tools/page.h"
#include "tools/progress.h"

namespace tools {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t most_numbers = 20;   // classes up to which the confusion matrix is a table of numbers
constexpr size_t most_mistakes = 12;  // of the list of frequent ones
constexpr const char* none = "–";

std::string percent(double share) { return std::isfinite(share) ? fmt::format("{:.2f} %", 100 * share) : none; }

double share(int64_t part, int64_t of) { return of > 0 ? static_cast<double>(part) / static_cast<double>(of) : NAN; }

double last_of(const std::vector<double>& values) { return values.empty() ? NAN : values.back(); }

std::vector<double> times(std::vector<double> values, double factor) {
  for (double& v : values) v *= factor;
  return values;
}

std::vector<double> val_accuracies(const Metrics& metrics) {
  const std::vector<double> values = metrics.values("accuracy");
  return values.empty() ? metrics.values("val_accuracy") : values;
}

// What the table and the summary of a run say.
struct Outcome {
  double best_epoch = 0, val_accuracy = NAN, test_accuracy = NAN, test_loss = NAN;
  double epochs = 0, seconds = NAN, images_per_second = NAN;
};

Outcome outcome(const Run& run) {
  Outcome o;
  const std::vector<double> epochs = run.metrics.values("epoch"), accuracies = val_accuracies(run.metrics),
                            seconds = run.metrics.values("seconds");
  o.epochs = epochs.empty() ? 0 : epochs.back();
  for (size_t i = 0; i < accuracies.size(); ++i)
    if (std::isfinite(accuracies[i]) && !(accuracies[i] <= o.val_accuracy))
      o.val_accuracy = accuracies[i], o.best_epoch = epochs[i];
  if (!seconds.empty()) o.seconds = std::accumulate(seconds.begin(), seconds.end(), 0.0);
  o.images_per_second = last_of(run.metrics.values("images_per_second"));
  if (run.result) {
    o.best_epoch = run.result->epoch, o.val_accuracy = run.result->val_accuracy;
    o.test_accuracy = run.result->test_accuracy, o.test_loss = run.result->test_loss;
  }
  return o;
}

std::string number_or_none(double value, int digits) {
  return std::isfinite(value) ? fmt::format("{:.{}f}", value, digits) : none;
}

std::string time_or_none(double seconds) { return seconds >= 0 && seconds < 1e12 ? duration(seconds) : none; }

std::string value_text(const json& value) { return value.is_string() ? value.get<std::string>() : to_text(value); }

// A value of config.json, as text; empty where it is not there.
std::string config_text(const json& config, const char* part, const char* key) {
  if (!config.contains(part) || !config[part].is_object() || !config[part].contains(key)) return {};
  return value_text(config[part][key]);
}

std::string device_text(const json& config) {
  const std::string type = config_text(config, "device", "type"), name = config_text(config, "device", "name");
  if (type.empty() || name.empty() || type == name) return type + name;
  return fmt::format("{} ({})", type, name);
}

std::string with_commas(const std::string& digits) {
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

std::string section(const std::string& title, const std::string& hint, const std::string& body) {
  return fmt::format("<section><h2>{}</h2>\n{}{}</section>\n", title,
                     hint.empty() ? "" : fmt::format("<p class=\"hint\">{}</p>\n", hint), body);
}

// "MobileNetV1, width 0.25, images of 32 × 32, shapes; on cpu (…)"
std::string subtitle(const json& config) {
  const auto option = [&](const char* key) { return config_text(config, "options", key); };
  std::string text = config_text(config, "model", "name");
  if (text.empty() || text == "mobilenet_v1") text = "MobileNetV1";
  if (!option("width").empty()) text += ", width " + option("width");
  if (!option("resolution").empty()) text += fmt::format(", images of {0} × {0}", option("resolution"));
  const std::string data = config_text(config, "data", "name"), train = config_text(config, "data", "train"),
                    device = device_text(config);
  if (!data.empty()) text += fmt::format("; trained on {}", data);
  if (!train.empty()) text += fmt::format(" ({} images)", with_commas(train));
  if (!device.empty()) text += fmt::format(", on {}", device);
  return text;
}

std::string validation_text(const std::string& validation) {
  constexpr std::string_view fraction = "fraction ";
  if (validation == "test") return "the test images themselves";
  if (validation == "article") return "the first 1,000 test images";
  if (validation.rfind(fraction, 0) == 0)
    return fmt::format("a share of {} of the training images, held out", validation.substr(fraction.size()));
  return validation;
}

std::string facts(const Run& run, const Outcome& o) {
  if (run.metrics.rows.empty()) return "<p>No epoch is finished yet.</p>\n";
  std::string html;
  const auto fact = [&](const std::string& value, const std::string& what, bool first = false) {
    html += fmt::format("<div{}><b>{}</b><span>{}</span></div>\n", first ? " class=\"first\"" : "", escaped(value),
                        escaped(what));
  };
  if (run.result) fact(percent(o.test_accuracy), "test accuracy", true);
  fact(percent(o.val_accuracy), fmt::format("best validation accuracy, epoch {:.0f}", o.best_epoch), !run.result);
  if (run.result) fact(number_or_none(o.test_loss, 4), "test loss");
  fact(fmt::format("{:.0f}", o.epochs), o.epochs == 1 ? "epoch" : "epochs");
  fact(time_or_none(o.seconds), "training time");
  fact(number_or_none(o.images_per_second, 0), "images/s, last epoch");
  const std::string parameters = config_text(run.config, "model", "parameters");
  if (!parameters.empty()) fact(with_commas(parameters), "parameters");
  html = "<div class=\"facts\">\n" + html + "</div>\n";
  if (run.result)
    html += fmt::format(
        "<p class=\"hint\">The best epoch is that on {}. Its weights are in {}, and the test is theirs.</p>\n",
        escaped(validation_text(run.result->validation)), weights_file);
  return html;
}

std::string charts(const Run& run, double best_epoch) {
  const Metrics& m = run.metrics;
  const std::vector<double> epochs = m.values("epoch");
  std::string html = "<div class=\"charts\">\n";
  html += line_chart({"Loss",
                      "",
                      {{"validation", epochs, m.values("val_loss")}, {"training", epochs, m.values("train_loss")}},
                      false,
                      best_epoch});
  html += line_chart({"Accuracy, %",
                      " %",
                      {{"validation", epochs, times(val_accuracies(m), 100)},
                       {"training", epochs, times(m.values("train_accuracy"), 100)}},
                      false,
                      best_epoch});
  html += line_chart({"Learning rate", "", {{"learning rate", epochs, m.values("lr")}}, true, 0});
  html += line_chart({"Images/s", "", {{"images/s", epochs, m.values("images_per_second")}}, true, 0});
  if (const std::vector<double> wait = m.values("data_wait"); !wait.empty())
    html += line_chart({"Time waiting for data, %", " %", {{"waiting", epochs, times(wait, 100)}}, true, 0});
  html += "</div>\n";
  return section(
      "Curves",
      best_epoch > 0
          ? fmt::format(
                "The dotted line is the best epoch, {:.0f}. Point at a curve for its values, or use the arrow keys.",
                best_epoch)
          : "",
      html);
}

std::string confusion_table(const RunResult& r) {
  std::string html = "<div class=\"scroll\" tabindex=\"0\"><table class=\"confusion\"><thead><tr><th></th>";
  for (const std::string& name : r.classes)
    html += fmt::format("<th scope=\"col\"><span>{}</span></th>", escaped(name));
  html += "</tr></thead>\n<tbody>";
  for (size_t i = 0; i < r.classes.size(); ++i) {
    html += fmt::format("<tr><th scope=\"row\">{}</th>", escaped(r.classes[i]));
    const int64_t all = std::accumulate(r.confusion[i].begin(), r.confusion[i].end(), int64_t{0});
    for (size_t j = 0; j < r.classes.size(); ++j) {
      const int64_t n = r.confusion[i][j];
      const double part = n > 0 ? share(n, all) : 0, shade = std::sqrt(part);
      const std::string kind = i == j ? "diagonal" : n == 0 ? "none" : "";
      html += fmt::format(
          "<td class=\"{}{}\" style=\"--v:{:.2f}\" title=\"{} of {} images of {} taken for {} ({:.1f} %)\">{}</td>",
          kind, shade > 0.7 ? " full" : "", shade, n, all, escaped(r.classes[i]), escaped(r.classes[j]), 100 * part, n);
    }
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

// Many classes: shades only, and the numbers under the pointer. One path a shade keeps 10,000 cells small.
std::string confusion_heat(const RunResult& r) {
  constexpr int size = 8, left = 92, top = 80, shades = 8, longest_name = 16;
  const size_t n = r.classes.size(), side = n * size;
  std::map<std::pair<bool, int>, std::string> paths;  // (right?, shade) → cells
  std::string labels;
  for (size_t i = 0; i < n; ++i) {
    const int64_t all = std::accumulate(r.confusion[i].begin(), r.confusion[i].end(), int64_t{0});
    for (size_t j = 0; j < n; ++j) {
      if (r.confusion[i][j] == 0) continue;
      const int shade =
          std::clamp(static_cast<int>(std::ceil(std::sqrt(share(r.confusion[i][j], all)) * shades)), 1, shades);
      paths[{i == j, shade}] += fmt::format("M{} {}h{}v{}h-{}z", left + j * size, top + i * size, size, size, size);
    }
    std::string name = r.classes[i];
    if (name.size() > longest_name) {
      size_t end = longest_name - 1;
      while (end > 0 && (static_cast<unsigned char>(name[end]) & 0xC0) == 0x80) --end;  // not within a letter
      name = name.substr(0, end) + "…";
    }
    const size_t middle = i * size + size - 2;
    labels += fmt::format(
        "<text x=\"{0}\" y=\"{1}\" text-anchor=\"end\">{2}</text><text transform=\"translate({3} "
        "{4})rotate(-90)\">{2}</text>\n",
        left - 4, top + middle, escaped(name), left + middle, top - 4);
  }
  std::string cells;
  for (const auto& [kind, path] : paths)
    cells += fmt::format("<path class=\"{}\" opacity=\"{:.3f}\" d=\"{}\"/>\n", kind.first ? "r" : "w",
                         static_cast<double>(kind.second) / shades, path);
  const json data = {{"names", r.classes}, {"counts", r.confusion}, {"left", left}, {"top", top}, {"size", size}};
  return fmt::format(
      "<div class=\"heat scroll\"><div class=\"plot\" data-confusion=\"{0}\"><svg viewBox=\"0 0 {1} {2}\" "
      "tabindex=\"0\" "
      "role=\"img\" aria-label=\"confusion matrix; arrow keys show the numbers\">\n<rect class=\"field\" x=\"{3}\" "
      "y=\"{4}\" width=\"{5}\" height=\"{5}\"/>\n{6}{7}<rect class=\"cell\" width=\"{8}\" height=\"{8}\"/></svg>"
      "<div class=\"tip\" role=\"status\"></div></div></div>\n",
      escaped(to_text(data)), left + side + 4, top + side + 4, left, top, side, cells, labels, size);
}

std::string mistakes(const RunResult& r) {
  struct Pair {
    int64_t images, of;
    size_t truth, predicted;
  };
  std::vector<Pair> pairs;
  for (size_t i = 0; i < r.classes.size(); ++i) {
    const int64_t all = std::accumulate(r.confusion[i].begin(), r.confusion[i].end(), int64_t{0});
    for (size_t j = 0; j < r.classes.size(); ++j)
      if (i != j && r.confusion[i][j] > 0) pairs.push_back({r.confusion[i][j], all, i, j});
  }
  if (pairs.empty()) return {};
  std::stable_sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) { return a.images > b.images; });
  pairs.resize(std::min(pairs.size(), most_mistakes));
  std::string html =
      "<div><h3>Most frequent mistakes</h3>\n<div class=\"scroll\"><table><thead><tr><th>true class</th><th>taken "
      "for</th>"
      "<th>images</th><th>of the class</th></tr></thead><tbody>\n";
  for (const Pair& p : pairs)
    html += fmt::format(
        "<tr><td style=\"text-align:left\">{}</td><td style=\"text-align:left\">{}</td><td>{}</td><td>{:.1f} "
        "%</td></tr>\n",
        escaped(r.classes[p.truth]), escaped(r.classes[p.predicted]), p.images, 100 * share(p.images, p.of));
  return html + "</tbody></table></div></div>\n";
}

std::string confusion(const RunResult& r) {
  const bool table = r.classes.size() <= most_numbers;
  return section("Confusion matrix",
                 "Rows: the true class. Columns: the predicted one. Right ones lie on the diagonal; the darker, the "
                 "larger the share "
                 "of the row (shaded by its square root, so that rare mistakes show)." +
                     std::string(table ? "" : " Point at a cell for its numbers, or use the arrow keys."),
                 "<div class=\"side\">" + (table ? confusion_table(r) : confusion_heat(r)) + mistakes(r) + "</div>\n");
}

std::string class_accuracies(const RunResult& r) {
  struct Class {
    size_t label;
    int64_t correct, images;
  };
  std::vector<Class> classes;
  for (size_t i = 0; i < r.classes.size(); ++i)
    classes.push_back(
        {i, r.confusion[i][i], std::accumulate(r.confusion[i].begin(), r.confusion[i].end(), int64_t{0})});
  std::stable_sort(classes.begin(), classes.end(), [](const Class& a, const Class& b) {
    return static_cast<double>(a.correct) * std::max<double>(static_cast<double>(b.images), 1) >
           static_cast<double>(b.correct) * std::max<double>(static_cast<double>(a.images), 1);
  });
  std::string html = "<div class=\"classes\">\n";
  for (const Class& c : classes) {
    const double accuracy = c.images > 0 ? share(c.correct, c.images) : 0;
    html += fmt::format(
        "<div title=\"{0}: {1} of {2} images\"><span>{0}</span><span class=\"meter\"><i "
        "style=\"width:{3:.1f}%\"></i></span><span>{4}</span></div>\n",
        escaped(r.classes[c.label]), c.correct, c.images, 100 * accuracy,
        c.images > 0 ? fmt::format("{:.1f} %", 100 * accuracy) : none);
  }
  return section("Accuracy of each class",
                 "The share of the class's test images that were recognised, the highest first.", html + "</div>\n");
}

std::string examples(const RunResult& r) {
  std::string html = "<div class=\"examples\">\n";
  size_t right = 0;
  for (const RunResult::Example& e : r.examples) {
    const bool is_right = e.label == e.predicted;
    right += is_right;
    const std::string truth = escaped(r.classes[e.label]), predicted = escaped(r.classes[e.predicted]);
    html += fmt::format(
        "<figure{0}><img src=\"{1}\" alt=\"test image {2}\" title=\"test image {2}: {3}, predicted {4} with {5:.2f} "
        "%\">"
        "<div><span class=\"sign\">{6}</span><b>{4}</b></div><div class=\"sub\">{5:.0f} %{7}</div></figure>\n",
        is_right ? "" : " class=\"wrong\"", e.image, e.index, truth, predicted, 100 * e.probability,
        is_right ? "✓" : "✗", is_right ? std::string() : " · is: " + truth);
  }
  return section("Test images",
                 fmt::format("What the network says, with its probability: {} of these {} are right (✓). A wrong one "
                             "has a cross (✗), a dashed frame and the true "
                             "class below.",
                             right, r.examples.size()),
                 html + "</div>\n");
}

std::string filters(const std::vector<float>& stem) {
  constexpr size_t size = 27;  // 3 channels of 3 × 3
  std::string html = "<div class=\"filters\">\n";
  for (size_t i = 0; (i + 1) * size <= stem.size(); ++i) {
    const float* w = &stem[i * size];
    float most = 0;
    for (size_t k = 0; k < size; ++k)
      if (std::isfinite(w[k])) most = std::max(most, std::abs(w[k]));
    html += fmt::format(
        "<svg viewBox=\"0 0 3 3\" role=\"img\" shape-rendering=\"crispEdges\"><title>filter {}, largest weight "
        "{:.3g}</title>",
        i, most);
    for (int p = 0; p < 9; ++p) {
      int colour[3];
      for (int c = 0; c < 3; ++c) {
        const float v = most > 0 && std::isfinite(w[c * 9 + p]) ? w[c * 9 + p] / most : 0;
        colour[c] = static_cast<int>(std::lround(127.5f + 127.5f * v));
      }
      html += fmt::format("<path fill=\"#{:02x}{:02x}{:02x}\" d=\"M{} {}h1v1h-1z\"/>", colour[0], colour[1], colour[2],
                          p % 3, p / 3);
    }
    html += "</svg>\n";
  }
  return section("First-layer filters",
                 "The 3 × 3 filters of the first convolution, red, green and blue as its three inputs. Grey is 0; "
                 "brighter is positive, darker "
                 "negative; each is scaled by its largest weight.",
                 html + "</div>\n");
}

std::string epochs_table(const Metrics& m, double best_epoch) {
  struct Column {
    const char *title, *format;  // of the value times `scale`
    double scale;
  };
  static const std::map<std::string, Column> known = {{"epoch", {"epoch", "{:.0f}", 1}},
                                                      {"train_loss", {"training loss", "{:.4f}", 1}},
                                                      {"train_accuracy", {"training accuracy", "{:.2f} %", 100}},
                                                      {"val_loss", {"validation loss", "{:.4f}", 1}},
                                                      {"accuracy", {"validation accuracy", "{:.2f} %", 100}},
                                                      {"val_accuracy", {"validation accuracy", "{:.2f} %", 100}},
                                                      {"lr", {"learning rate", "{:.3g}", 1}},
                                                      {"images_per_second", {"images/s", "{:.0f}", 1}},
                                                      {"data_wait", {"waiting for data", "{:.1f} %", 100}},
                                                      {"seconds", {"seconds", "{:.1f}", 1}}};
  std::vector<Column> columns;
  std::string html = "<div class=\"scroll\" tabindex=\"0\"><table><thead><tr>";
  size_t epoch_column = 0;
  for (size_t j = 0; j < m.columns.size(); ++j) {
    const auto found = known.find(m.columns[j]);
    columns.push_back(found != known.end() ? found->second : Column{nullptr, "{:.6g}", 1});
    html += fmt::format("<th scope=\"col\">{}</th>",
                        escaped(columns.back().title != nullptr ? columns.back().title : m.columns[j]));
    if (m.columns[j] == "epoch") epoch_column = j;
  }
  html += "</tr></thead>\n<tbody>";
  for (const std::vector<double>& row : m.rows) {
    html += row[epoch_column] == best_epoch ? "<tr class=\"is-best\">" : "<tr>";
    for (size_t j = 0; j < row.size(); ++j)
      html += fmt::format("<td>{}</td>", std::isfinite(row[j])
                                             ? fmt::format(fmt::runtime(columns[j].format), row[j] * columns[j].scale)
                                             : none);
    html += "</tr>\n";
  }
  return section(
      "Epochs", "",
      fmt::format("<details{}><summary>All {} epochs; the best in bold</summary>\n{}</tbody></table></div></details>\n",
                  m.rows.size() <= 30 ? " open" : "", m.rows.size(), html));
}

std::string config_tables(const json& config) {
  std::string tables;
  for (const auto& [name, part] : config.items()) {
    std::string rows;
    if (part.is_object()) {
      for (const auto& [key, value] : part.items()) {
        const std::string text = value_text(value);
        rows += fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", escaped(key),
                            text.empty() ? none : escaped(text));
      }
    } else {
      rows = fmt::format("<tr><td>{}</td></tr>\n", escaped(value_text(part)));
    }
    tables += fmt::format("<table class=\"left\"><caption>{}</caption>\n{}</table>\n", escaped(name), rows);
  }
  return section("Configuration", "", "<div class=\"config\">" + tables + "</div>\n");
}

std::string header(const std::string& title, const std::string& sub) {
  return fmt::format("<header><h1>{}</h1>\n<p class=\"sub\">{}</p></header>\n", escaped(title), escaped(sub));
}

std::string footer() {
  return "<footer>Made by mobilenet.cu from the files of the run; it needs no network.</footer>\n";
}

// config.json's values by their paths: "options.lr" → "0.001".
std::map<std::string, std::string> flat(const json& config) {
  std::map<std::string, std::string> all;
  for (const auto& [name, part] : config.items()) {
    if (!part.is_object()) {
      all[name] = value_text(part);
      continue;
    }
    for (const auto& [key, value] : part.items()) {
      std::string path = name;
      path += '.';
      path += key;
      all[path] = value_text(value);
    }
  }
  return all;
}

std::string head_row(const std::string& first, const std::vector<Run>& runs) {
  std::string html = fmt::format("<thead><tr><th>{}</th>", first);
  for (const Run& run : runs) html += fmt::format("<th scope=\"col\">{}</th>", escaped(run.name));
  return html + "</tr></thead>\n";
}

std::string differing_options(const std::vector<Run>& runs) {
  std::vector<std::map<std::string, std::string>> configs;
  std::map<std::string, int> keys;
  for (const Run& run : runs) {
    configs.push_back(flat(run.config));
    for (const auto& [key, value] : configs.back()) ++keys[key];
  }
  std::string rows;
  for (const auto& [key, count] : keys) {
    bool same = count == static_cast<int>(runs.size());
    for (const auto& config : configs) same = same && config.at(key) == configs[0].at(key);
    if (same) continue;
    rows += fmt::format("<tr><th scope=\"row\">{}</th>", escaped(key));
    for (const auto& config : configs) {
      const auto found = config.find(key);
      rows +=
          fmt::format("<td>{}</td>", found == config.end() || found->second.empty() ? none : escaped(found->second));
    }
    rows += "</tr>\n";
  }
  if (rows.empty()) return section("What differs", "", "<p>Nothing: the configurations are the same.</p>\n");
  return section("What differs", "Of the configurations, what is not the same in all runs.",
                 "<div class=\"scroll\" tabindex=\"0\"><table class=\"left\">" + head_row("", runs) + "<tbody>" + rows +
                     "</tbody></table></div>\n");
}

std::string results_table(const std::vector<Run>& runs) {
  std::string html =
      "<div class=\"scroll\" tabindex=\"0\"><table><thead><tr><th>run</th><th>test accuracy</th><th>test "
      "loss</th><th>best validation accuracy</th>"
      "<th>in "
      "epoch</th><th>epochs</th><th>time</th><th>images/s</th><th>parameters</th><th>device</th></tr></thead>\n<tbody>";
  double best = -1;
  for (const Run& run : runs)
    if (const double accuracy = outcome(run).test_accuracy; accuracy > best) best = accuracy;
  for (size_t i = 0; i < runs.size(); ++i) {
    const Outcome o = outcome(runs[i]);
    const std::string parameters = config_text(runs[i].config, "model", "parameters"),
                      device = device_text(runs[i].config);
    html += fmt::format(
        "<tr{}><th scope=\"row\" class=\"s{}\"><svg class=\"sample\" viewBox=\"0 0 30 10\" aria-hidden=\"true\"><path "
        "class=\"curve\" d=\"M2 "
        "5H28\"/></svg>{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.0f}</td><td>{}</td><td>{}</td><td>{}</"
        "td><td>{}</td></tr>\n",
        o.test_accuracy == best ? " class=\"is-best\"" : "", i % 8, escaped(runs[i].name), percent(o.test_accuracy),
        number_or_none(o.test_loss, 4), percent(o.val_accuracy),
        o.best_epoch > 0 ? fmt::format("{:.0f}", o.best_epoch) : none, o.epochs, time_or_none(o.seconds),
        number_or_none(o.images_per_second, 0), parameters.empty() ? none : escaped(with_commas(parameters)),
        device.empty() ? none : escaped(device));
  }
  return section("Results", best >= 0 ? "The best test accuracy in bold." : "", html + "</tbody></table></div>\n");
}

std::string overlaid_charts(const std::vector<Run>& runs) {
  struct Kind {
    const char *title, *unit, *column;
    double scale;
    bool from_zero;
  };
  constexpr Kind kinds[] = {{"Validation accuracy, %", " %", "accuracy", 100, false},
                            {"Validation loss", "", "val_loss", 1, false},
                            {"Training accuracy, %", " %", "train_accuracy", 100, false},
                            {"Training loss", "", "train_loss", 1, false},
                            {"Learning rate", "", "lr", 1, true},
                            {"Images/s", "", "images_per_second", 1, true}};
  std::string html = "<div class=\"charts\">\n";
  for (const Kind& kind : kinds) {
    Chart chart{kind.title, kind.unit, {}, kind.from_zero, 0};
    for (const Run& run : runs) {
      const std::string column = kind.column;
      chart.curves.push_back(
          {run.name, run.metrics.values("epoch"),
           times(column == "accuracy" ? val_accuracies(run.metrics) : run.metrics.values(column), kind.scale)});
    }
    html += line_chart(chart);
  }
  return section("Curves", "Point at a curve for its values, or use the arrow keys.", html + "</div>\n");
}

struct Options {
  std::vector<std::string> folders;
  std::string out;
};

int report(const Options& o) {
  if (o.folders.size() == 1) {
    const fs::path out = o.out.empty() ? fs::path(o.folders[0]) / report_file : fs::path(o.out);
    engine::io::write_file(out, report_html(read_run(o.folders[0])));
    print_message(fmt::format("wrote {}", out.string()));
    return 0;
  }
  std::vector<Run> runs;
  for (const std::string& folder : o.folders) runs.push_back(read_run(folder));
  // Folders of one name in different places: then the paths tell which is which.
  for (size_t i = 0; i < runs.size(); ++i)
    for (size_t j = 0; j < runs.size(); ++j)
      if (i != j && fs::absolute(o.folders[i] + "/").lexically_normal().parent_path().filename() ==
                        fs::absolute(o.folders[j] + "/").lexically_normal().parent_path().filename())
        runs[i].name = o.folders[i];
  const std::string out = o.out.empty() ? "comparison.html" : o.out;
  engine::io::write_file(out, comparison_html(runs));
  print_message(fmt::format("wrote {}", out));
  return 0;
}

}  // namespace

std::string report_html(const Run& run) {
  const Outcome o = outcome(run);
  std::string body = header(run.name, subtitle(run.config)) + facts(run, o);
  if (!run.metrics.rows.empty()) body += charts(run, o.best_epoch);
  if (run.result) {
    body += confusion(*run.result) + class_accuracies(*run.result);
    if (!run.result->examples.empty()) body += examples(*run.result);
  }
  if (!run.stem.empty()) body += filters(run.stem);
  if (!run.metrics.rows.empty()) body += epochs_table(run.metrics, o.best_epoch);
  return page(run.name, body + config_tables(run.config) + footer());
}

std::string comparison_html(const std::vector<Run>& runs) {
  std::string title;
  for (const Run& run : runs) title += (title.empty() ? "" : ", ") + run.name;
  return page(title, header(fmt::format("{} runs compared", runs.size()), title) + results_table(runs) +
                         overlaid_charts(runs) + differing_options(runs) + footer());
}

void write_report(const fs::path& folder) {
  engine::io::write_file(folder / report_file, report_html(read_run(folder)));
}

Command add_report(CLI::App& program) {
  CLI::App* app =
      program.add_subcommand("report", "Make a run's report.html anew, or compare several runs on one page");
  const auto o = std::make_shared<Options>();
  app->add_option("DIR", o->folders, "folders of runs: one makes its report.html anew, more are compared")->required();
  app->add_option("--out", o->out, "the page to write; left out: DIR/report.html, for several runs comparison.html");
  return {app, [o] { return report(*o); }};
}

}  // namespace tools
