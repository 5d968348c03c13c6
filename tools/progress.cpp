#include "tools/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "tools/command.h"

namespace tools {
namespace {

using std::chrono::steady_clock;

constexpr int widest_bar = 32, narrowest_bar = 8;
constexpr auto redraw_every = std::chrono::milliseconds(100);
constexpr auto line_every = std::chrono::seconds(30);

int terminal_columns() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

std::string left(const ProgressState& s) {
  return s.seconds_left < 0 ? "" : fmt::format("{} left", duration(s.seconds_left));
}

// The parts in order, two spaces between them; empty ones are passed over.
std::string joined(const std::vector<std::string>& parts) {
  std::string line;
  for (const std::string& part : parts)
    if (!part.empty()) line += (line.empty() ? "" : "  ") + part;
  return line;
}

std::string steps(const ProgressState& s) { return fmt::format("{}/{}", s.done, s.total); }

void write(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stderr); }  // stderr has no buffer

}  // namespace

std::string duration(double seconds) {
  const auto s = static_cast<int64_t>(std::max(seconds, 0.0) + 0.5);
  if (s < 3600) return fmt::format("{}:{:02}", s / 60, s % 60);
  return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

std::string plain_line(const ProgressState& s) {
  std::vector<std::string> parts = {s.label, "step " + steps(s)};
  parts.insert(parts.end(), s.details.begin(), s.details.end());
  parts.push_back(left(s));
  return joined(parts);
}

std::string progress_line(const ProgressState& s, int columns) {
  // Details leave from the end until the rest and the smallest bar fit; then the time, then the steps.
  std::vector<std::string> right = {steps(s)};
  right.insert(right.end(), s.details.begin(), s.details.end());
  std::string time = left(s);
  const auto text = [&] {
    std::vector<std::string> parts = right;
    parts.push_back(time);
    return joined(parts);
  };
  const auto room = [&] {  // for the bar
    const std::string all = text();
    return columns - static_cast<int>(s.label.size() + 1 + (all.empty() ? 0 : all.size() + 1));
  };
  while (room() < narrowest_bar && right.size() > 1) right.pop_back();
  if (room() < narrowest_bar) time.clear();
  if (room() < narrowest_bar) right.clear();
  const int width = std::min(room(), widest_bar);
  if (width < 1) return s.label.substr(0, std::max(columns, 0));

  const double share = s.total > 0 ? static_cast<double>(s.done) / static_cast<double>(s.total) : 0;
  const int full = std::clamp(static_cast<int>(share * width + 0.5), 0, width);
  std::string bar;
  for (int i = 0; i < width; ++i) bar += i < full ? "━" : "─";
  const std::string all = text();
  return s.label + " " + bar + (all.empty() ? "" : " ") + all;
}

Progress::Progress() : terminal_(::isatty(STDERR_FILENO) == 1), last_(steady_clock::now()) {
  if (terminal_) last_ -= redraw_every;
}

void Progress::show(const ProgressState& state) {
  const auto now = steady_clock::now();
  if (terminal_) {
    if (now - last_ < redraw_every && state.done < state.total) return;
    // One column stays free: some terminals wrap after the last one. ESC[K clears what an older, longer line left.
    write("\r" + progress_line(state, terminal_columns() - 1) + "\x1b[K");
    drawn_ = true;
  } else {
    if (now - last_ < line_every) return;
    print_message(plain_line(state));
  }
  last_ = now;
}

void Progress::message(const std::string& line) {
  clear();
  print_message(line);
}

void Progress::clear() {
  if (drawn_) write("\r\x1b[K");
  drawn_ = false;
}

}  // namespace tools
