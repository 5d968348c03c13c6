// The choice of the fastest row: on a table made for it, with a clock made for it, so that no test depends on a time.
#include "engine/device/tuner.h"

#include <algorithm>
#include <fstream>

#include <simt/simt.h>
#include "engine/device/run.h"
#include "engine/io/file.h"
#include "kernels/adam/adam.h"
#include "kernels/common/versions.h"
#include "support.h"

using namespace engine;
using kernels::Context, kernels::DeviceType, kernels::Precision, kernels::Provider;
using nlohmann::json;
using test::contains;

namespace tuner_test {

struct Shape {
  int n;
};
std::string describe(const Shape& s) { return std::to_string(s.n) + " numbers"; }

// y[i] = x[i] + what tells the rows apart; sum += Σ y, as batch norm's statistics move; z = z + x, in place.
struct Row {
  static constexpr const char* operation = "tested";
  const char* name;
  Provider provider;
  bool (*supports)(const Shape&);
  size_t (*workspace)(const Shape&);
  void (*forward)(Context&, const Shape&, const float* x, float* y, float* sum);
  void (*add)(Context&, const Shape&, const float* x, float* z);
  Precision precision = Precision::fp32;
};

struct Arguments {
  int n;
  float mark;
  const float* x;
  float *y, *sum;
};

template <int mark>
void forward(Context& context, const Shape& s, const float* x, float* y, float* sum) {
  const Arguments arguments = {s.n, mark, x, y, sum};
  const auto task = [](const void* p, int64_t) {
    const Arguments& a = *static_cast<const Arguments*>(p);
    for (int i = 0; i < a.n; ++i) *a.sum += a.y[i] = a.x[i] + a.mark;
  };
  if (simt::launch_tasks(static_cast<simt::cudaStream_t>(context.stream), 1, task, &arguments, sizeof arguments) !=
      simt::cudaSuccess)
    throw kernels::Error("launch_tasks");
}
void in_place(Context& context, const Shape& s, const float* x, float* z) {
  const Arguments arguments = {s.n, 0, x, z, nullptr};
  const auto task = [](const void* p, int64_t) {
    const Arguments& a = *static_cast<const Arguments*>(p);
    for (int i = 0; i < a.n; ++i) a.y[i] += a.x[i];
  };
  if (simt::launch_tasks(static_cast<simt::cudaStream_t>(context.stream), 1, task, &arguments, sizeof arguments) !=
      simt::cudaSuccess)
    throw kernels::Error("launch_tasks");
}
void fails(Context&, const Shape&, const float*, float*, float*) { throw kernels::Error("it cannot"); }
// Throws where the workspace is not the one that it asks for.
void demands(Context& context, const Shape& s, const float* x, float* y, float* sum) {
  if (context.workspace == nullptr || context.workspace_bytes < 1 << 20) throw kernels::Error("no workspace");
  forward<5>(context, s, x, y, sum);
}

bool any(const Shape&) { return true; }
bool even(const Shape& s) { return s.n % 2 == 0; }
size_t none(const Shape&) { return 0; }
size_t much(const Shape&) { return 1 << 20; }

const Row table[] = {
    {"emulated", Provider::native, any, none, forward<1>, in_place},
    {"plain", Provider::vendor, any, none, forward<2>, in_place},
    {"swift", Provider::vendor, even, none, forward<3>, in_place},
    {"usual", Provider::vendor, even, none, forward<4>, in_place},
    {"rough", Provider::vendor, even, much, demands, nullptr, Precision::tf32},
};

}  // namespace tuner_test

namespace kernels {
template <>
std::span<const tuner_test::Row> rows<tuner_test::Row, DeviceType::cpu>() {
  return tuner_test::table;
}
template <>
std::span<const tuner_test::Row> rows<tuner_test::Row, DeviceType::cuda>() {
  return tuner_test::table;
}
}  // namespace kernels

namespace {

using tuner_test::Row;

// The CPU device with a Tuner whose clock says what the test wants; as it was afterwards.
struct Setting {
  Device& d = device(DeviceType::cpu);
  const kernels::Policy policy = d.policy;
  std::map<std::string, double> seconds = {
      {"emulated", 0.01}, {"plain", 3}, {"swift", 1}, {"usual", 2}, {"rough", 0.5}};
  std::vector<std::string> timed;  // rows, in the order in which they were

  ~Setting() {
    d.policy = policy;
    d.tuner = nullptr;
  }
  Tuner& tuner(const std::filesystem::path& file = {}, bool times = true, const std::string& name = "machine",
               const std::string& versions = "1") {
    timed.clear();
    d.tuner = std::make_shared<Tuner>(name, versions, file, times,
                                      [this](Device&, const char* row, const std::function<void()>& work) {
                                        work();
                                        timed.emplace_back(row);
                                        return seconds.at(row);
                                      });
    return *d.tuner;
  }
  // The row that forward takes, by what it computes.
  std::string row(int n = 4) {
    const Tensor x = Tensor::zeros({n}, d.type()), y = Tensor::zeros({n}, d.type()), sum = Tensor::zeros({1}, d.type());
    run(d, &Row::forward, tuner_test::Shape{n}, x.data<float>(), y.data<float>(), sum.data<float>());
    const std::vector<float> values = y.to_host<float>();
    CHECK(sum.item<float>() == static_cast<float>(n) * values[0]);  // added once, however often it was timed
    return std::vector<std::string>{"", "emulated", "plain", "swift", "usual", "rough"}.at(
        static_cast<size_t>(values[0]));
  }
  size_t times_timed(const std::string& row) const { return std::count(timed.begin(), timed.end(), row); }
};

json read_json(const std::filesystem::path& path) {
  const auto bytes = io::read_file(path);
  return json::parse(bytes.begin(), bytes.end());
}

const char* const four = "tested.forward fp32, 4 numbers";

}  // namespace

TEST_CASE("the fastest row is taken, and timed once", "[tuner]") {
  Setting s;
  CHECK(s.row() == "usual");  // without a Tuner, the table's last
  s.tuner();
  CHECK(s.row() == "swift");
  CHECK(s.times_timed("emulated") == 0);  // on the CPU, no native row is
  CHECK(s.times_timed("rough") == 0);     // nor one of a lower precision
  CHECK(s.times_timed("swift") >= 3);
  CHECK(s.times_timed("usual") == s.times_timed("swift"));
  CHECK(s.times_timed("plain") == s.times_timed("swift"));
  s.timed.clear();
  s.seconds["plain"] = 0.1;
  CHECK(s.row() == "swift");
  CHECK(s.timed.empty());
  CHECK(s.row(6) == "plain");  // another shape is timed anew
  CHECK(!s.timed.empty());
  CHECK(s.times_timed("usual") == 1);  // one that takes more than three times as long is not timed again
}

TEST_CASE("a row that is hardly faster does not displace the usual one", "[tuner]") {
  Setting s;
  s.tuner();
  s.seconds["swift"] = s.seconds["usual"] * (1 - 0.8 * Tuner::margin);
  CHECK(s.row() == "usual");
  s.seconds["swift"] = s.seconds["usual"] * (1 - 1.2 * Tuner::margin);
  CHECK(s.row(6) == "swift");
}

TEST_CASE("nothing is timed where a row or a provider is named, or there is one row", "[tuner]") {
  Setting s;
  s.tuner();
  s.d.policy.named["tested"] = "plain";
  CHECK(s.row() == "plain");
  s.d.policy = {kernels::Policy::Preference::vendor, {}};
  CHECK(s.row() == "usual");
  s.d.policy = {kernels::Policy::Preference::native, {}};
  CHECK(s.row() == "emulated");
  s.d.policy = {};
  CHECK(s.row(3) == "plain");  // of odd shapes there is no other
  CHECK(s.timed.empty());
  CHECK(s.row() == "swift");
  s.timed.clear();
  s.d.policy.named["tested"] = "plain";  // and wins over what was timed
  CHECK(s.row() == "plain");
  CHECK(s.timed.empty());
  CHECK(s.d.tuner->record()["rows"] == json{{four, "swift"}});
}

TEST_CASE("precision opens further rows, with times of its own", "[tuner]") {
  Setting s;
  s.tuner();
  CHECK(s.row() == "swift");
  s.d.policy.precision = Precision::tf32;
  CHECK(s.row() == "rough");  // which throws where it has no workspace
  CHECK(s.d.tuner->record()["rows"] == json{{four, "swift"}, {"tested.forward fp32 by tf32, 4 numbers", "rough"}});
}

TEST_CASE("winners are kept in a file, for the same device and versions only", "[tuner]") {
  const test::Folder folder;
  const std::filesystem::path file = folder / "new/folder/tuning.json";
  Setting s;
  s.tuner(file);
  CHECK(s.row() == "swift");
  const std::vector<std::string> messages = s.d.tuner->save();
  REQUIRE(messages.size() == 1);
  test::check_message(messages[0], {"1 passes timed", "1 of them", "kept in", file.c_str()});
  CHECK(s.d.tuner->save().empty());  // nothing new
  CHECK(read_json(file)["machines"]["machine; 1"][four]["row"] == "swift");

  s.seconds["plain"] = 0.4;
  s.tuner(file);
  CHECK(s.row() == "swift");
  CHECK(s.timed.empty());
  CHECK(s.d.tuner->save().empty());
  s.tuner(file, true, "machine", "2");
  CHECK(s.row() == "plain");
  s.d.tuner->save();
  s.tuner(file, true, "another");
  CHECK(s.row() == "plain");
  s.d.tuner->save();
  CHECK(read_json(file)["machines"].size() == 3);
  s.tuner(file);
  CHECK(s.row() == "swift");
  CHECK(s.timed.empty());

  s.tuner(file, false);  // --tune cached
  CHECK(s.row() == "swift");
  CHECK(s.row(6) == "usual");
  CHECK(s.timed.empty());
  CHECK(s.d.tuner->save().empty());
}

TEST_CASE("two at once: what one wrote, the other keeps", "[tuner]") {
  const test::Folder folder;
  const std::filesystem::path file = folder / "tuning.json";
  Setting s;
  s.tuner(file);
  const auto first = s.d.tuner;
  CHECK(s.row() == "swift");
  s.tuner(file);  // begins before the first has written
  s.seconds["plain"] = 0.4;
  CHECK(s.row() == "plain");
  CHECK(s.row(6) == "plain");
  first->save();
  s.d.tuner->save();
  const json kept = read_json(file)["machines"]["machine; 1"];
  CHECK(kept[four]["row"] == "swift");
  CHECK(kept["tested.forward fp32, 6 numbers"]["row"] == "plain");
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path), {}) == 1);  // nothing lies beside it
}

TEST_CASE("a file that is damaged, of another kind or not there is passed over, and written anew", "[tuner]") {
  const test::Folder folder;
  const std::filesystem::path file = folder / "tuning.json";
  const std::string content =
      GENERATE(as<std::string>{}, "", "{", "[]", "7", "{\"format\": 3}", "{\"format\": \"another\", \"version\": 1}",
               "{\"format\": \"mobilenet kernel times\", \"version\": 99, \"machines\": {}}",
               "{\"format\": \"mobilenet kernel times\", \"version\": 1, \"machines\": []}",
               "{\"format\": \"mobilenet kernel times\", \"version\": 1, \"machines\": {\"machine; 1\": {\"a\": 3}}}");
  CAPTURE(content);
  std::ofstream(file) << content;
  Setting s;
  s.tuner(file);
  CHECK(s.row() == "swift");
  const std::vector<std::string> messages = s.d.tuner->save();
  REQUIRE(messages.size() == 2);
  test::check_message(messages[0], {file.c_str(), "passed over"});
  test::check_message(messages[1], {"kept in"});
  s.tuner(file);
  CHECK(s.row() == "swift");
  CHECK(s.timed.empty());
  CHECK(s.d.tuner->save().empty());
}

TEST_CASE("a row that the file names and the table has not is timed anew and replaced", "[tuner]") {
  const test::Folder folder;
  const std::filesystem::path file = folder / "tuning.json";
  std::ofstream(file) << json{{"format", "mobilenet kernel times"},
                              {"version", 1},
                              {"machines", {{"machine; 1", {{four, {{"row", "gone"}}}}}}}};
  Setting s;
  s.tuner(file);
  CHECK(s.row() == "swift");
  CHECK(s.d.tuner->save().size() == 1);
  CHECK(read_json(file)["machines"]["machine; 1"][four]["row"] == "swift");
}

TEST_CASE("where no file can be written, rows are timed all the same", "[tuner]") {
  const test::Folder folder;
  std::ofstream(folder / "file") << "no folder";
  Setting s;
  for (const std::filesystem::path& file : {folder / "file/tuning.json", std::filesystem::path()}) {
    s.tuner(file);
    CHECK(s.row() == "swift");
    const std::vector<std::string> messages = s.d.tuner->save();
    REQUIRE(!messages.empty());
    CHECK(contains(messages.back(), file.empty() ? "kept nowhere" : "not kept"));
  }
}

TEST_CASE("a run that goes on takes the rows that it took, not the file's", "[tuner]") {
  const test::Folder folder;
  const std::filesystem::path file = folder / "tuning.json";
  Setting s;
  s.tuner();
  CHECK(s.row() == "swift");
  const json record = s.d.tuner->record();
  CHECK(record["device"] == "machine");

  s.seconds["plain"] = 0.4;
  s.tuner(file);
  CHECK(s.row() == "plain");
  s.d.tuner->save();
  s.tuner(file, true, "machine", "2");  // whatever the versions
  CHECK(s.d.tuner->resume(record));
  CHECK(s.d.tuner->record() == record);  // also those that it has not met again
  CHECK(s.row() == "swift");
  CHECK(s.timed.empty());

  s.tuner(file, true, "another");
  CHECK(!s.d.tuner->resume(record));
  CHECK(s.row() == "plain");
  CHECK_THROWS_AS(s.d.tuner->resume(json{{"device", "another"}}), json::exception);
}

TEST_CASE("a timed pass changes nothing that it was handed but as one run does", "[tuner]") {
  Setting s;
  s.tuner();
  const Tensor x = Tensor::from_host(std::vector<float>{1, 2, 3, 4}, {4}, s.d.type());
  // z within a larger tensor, as a norm's statistics are.
  const Tensor z = Tensor::from_host(std::vector<float>{9, 9, 9, 9, 10, 20, 30, 40, 9}, {9}, s.d.type());
  run(s.d, &Row::add, tuner_test::Shape{4}, x.data<float>(), z.data<float>() + 4);
  CHECK(s.timed.size() >= 6);
  CHECK(z.to_host<float>() == std::vector<float>{9, 9, 9, 9, 11, 22, 33, 44, 9});
  CHECK(x.to_host<float>() == std::vector<float>{1, 2, 3, 4});
}

TEST_CASE("memory that the allocator does not know is not timed into", "[tuner]") {
  Setting s;
  s.tuner();
  std::vector<float> x(4), z = {1, 2, 3, 4};
  run(s.d, &Row::add, tuner_test::Shape{4}, static_cast<const float*>(x.data()), z.data());
  s.d.synchronize();
  CHECK(s.timed.empty());
}

TEST_CASE("in a capture nothing is timed, nor does timing take the allocator's memory", "[tuner]") {
  Setting s;
  s.tuner();
  Tensor x = Tensor::zeros({4}, s.d.type()), y = Tensor::zeros({4}, s.d.type()), sum = Tensor::zeros({1}, s.d.type());
  const auto work = [&] {
    run(s.d, &Row::forward, tuner_test::Shape{4}, x.data<float>(), y.data<float>(), sum.data<float>());
  };
  SECTION("a pass that was not met before runs by the usual row, then and later") {
    Graph graph(s.d, work);
    graph.launch();
    CHECK(y.to_host<float>()[0] == 4);
    CHECK(s.row() == "usual");
    CHECK(s.timed.empty());
    CHECK(s.d.tuner->save().empty());  // and is not kept
  }
  SECTION("one that ran before is captured by the row that won") {
    const MemoryStats before = s.d.allocator().stats();
    work();
    const MemoryStats after = s.d.allocator().stats();
    CHECK(after.held() == before.held());
    CHECK(after.peak == before.peak);
    CHECK(after.runtime_allocations == before.runtime_allocations);
    Graph graph(s.d, work);
    CHECK(graph.nodes() == 1);
    graph.launch();
    CHECK(y.to_host<float>()[0] == 3);
    CHECK(sum.item<float>() == 2 * 4 * 3);
  }
}

TEST_CASE("a row that fails while it is timed is left out, with a message", "[tuner]") {
  Setting s;
  Tuner& tuner = s.tuner();
  const Tensor y = Tensor::zeros({4}, s.d.type());
  Written written(s.d);
  written.add(y.data());
  const size_t winner = tuner.find(s.d, {"a pass", {"swift", "usual"}, 1}, written, 0, [&](Context& context, size_t i) {
    if (i == 0) return tuner_test::fails(context, {4}, nullptr, nullptr, nullptr);
  });
  CHECK(winner == 1);
  CHECK(s.times_timed("swift") == 0);
  const std::vector<std::string> messages = tuner.save();
  REQUIRE(messages.size() == 2);
  test::check_message(messages[0], {"swift", "a pass", "it cannot"});
}

TEST_CASE("what an optimiser's chunks point to is put back", "[tuner]") {
  Device& d = device(DeviceType::cpu);
  std::vector<Tensor> arrays;
  for (float value : {1, 2, 3, 4, 5})
    arrays.push_back(Tensor::from_host(std::vector<float>(100, value), {100}, d.type()));
  const auto at = [&](size_t i) { return arrays[i].data<float>(); };
  const kernels::OptimizerChunk chunks[] = {{at(0), at(1), at(2), at(3), at(4), 100, 0}};
  const auto* bytes = reinterpret_cast<const uint8_t*>(chunks);
  const Tensor table = Tensor::from_host(std::vector<uint8_t>(bytes, bytes + sizeof chunks), {sizeof chunks}, d.type());
  Setting s;
  Tuner& tuner = s.tuner();
  Written written(d);
  note_written(written, kernels::OptimizerShape{1}, static_cast<const kernels::OptimizerChunk*>(table.data()));
  CHECK(written.all_known());
  tuner.find(d, {"a step", {"swift", "usual"}, 1}, written, 0, [&](Context&, size_t) {
    for (const Tensor& t : arrays) std::fill_n(t.data<float>(), 100, -1.0f);
  });
  CHECK(!s.timed.empty());
  for (size_t i = 0; i < arrays.size(); ++i)
    if (i != 1) CHECK(arrays[i].to_host<float>() == std::vector<float>(100, static_cast<float>(i + 1)));
}

TEST_CASE("events time a pass, on the device's own clock", "[tuner]") {
  if (!test::device_present()) return;
  Device& d = device(test::device());
  int runs = 0;
  const double seconds = Tuner::time_by_events(d, "", [&] { ++runs; });
  CHECK(seconds >= 0);
  CHECK(runs >= 1);
  CHECK(contains(tuning_name(d), d.runtime().properties().name));
  CHECK(contains(kernels::versions(d.type()), "kernels "));
}
