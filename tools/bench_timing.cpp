#include "tools/bench_timing.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <simt/simt.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <ctime>
#include <nlohmann/json.hpp>

#include "tools/bench_operations.h"

namespace tools::bench {
namespace {

using engine::DeviceType;

size_t scrub_size(const engine::Device& device) {
  constexpr size_t mib = size_t{1} << 20;
  if (device.type() == DeviceType::cuda) return 256 * mib;  // several times the second-level cache of any GPU so far
  const int64_t cache = ::sysconf(_SC_LEVEL3_CACHE_SIZE);   // 0 or -1: not known
  return std::clamp<size_t>(cache > 0 ? 2 * static_cast<size_t>(cache) : 0, 64 * mib, 1024 * mib);
}

// On the CPU device each thread copies a share: one thread alone has neither the caches nor the bandwidth of all.
struct Copy {
  char* to;
  const char* from;
  size_t share;
};

}  // namespace

double processor_seconds() {
  timespec t{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec)) / simt::threads();
}

void Stopwatch::start() {
  if (clock_ == Clock::device) {
    from_.record();
    return;
  }
  device_.synchronize();
  processor_start_ = processor_seconds();
}

double Stopwatch::stop() {
  if (clock_ == Clock::device) {
    to_.record();
    return 1e-3 * static_cast<double>(to_.milliseconds_since(from_));
  }
  device_.synchronize();
  return processor_seconds() - processor_start_;
}

Quartiles quartiles(std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  const auto at = [&](double share) {
    const double place = share * static_cast<double>(seconds.size() - 1);
    const auto below = static_cast<size_t>(place);
    const size_t above = std::min(below + 1, seconds.size() - 1);
    return seconds[below] + (place - static_cast<double>(below)) * (seconds[above] - seconds[below]);
  };
  return {seconds.front(), at(0.25), at(0.5), at(0.75), static_cast<int>(seconds.size())};
}

nlohmann::json to_json(const Quartiles& q) {
  return {{"median", q.median}, {"low", q.low}, {"high", q.high}, {"least", q.least}, {"runs", q.runs}};
}

ColdCache::ColdCache(engine::Device& device)
    : device_(device), from_(device, scrub_size(device)), to_(device, scrub_size(device)) {
  device.runtime().fill(from_.data(), 1, from_.bytes(), device.stream());
}

double ColdCache::bytes() const { return 2.0 * static_cast<double>(from_.bytes()); }

void ColdCache::scrub() {
  if (device_.type() == DeviceType::cuda) {
    device_.runtime().copy(to_.data(), from_.data(), from_.bytes(), engine::CopyKind::device_to_device,
                           device_.stream());
    return;
  }
  const int threads = simt::threads();
  const Copy copy = {static_cast<char*>(to_.data()), static_cast<const char*>(from_.data()), from_.bytes() / threads};
  const auto task = [](const void* argument, int64_t i) {
    const Copy& c = *static_cast<const Copy*>(argument);
    std::memcpy(c.to + i * c.share, c.from + i * c.share, c.share);
  };
  simt::launch_tasks(static_cast<simt::cudaStream_t>(device_.stream()), threads, task, &copy, sizeof copy);
}

Quartiles time_cold(Stopwatch& stopwatch, ColdCache& cache, int repeat, double most_seconds,
                    const std::function<void()>& work) {
  work();
  std::vector<double> seconds;
  double sum = 0;
  while (static_cast<int>(seconds.size()) < repeat && (seconds.size() < 3 || sum < most_seconds)) {
    cache.scrub();
    stopwatch.start();
    work();
    seconds.push_back(stopwatch.stop());
    sum += seconds.back();
  }
  return quartiles(std::move(seconds));
}

Roofline measure_roofline(engine::Device& device, Stopwatch& stopwatch, ColdCache& cache, std::string_view pass) {
  constexpr int repeat = 10;
  Roofline best;
  const auto scrub = [&] { cache.scrub(); };
  best.copy = cache.bytes() / time_cold(stopwatch, cache, repeat, 0.5, scrub).least;

  const Operation& pointwise = *find_operation("pointwise_conv");
  const Pass& forward =
      *std::find_if(pointwise.passes.begin(), pointwise.passes.end(), [=](const Pass& p) { return pass == p.name; });
  const AnyShape shape = pointwise.make({1, 64, 64, 1024, 1024});
  std::vector<engine::Buffer> buffers;
  std::vector<void*> data;
  for (const Array& array : forward.arrays(shape.get())) {
    buffers.emplace_back(device, size_of(array.element) * array.count);
    data.push_back(buffers.back().data());
    device.runtime().fill(data.back(), 0x3c, buffers.back().bytes(), device.stream());  // floats of 0.0115
  }
  const double flops = forward.flops(shape.get());
  for (const RowInfo& row : forward.rows(device.type(), shape.get())) {
    // On the CPU, native rows are emulated: they take seconds, and none is the fastest.
    if (device.type() == DeviceType::cpu && row.provider == kernels::Provider::native) continue;
    const auto work = forward.prepare(device, row.name, shape.get(), data);
    const double rate = flops / time_cold(stopwatch, cache, repeat, 0.5, work).least;
    if (rate > best.product)
      best.product = rate, best.by = row.name + (pass == "forward" ? "" : fmt::format(" {}", pass));
  }
  return best;
}

void raise(Roofline& roofline, const Roofline& again) {
  roofline.copy = std::max(roofline.copy, again.copy);
  if (again.product > roofline.product) roofline.product = again.product, roofline.by = again.by;
}

void print_head(const engine::Device& device, const Roofline& r) {
  const nlohmann::json info = device_json(device);
  fmt::print("{}{}", info["name"].get<std::string>(),
             info.contains("threads") ? fmt::format(", {} threads", info["threads"].get<int>()) : "");
  if (r.copy > 0)
    fmt::print(": copy {:.1f} GB/s, matrix product {:.1f} GFLOP/s (pointwise_conv={})", 1e-9 * r.copy, 1e-9 * r.product,
               r.by);
  fmt::print("\n");
}

nlohmann::json to_json(const Roofline& r) {
  if (r.copy == 0) return nullptr;
  return {{"copy_bytes_per_second", r.copy},
          {"product_flops_per_second", r.product},
          {"product_by", "pointwise_conv=" + r.by}};
}

nlohmann::json device_json(const engine::Device& device) {
  const engine::DeviceProperties p = device.runtime().properties();
  nlohmann::json json = {{"type", engine::to_string(device.type())}, {"name", p.name}};
  if (device.type() == DeviceType::cpu) json["threads"] = simt::threads();
  return json;
}

std::string today() { return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr))); }

std::string time_text(double seconds) {
  const auto digits = [](double x) {
    return std::max(0, 2 - static_cast<int>(std::floor(std::log10(std::max(x, 1e-9)))));
  };
  for (const auto& [unit, scale] : {std::pair{"s", 1.0}, std::pair{"ms", 1e3}, std::pair{"µs", 1e6}})
    if (seconds * scale >= 0.9995 || scale == 1e6)
      return fmt::format("{:.{}f} {}", seconds * scale, std::min(digits(seconds * scale), 2), unit);
  return "";
}

}  // namespace tools::bench
