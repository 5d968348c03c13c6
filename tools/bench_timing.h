// How the bench measures: clocks, a cold cache, and what the device can do at best.
#pragma once

#include <algorithm>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "engine/device/device.h"

namespace tools::bench {

// device: events on the device's stream (on the CPU device, a steady clock). processor: the time that all threads of
// this program spent on a processor, divided by the number of threads that run kernels. Where other programs use the
// same cores, the former tells of them too; but the latter makes a pass that leaves a core idle look better than it is.
enum class Clock { device, processor };

double processor_seconds();  // what Clock::processor reads

class Stopwatch {
 public:
  Stopwatch(engine::Device& device, Clock clock) : device_(device), clock_(clock), from_(device), to_(device) {}
  void start();
  double stop();  // seconds since start(), once all work put on the device since then is done
 private:
  engine::Device& device_;
  Clock clock_;
  engine::Event from_, to_;
  double processor_start_ = 0;
};

struct Quartiles {
  double least = 0, low = 0, median = 0, high = 0;  // seconds
  int runs = 0;
};
Quartiles quartiles(std::vector<double> seconds);  // of at least one
nlohmann::json to_json(const Quartiles&);

// Two arrays, each larger than the last cache: copying one onto the other leaves nothing else in it.
class ColdCache {
 public:
  explicit ColdCache(engine::Device&);
  void scrub();          // on the device's stream
  double bytes() const;  // that scrub() reads and writes
 private:
  engine::Device& device_;
  engine::Buffer from_, to_;
};

// Times `work` with a cold cache before each run: once without looking, then `repeat` times, but no more once at least
// 3 runs have taken `most_seconds`.
Quartiles time_cold(Stopwatch&, ColdCache&, int repeat, double most_seconds, const std::function<void()>& work);

// What the device does at best.
struct Roofline {
  double copy = 0;     // bytes/s, read and written, of a copy of large arrays
  double product = 0;  // floating-point operations/s of a matrix product of 4096×1024 by 1024×1024
  std::string by;      // the row of pointwise_conv that did the product, and the pass if not `forward`
  // The least time that moving so many bytes and doing so many operations can take; 0 where nothing was measured.
  double floor(double bytes, double flops) const { return copy > 0 ? std::max(bytes / copy, flops / product) : 0; }
};
// pass: of pointwise_conv, which does the product; "forward_bf16" does it in bfloat16.
Roofline measure_roofline(engine::Device&, Stopwatch&, ColdCache&, std::string_view pass = "forward");
void raise(Roofline&, const Roofline& again);  // to the better of the two
void print_head(const engine::Device&, const Roofline&);
nlohmann::json to_json(const Roofline&);  // null where nothing was measured

// {"type", "name", "threads"}
nlohmann::json device_json(const engine::Device&);
std::string today();  // "2026-11-25T02:00:00Z"

std::string time_text(double seconds);  // "12.3 ms", of 3 digits
}  // namespace tools::bench
