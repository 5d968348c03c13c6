// A progress bar on a terminal, plain lines elsewhere.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace tools {

struct ProgressState {
  std::string label;                 // "epoch 3/20"
  int64_t done = 0, total = 0;       // steps
  std::vector<std::string> details;  // the most important first: those that do not fit are left out from the end
  double seconds_left = -1;          // below 0: not known
};

// The state in one line of at most `columns` columns: label, bar, steps, details, time left.
std::string progress_line(const ProgressState&, int columns);
// The same without a bar, for a log.
std::string plain_line(const ProgressState&);

std::string duration(double seconds);  // "0:07", "12:05", "3:02:05"

// Writes to standard error. On a terminal one line is redrawn in place, at most ten times a second, in one write, as
// wide as the terminal is at that moment. Elsewhere a plain line appears at most every 30 seconds.
class Progress {
 public:
  Progress();
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  void show(const ProgressState&);
  void message(const std::string& line);  // a line that stays, above the bar
  void clear();                           // takes the bar away

 private:
  bool terminal_, drawn_ = false;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace tools
