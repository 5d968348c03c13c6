#include "engine/device/tuner.h"

#include <fmt/format.h>

#include <simt/simt.h>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <utility>

#include "engine/error.h"
#include "engine/io/file.h"
#include "kernels/adam/adam.h"
#include "kernels/common/fused_norm.h"

namespace engine {

using nlohmann::json;

namespace {

constexpr const char* format_name = "mobilenet kernel times";
constexpr int format_version = 1;

// Memory of the runtime's, which the allocator does not know.
class Scratch {
 public:
  Scratch(const Runtime& runtime, size_t bytes)
      : runtime_(runtime), data_(bytes > 0 ? runtime.allocate(bytes) : nullptr) {}
  ~Scratch() {
    try {
      if (data_ != nullptr) runtime_.free(data_);
    } catch (const kernels::Error&) {  // only where the device has failed; whatever is asked of it next says so
    }
  }
  Scratch(const Scratch&) = delete;
  void* data() const { return data_; }

 private:
  const Runtime& runtime_;
  void* data_;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace

// ---- what a pass may write

void Written::add(const void* address) {
  if (address == nullptr) return;
  const std::span<std::byte> block = device_.allocator().around(address);
  if (block.empty()) all_known_ = false;
  blocks_[block.data()] = block.size();
}

class Written::Saved {
 public:
  explicit Saved(const Written& written) : device_(written.device_), blocks_(written.blocks_) {
    for (const auto& [data, bytes] : blocks_) copies_.push_back(std::make_unique<Scratch>(device_.runtime(), bytes));
    size_t i = 0;
    for (const auto& [data, bytes] : blocks_) copy(copies_[i++]->data(), data, bytes);
  }
  void put_back() {
    size_t i = 0;
    for (const auto& [data, bytes] : blocks_) copy(data, copies_[i++]->data(), bytes);
    device_.runtime().stream_synchronize(device_.stream());  // the copies go
  }

 private:
  void copy(void* to, const void* from, size_t bytes) {
    device_.runtime().copy(to, from, bytes, CopyKind::device_to_device, device_.stream());
  }
  Device& device_;
  const std::map<std::byte*, size_t> blocks_;
  std::vector<std::unique_ptr<Scratch>> copies_;
};

void note_written(Written& written, const kernels::FusedNorm& n) {
  for (const float* p :
       {n.running_mean, n.running_var, n.mean, n.invstd, n.scale, n.dweight, n.dbias, n.slope, n.constant})
    written.add(p);
}

void note_written(Written& written, const kernels::OptimizerShape& shape, const kernels::OptimizerChunk* chunks) {
  for (const kernels::OptimizerChunk& c : written.read(chunks, shape.chunks))
    for (const float* p : {c.value, c.first_moment, c.second_moment, c.average}) written.add(p);
}

// ---- timing

double Tuner::time_by_events(Device& device, const char*, const std::function<void()>& work) {
  Event from(device), to(device);
  const auto time = [&](int times) {
    from.record();
    for (int i = 0; i < times; ++i) work();
    to.record();
    return 1e-3 * to.milliseconds_since(from) / times;
  };
  // A short pass several times, so that what lies between the marks is the pass, not the time to launch it.
  constexpr double enough = 200e-6;
  const double once = time(1);
  return once >= enough / 2 ? once : time(std::clamp(static_cast<int>(enough / std::max(once, 1e-9)), 2, 20));
}

Tuner::Tuner(std::string device_name, std::string versions, std::filesystem::path file, bool times, Timer timer)
    : device_name_(std::move(device_name)),
      machine_(device_name_ + "; " + versions),
      file_(std::move(file)),
      times_(times),
      timer_(std::move(timer)) {
  std::string problem;
  const json content = read_file(&problem);
  if (!problem.empty())
    messages_.push_back(fmt::format("kernels: {} is passed over, and written anew: {}", file_.string(), problem));
  if (const auto entries = content.find(machine_); entries != content.end())
    for (const auto& [pass, entry] : entries->items()) in_file_[pass] = entry.at("row").get<std::string>();
}

int Tuner::known(const Choice& choice) {
  for (const Rows* rows : {&taken_, &in_file_}) {
    const auto found = rows->find(choice.pass);
    if (found == rows->end()) continue;
    for (size_t i = 0; i < choice.rows.size(); ++i)
      if (found->second == choice.rows[i]) {
        taken_[choice.pass] = found->second;
        return static_cast<int>(i);
      }
  }
  return -1;
}

size_t Tuner::find(Device& device, const Choice& choice, const Written& written, size_t workspace_bytes,
                   const std::function<void(kernels::Context&, size_t row)>& run) {
  constexpr int rounds = 5, least_rounds = 3;
  constexpr double most_seconds = 0.1;  // for the rounds behind the least
  std::string& taken = taken_[choice.pass];
  taken = choice.rows[choice.usual];
  if (!times_ || device.is_capturing() || !written.all_known()) return choice.usual;

  const auto start = std::chrono::steady_clock::now();
  const Runtime& runtime = device.runtime();
  kernels::Context& own = device.context();
  std::vector<std::vector<double>> times(choice.rows.size());
  try {
    Written::Saved saved(written);
    const Scratch workspace(runtime, workspace_bytes);
    kernels::Context context = own;
    context.workspace = workspace.data(), context.workspace_bytes = workspace_bytes;
    std::vector<bool> out(choice.rows.size(), false);
    const auto attempt = [&](size_t i, const auto& what) {  // a row that fails is out
      try {
        what();
      } catch (const kernels::Error& error) {
        out[i] = true;
        times[i].clear();
        messages_.push_back(fmt::format("kernels: {} failed while it was timed, for {}: {}", choice.rows[i],
                                        choice.pass, error.what()));
      }
    };
    for (size_t i = 0; i < choice.rows.size(); ++i)
      attempt(i, [&] {  // once without looking: libraries make here what they keep for a shape
        run(context, i);
        runtime.stream_synchronize(device.stream());
      });
    const auto since = std::chrono::steady_clock::now();
    for (int round = 0; round < rounds && (round < least_rounds || seconds_since(since) < most_seconds); ++round) {
      double best = HUGE_VAL;
      for (size_t i = 0; i < choice.rows.size(); ++i)
        if (!out[i])
          attempt(i, [&] {
            times[i].push_back(timer_(device, choice.rows[i], [&] { run(context, i); }));
            best = std::min(best, times[i].back());
          });
      for (size_t i = 0; i < choice.rows.size(); ++i)  // one that is hopeless is not timed again
        out[i] = out[i] || times[i].back() > 3 * best;
    }
    own.cublas = context.cublas, own.cudnn = context.cudnn, own.onednn = context.onednn;
    saved.put_back();
  } catch (const kernels::Error& error) {
    runtime.stream_synchronize(device.stream());  // throws where the device failed, and not memory for the copies
    messages_.push_back(fmt::format("kernels: {} could not be timed: {}", choice.pass, error.what()));
    return choice.usual;
  }

  size_t winner = choice.usual;
  std::vector<double> medians(choice.rows.size(), HUGE_VAL);
  json microseconds = json::object();
  for (size_t i = 0; i < choice.rows.size(); ++i) {
    if (times[i].empty()) continue;
    medians[i] = median(times[i]);
    microseconds[choice.rows[i]] = std::round(1e7 * medians[i]) / 10;
  }
  for (size_t i = 0; i < choice.rows.size(); ++i)
    if (medians[i] < (winner == choice.usual ? (1 - margin) * medians[winner] : medians[winner])) winner = i;
  taken = choice.rows[winner];
  timed_[choice.pass] = {{"row", taken}, {"microseconds", std::move(microseconds)}};
  faster_ += winner != choice.usual;
  seconds_ += seconds_since(start);
  return winner;
}

// ---- what is kept

json Tuner::record() const { return {{"device", device_name_}, {"rows", taken_}}; }

bool Tuner::resume(const json& record) {
  if (record.at("device").get<std::string>() != device_name_) return false;
  taken_ = record.at("rows").get<Rows>();
  return true;
}

// {machine: {pass: {"row": name, "microseconds": {name: number}}}}; empty where there is no file, or `problem` says
// what is wrong with it.
json Tuner::read_file(std::string* problem) const {
  std::error_code error;
  if (file_.empty() || !std::filesystem::exists(file_, error)) return json::object();
  try {
    const std::vector<unsigned char> bytes = io::read_file(file_);
    const json all = json::parse(bytes.begin(), bytes.end());
    if (!all.is_object() || all.value("format", "") != format_name || all.value("version", 0) != format_version) {
      *problem = "it is no file of kernel times, or of another version";
      return json::object();
    }
    const json& machines = all.at("machines");
    if (!machines.is_object()) {
      *problem = "its machines are no object";
      return json::object();
    }
    for (const auto& [machine, entries] : machines.items())
      for (const auto& [pass, entry] : entries.items()) entry.at("row").get<std::string>();
    return machines;
  } catch (const InputError& unreadable) {
    *problem = unreadable.what();
  } catch (const json::exception& damaged) {
    *problem = fmt::format("it is damaged ({})", damaged.what());
  }
  return json::object();
}

std::vector<std::string> Tuner::save() {
  if (!timed_.empty()) {
    std::string kept = "kept nowhere: there is no cache folder";
    if (!file_.empty()) {
      kept = fmt::format("kept in {}", file_.string());
      try {
        std::string problem;
        json machines = read_file(&problem);  // one that is damaged counts as empty
        json& entries = machines[machine_];
        for (const auto& [pass, entry] : timed_.items())
          if (!entries.contains(pass) || !entry["microseconds"].contains(entries[pass]["row"])) entries[pass] = entry;
        std::filesystem::create_directories(file_.parent_path());
        const json all = {{"format", format_name}, {"version", format_version}, {"machines", std::move(machines)}};
        io::write_file(file_, all.dump(1, ' ', false, json::error_handler_t::replace) + "\n");
      } catch (const std::exception& error) {  // engine::Error, std::filesystem::filesystem_error
        kept = fmt::format("not kept: {}", error.what());
      }
    }
    messages_.push_back(
        fmt::format("kernels: {} passes timed in {:.2f} s, {} of them faster by another row than the "
                    "usual one; {}",
                    timed_.size(), seconds_, faster_, kept));
    timed_ = json::object();
    seconds_ = 0, faster_ = 0;
  }
  return std::exchange(messages_, {});
}

std::string tuning_name(const Device& device) {
  const DeviceProperties p = device.runtime().properties();
  if (device.type() == DeviceType::cpu) return fmt::format("{}, {} threads", p.name, simt::threads());
  return fmt::format("{}, {} multiprocessors, compute capability {}", p.name, p.multiprocessors, p.compute_capability);
}

}  // namespace engine
