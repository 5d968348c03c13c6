// `--kernels auto`: which of the rows that can run a pass is the fastest on this device, at this shape. run() asks a
// device's Tuner the first time that it meets a pass; what it finds is kept for the process, for a run that goes on
// later (record(), resume()), and in a file for other processes (save()).
//
// A winner is timed on the arguments of the pass at hand. What the pass may write is saved before and put back after,
// so that a timed pass changes nothing: no running statistic, no weight, no sum. All scratch memory is the runtime's
// own and is given back at once: the allocator's cache, the workspace and a later capture are as without a Tuner.
//
// Times differ from run to run, and rows may differ in their last bits. So that equal seeds give equal bits:
//   - the row that kernels::choose() names stays unless another is faster by more than its noise (`margin`);
//   - a row that was taken once is taken until the process ends;
//   - what the file holds stays: who finds a pass there times nothing, and save() overwrites no entry;
//   - a run records the rows that it took, and goes on with them wherever the file went.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "engine/device/device.h"

namespace kernels {
struct AdamOptions;
struct AugmentOptions;
struct FusedNorm;
struct OptimizerChunk;
struct OptimizerInputs;
struct OptimizerShape;
struct SgdOptions;
}  // namespace kernels

namespace engine {

// What a pass may write: addresses within the allocator's memory.
class Written {
 public:
  explicit Written(Device& device) : device_(device) {}
  void add(const void* address);                 // nullptr: nothing
  bool all_known() const { return all_known_; }  // false: of some the allocator does not know, so it cannot be saved
  // n objects of device memory, on the host.
  template <class T>
  std::vector<T> read(const T* from, size_t n) const {
    std::vector<T> values(n);
    device_.runtime().copy(values.data(), from, n * sizeof(T), CopyKind::device_to_host, device_.stream());
    device_.runtime().stream_synchronize(device_.stream());
    return values;
  }

  // Copies of the memory around all of them, in memory of the runtime's; put back when it ends.
  class Saved;

 private:
  Device& device_;
  std::map<std::byte*, size_t> blocks_;
  bool all_known_ = true;
};

// What a pass may write through one of its arguments, by its type.
template <class Shape, class T>
void note_written(Written& written, const Shape&, T* pointer) {
  if constexpr (!std::is_const_v<T>) written.add(pointer);
}
template <class Shape, class T>
requires std::is_arithmetic_v<T>
void note_written(Written&, const Shape&, const T&) {}
template <class Shape>
void note_written(Written&, const Shape&, std::nullptr_t) {}
template <class Shape>
void note_written(Written&, const Shape&, const kernels::AdamOptions&) {}
template <class Shape>
void note_written(Written&, const Shape&, const kernels::SgdOptions&) {}
template <class Shape>
void note_written(Written&, const Shape&, const kernels::AugmentOptions&) {}
template <class Shape>
void note_written(Written&, const Shape&, const kernels::OptimizerInputs&) {}
void note_written(Written&, const kernels::FusedNorm&);
template <class Shape>
void note_written(Written& written, const Shape&, const kernels::FusedNorm& norm) {
  note_written(written, norm);
}
// The parameters and moments that the chunks, in device memory, point to.
void note_written(Written&, const kernels::OptimizerShape&, const kernels::OptimizerChunk* chunks);

class Tuner {
 public:
  // Seconds that one run of `work`, which puts a pass by this row on the device's stream, takes. `work` may be called
  // several times.
  using Timer = std::function<double(Device&, const char* row, const std::function<void()>& work)>;
  static double time_by_events(Device&, const char* row, const std::function<void()>& work);

  // A pass, and the rows that can run it, in the table's order.
  struct Choice {
    std::string pass;  // operation, pass, types and shape, in words: "relu6.forward fp32, 4096 elements"
    std::vector<const char*> rows;
    size_t usual;  // of these, kernels::choose()'s
  };

  // device_name, versions: whose times the file's are; of others it keeps them, but takes none. `file`: "" for none.
  // times: false takes what is known and times nothing.
  Tuner(std::string device_name, std::string versions, std::filesystem::path file, bool times,
        Timer timer = time_by_events);

  // The row of choice.rows that was taken before, or the run that goes on took, or the file has; -1: none is known.
  int known(const Choice&);
  // Times them; the device's usual row where it must not (a capture, written.all_known() is false) or cannot. run(c, i)
  // puts the pass by row i on the stream, in the context c, whose workspace has that many bytes. Throws
  // kernels::Error where the device failed.
  size_t find(Device&, const Choice&, const Written&, size_t workspace_bytes,
              const std::function<void(kernels::Context&, size_t row)>& run);

  // {"device": …, "rows": {pass: row}}: all that were taken so far.
  nlohmann::json record() const;
  // Takes these rows from now on, as far as they can run what they are asked for. False, and nothing, where they are of
  // another device. Throws nlohmann::json::exception for what record() did not make.
  bool resume(const nlohmann::json& record);

  // Adds what was timed since the last call to the file, which another process may have written meanwhile. Returns what
  // the user should hear, in lines: how long the timing took, and what was wrong with the file.
  std::vector<std::string> save();

  static constexpr double margin = 0.05;  // by which a row must be faster than the usual one

 private:
  using Rows = std::map<std::string, std::string>;  // pass → row
  nlohmann::json read_file(std::string* problem) const;
  std::string device_name_, machine_;  // the latter with the versions
  std::filesystem::path file_;
  bool times_;
  Timer timer_;
  Rows taken_, in_file_;
  nlohmann::json timed_ = nlohmann::json::object();  // since the last save(): the file's entries
  std::vector<std::string> messages_;
  double seconds_ = 0;  // that timing took since the last save()
  int faster_ = 0;      // winners since then that are not the usual row
};

// The name and threads that a device's times depend on: "AMD EPYC 9654, 2 threads".
std::string tuning_name(const Device&);

}  // namespace engine
