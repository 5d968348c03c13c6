// mobilenet bench kernels: every row of every operation's table, checked and then timed on a network's layers.

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <simt/simt.h>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "build_info.h"
#include "engine/io/file.h"
#include "kernels/common/bf16.h"
#include "tools/bench.h"
#include "tools/bench_shapes.h"
#include "tools/bench_timing.h"
#include "tools/options.h"
#include "tools/progress.h"

namespace tools::bench {
namespace {

using nlohmann::json;

struct Options {
  std::vector<std::string> operations, passes, rows = {"all"};  // empty: all
  std::string shapes = "mobilenet_v1", device = "auto", clock = "device", html;
  int batch = 0, repeat = 10, threads = 0, orders = 1;
  double reference_flops = 1e8;
  JsonOption json;
};

constexpr double most_seconds = 2;  // of the timed runs of one row on one shape, but for the first 3

// One element, as it lies in memory.
std::array<unsigned char, 4> encode(Element element, double value) {
  std::array<unsigned char, 4> bytes{};
  const auto store = [&](auto x) { std::memcpy(bytes.data(), &x, sizeof x); };
  if (element == Element::real) store(static_cast<float>(value));
  if (element == Element::integer) store(static_cast<int32_t>(value));
  if (element == Element::bf16) store(kernels::to_bf16(static_cast<float>(value)));
  return bytes;
}

std::vector<double> decode(Element element, const std::vector<unsigned char>& bytes) {
  std::vector<double> numbers(bytes.size() / size_of(element));
  const auto load = [&](auto x, size_t i) {
    std::memcpy(&x, &bytes[i * sizeof x], sizeof x);
    return x;
  };
  for (size_t i = 0; i < numbers.size(); ++i)
    numbers[i] = element == Element::real      ? static_cast<double>(load(float{}, i))
                 : element == Element::integer ? load(int32_t{}, i)
                                               : static_cast<double>(kernels::to_float(load(kernels::Bf16{}, i)));
  return numbers;
}

// Arrays in device memory, with what they hold at first.
class Data {
 public:
  Data(engine::Device& device, const Arrays& arrays) : device_(device), arrays_(arrays) {
    std::mt19937 random(1);
    for (const Array& array : arrays) {
      const size_t size = size_of(array.element);
      buffers_.emplace_back(device, size * array.count);
      pointers_.push_back(buffers_.back().data());
      drawn_.emplace_back(array.use == Use::out ? 0 : size * array.count);
      const double range = array.high - array.low + (array.element == Element::integer ? 1 : 0);
      for (size_t at = 0; at < drawn_.back().size(); at += size) {
        const double value = array.low + range * (static_cast<double>(random() >> 8) * 0x1p-24);
        std::memcpy(&drawn_.back()[at], encode(array.element, value).data(), size);
      }
    }
    reset();
  }

  const std::vector<void*>& pointers() const { return pointers_; }

  // What is read as it was drawn; what is only written, NaN (0xFF bytes): an element that a row forgets shows.
  void reset() {
    const engine::Runtime& runtime = device_.runtime();
    for (size_t i = 0; i < arrays_.size(); ++i) {
      if (arrays_[i].use == Use::out)
        runtime.fill(pointers_[i], 0xFF, buffers_[i].bytes(), device_.stream());
      else
        runtime.copy(pointers_[i], drawn_[i].data(), buffers_[i].bytes(), engine::CopyKind::host_to_device,
                     device_.stream());
    }
    device_.synchronize();
  }

  Numbers drawn() const {
    Numbers numbers;
    for (size_t i = 0; i < arrays_.size(); ++i)
      numbers.push_back(arrays_[i].use == Use::out ? std::vector<double>(arrays_[i].count)
                                                   : decode(arrays_[i].element, drawn_[i]));
    return numbers;
  }
  std::vector<unsigned char> read(size_t i) const {
    std::vector<unsigned char> bytes(buffers_[i].bytes());
    device_.runtime().copy(bytes.data(), pointers_[i], bytes.size(), engine::CopyKind::device_to_host,
                           device_.stream());
    device_.synchronize();
    return bytes;
  }

 private:
  engine::Device& device_;
  Arrays arrays_;
  std::vector<engine::Buffer> buffers_;
  std::vector<void*> pointers_;
  std::vector<std::vector<unsigned char>> drawn_;
};

struct Result {
  const Operation* operation;
  const Pass* pass;
  const LayerShape* shape;
  RowInfo row;
  int64_t checked_batch;
  std::string wrong;  // empty where it is right
  double worst;       // the largest error, as a share of what is allowed
  double bytes, flops;
  Quartiles time;  // of no runs where it is wrong, or --repeat is 0
};

// While it lives, emulated threads run in that order.
struct ThreadOrder {
  explicit ThreadOrder(int seed) { simt::set_order_seed(seed); }
  ~ThreadOrder() { simt::set_order_seed(0); }
};

// One pass on one shape: the reference, for all rows. It is slow, so it is asked for no more than so many operations; a
// pass that does more is checked at a smaller batch of the same layer.
class Check {
 public:
  Check(engine::Device& device, const LayerShape& shape, const Pass& pass, double most_reference_flops)
      : device_(device), pass_(pass), values_(shape.values) {
    AnyShape any = shape.operation->make(values_);
    const double flops = pass.flops(any.get());
    if (flops > most_reference_flops && std::string(shape.operation->fields[0]) == "batch") {
      const auto share = static_cast<int64_t>(static_cast<double>(values_[0]) * most_reference_flops / flops);
      values_[0] = std::min(values_[0], std::max<int64_t>(share, 2));  // batch norm needs two values
    }
    shape_ = shape.operation->make(values_);
    arrays_ = pass.arrays(shape_.get());
    data_ = std::make_unique<Data>(device, arrays_);
    before_ = data_->drawn();
    expected_ = before_;
    pass.reference(shape_.get(), expected_);
  }

  int64_t batch() const { return values_[0]; }

  // Runs the row once in each of so many orders of threads; says what is wrong, and the largest error.
  std::string run(const RowInfo& row, int orders, double& worst) {
    if (allowed_.count(row.precision) == 0)
      allowed_[row.precision] = pass_.allowed(shape_.get(), before_, expected_, row.precision);
    const Numbers& allowances = allowed_[row.precision];
    const auto work = pass_.prepare(device_, row.name, shape_.get(), data_->pointers());
    const auto results = [&](int order) {
      const ThreadOrder in_order(order);
      data_->reset();
      work();
      std::vector<std::vector<unsigned char>> bytes(arrays_.size());
      for (size_t i = 0; i < arrays_.size(); ++i)
        if (arrays_[i].use != Use::in) bytes[i] = data_->read(i);
      return bytes;
    };
    const auto first_results = results(0);
    worst = 0;
    std::string wrong;
    for (int order = 1; order < orders; ++order)
      if (results(order) != first_results) wrong = fmt::format("other bits in thread order {}", order);
    for (size_t i = 0; i < arrays_.size(); ++i) {
      if (arrays_[i].use == Use::in) continue;
      const std::vector<double> actual = decode(arrays_[i].element, first_results[i]);
      size_t count = 0, first = 0;
      for (size_t k = 0; k < actual.size(); ++k) {
        const double error = std::fabs(actual[k] - expected_[i][k]), allowed = allowances[i][k];
        if (error <= allowed) {
          if (error > 0) worst = std::max(worst, error / allowed);
        } else if (count++ == 0) {  // NaN too
          first = k;
        }
      }
      if (count > 0 && wrong.empty())
        wrong = fmt::format("{} of {} elements of {} differ; element {} is {:.9g}, expected {:.9g} within {:.2g}",
                            count, actual.size(), arrays_[i].name, first, actual[first], expected_[i][first],
                            allowances[i][first]);
    }
    return wrong;
  }

 private:
  engine::Device& device_;
  const Pass& pass_;
  Values values_;
  AnyShape shape_;
  Arrays arrays_;
  std::unique_ptr<Data> data_;
  Numbers before_, expected_;
  std::map<kernels::Precision, Numbers> allowed_;
};

// A product of the run itself may be the fastest one.
void raise_by(Roofline& roofline, const std::vector<Result>& results) {
  for (const Result& r : results)
    if (r.time.runs > 0 && std::string(r.operation->name) == "pointwise_conv")
      raise(roofline, {0, r.flops / r.time.least, r.row.name});
}

json to_json(const Result& r, const Roofline& roofline) {
  json shape;
  for (size_t i = 0; i < r.shape->values.size(); ++i) shape[r.operation->fields[i]] = r.shape->values[i];
  json j = {{"operation", r.operation->name},
            {"pass", r.pass->name},
            {"row", r.row.name},
            {"provider", r.row.provider == kernels::Provider::native ? "native" : "vendor"},
            {"shape", shape},
            {"layers", r.shape->layers},
            {"bytes", r.bytes},
            {"flops", r.flops},
            {"floor_seconds", roofline.floor(r.bytes, r.flops)},
            {"correct", r.wrong.empty()},
            {"checked_batch", r.checked_batch},
            {"worst_error", r.worst}};
  if (!r.wrong.empty()) j["wrong"] = r.wrong;
  if (r.time.runs > 0) {
    j["seconds"] = to_json(r.time);
    j["gb_per_second"] = 1e-9 * r.bytes / r.time.median;
    j["gflop_per_second"] = 1e-9 * r.flops / r.time.median;
    j["share_of_roofline"] = roofline.floor(r.bytes, r.flops) / r.time.median;
  }
  return j;
}

// A row over all layers that it was timed on.
struct Rung {
  const Operation* operation;
  const Pass* pass;
  RowInfo row;
  int layers = 0, of_layers = 0;
  double seconds = 0, bytes = 0, flops = 0, floor = 0;
  double naive_seconds = 0;  // of the row `naive` on the same layers; 0 where it was not timed
};

std::vector<Rung> ladder(const std::vector<Result>& results, const Roofline& roofline) {
  std::map<std::pair<const Pass*, const LayerShape*>, double> naive;
  std::map<const Pass*, std::map<const LayerShape*, int>> layers;
  for (const Result& r : results) {
    layers[r.pass][r.shape] = static_cast<int>(r.shape->layers.size());
    if (r.time.runs > 0 && std::string(r.row.name) == "naive") naive[{r.pass, r.shape}] = r.time.median;
  }
  std::vector<Rung> rungs;
  for (const Result& r : results) {
    if (r.time.runs == 0) continue;
    auto rung = std::find_if(rungs.begin(), rungs.end(),
                             [&](const Rung& x) { return x.pass == r.pass && std::string(x.row.name) == r.row.name; });
    if (rung == rungs.end()) {
      rungs.push_back({r.operation, r.pass, r.row});
      rung = rungs.end() - 1;
      for (const auto& [shape, count] : layers[r.pass]) rung->of_layers += count;
    }
    const int n = static_cast<int>(r.shape->layers.size());
    rung->layers += n;
    rung->seconds += n * r.time.median;
    rung->bytes += n * r.bytes;
    rung->flops += n * r.flops;
    rung->floor += n * roofline.floor(r.bytes, r.flops);
    rung->naive_seconds += n * naive[{r.pass, r.shape}];
  }
  return rungs;
}

// The order of the table, also where a row was first met on a later shape.
void sort_ladder(std::vector<Rung>& rungs, engine::DeviceType device) {
  const auto all = kernels::all_rows(device);
  const auto place = [&](const Rung& r) {
    const auto& names = all.at(r.operation->name);
    return std::find(names.begin(), names.end(), r.row.name) - names.begin();
  };
  std::vector<const Pass*> order;
  for (const Rung& r : rungs)
    if (std::find(order.begin(), order.end(), r.pass) == order.end()) order.push_back(r.pass);
  std::stable_sort(rungs.begin(), rungs.end(), [&](const Rung& a, const Rung& b) {
    const auto pass_a = std::find(order.begin(), order.end(), a.pass),
               pass_b = std::find(order.begin(), order.end(), b.pass);
    return pass_a != pass_b ? pass_a < pass_b : place(a) < place(b);
  });
}

json to_json(const Rung& r) {
  json j = {{"operation", r.operation->name},
            {"pass", r.pass->name},
            {"row", r.row.name},
            {"idea", r.row.idea},
            {"provider", r.row.provider == kernels::Provider::native ? "native" : "vendor"},
            {"layers", r.layers},
            {"of_layers", r.of_layers},
            {"seconds", r.seconds},
            {"floor_seconds", r.floor},
            {"bytes", r.bytes},
            {"flops", r.flops},
            {"gb_per_second", 1e-9 * r.bytes / r.seconds},
            {"gflop_per_second", 1e-9 * r.flops / r.seconds},
            {"share_of_roofline", r.floor / r.seconds}};
  if (r.naive_seconds > 0) j["times_naive"] = r.naive_seconds / r.seconds;
  return j;
}

std::string rate(double per_second) { return fmt::format("{:.1f}", 1e-9 * per_second); }
std::string percent(double share) { return fmt::format("{:.0f} %", 100 * share); }

// The results of one pass on one shape.
void print_block(const std::vector<Result>& all, size_t begin, const Roofline& roofline) {
  const Result& first = all[begin];
  const auto& layers = first.shape->layers;
  fmt::print("\n{} {}: {}  ({}{})\n", first.operation->name, first.pass->name, describe(*first.shape), layers.front(),
             layers.size() > 1 ? fmt::format(" and {} more", layers.size() - 1) : "");
  fmt::print("must move {:.2f} MB and do {:.2f} MFLOP, in at least {}\n", 1e-6 * first.bytes, 1e-6 * first.flops,
             time_text(roofline.floor(first.bytes, first.flops)));
  fmt::print("  {:<14} {:>9} {:>21} {:>8} {:>9} {:>10}  {}\n", "row", "median", "quartiles", "GB/s", "GFLOP/s",
             "of roofline", "against the reference");
  for (size_t i = begin; i < all.size() && all[i].pass == first.pass && all[i].shape == first.shape; ++i) {
    const Result& r = all[i];
    const std::string check = !r.wrong.empty() ? "WRONG: " + r.wrong
                              : r.checked_batch == r.shape->values[0]
                                  ? "right"
                                  : fmt::format("right at batch {}", r.checked_batch);
    if (r.time.runs == 0) {
      fmt::print("  {:<14} {:>9} {:>21} {:>8} {:>9} {:>10}  {}\n", r.row.name, "—", "", "", "", "", check);
      continue;
    }
    fmt::print("  {:<14} {:>9} {:>21} {:>8} {:>9} {:>10}  {}\n", r.row.name, time_text(r.time.median),
               fmt::format("{} … {}", time_text(r.time.low), time_text(r.time.high)), rate(r.bytes / r.time.median),
               rate(r.flops / r.time.median), percent(roofline.floor(r.bytes, r.flops) / r.time.median), check);
  }
}

void print_ladder(const std::vector<Rung>& rungs) {
  const Pass* pass = nullptr;
  for (const Rung& r : rungs) {
    if (r.pass != pass) {
      fmt::print("\n{} {}, all layers\n", r.operation->name, r.pass->name);
      fmt::print("  {:<14} {:>8} {:>9} {:>8} {:>9} {:>11} {:>8}\n", "row", "layers", "sum", "GB/s", "GFLOP/s",
                 "of roofline", "naive/it");
      pass = r.pass;
    }
    fmt::print("  {:<14} {:>8} {:>9} {:>8} {:>9} {:>11} {:>8}\n", r.row.name,
               fmt::format("{}/{}", r.layers, r.of_layers), time_text(r.seconds), rate(r.bytes / r.seconds),
               rate(r.flops / r.seconds), percent(r.floor / r.seconds),
               r.naive_seconds > 0 ? fmt::format("{:.1f}", r.naive_seconds / r.seconds) : "—");
  }
}

bool among(const std::vector<std::string>& words, const std::string& word) {
  return words.empty() || words.front() == "all" || std::find(words.begin(), words.end(), word) != words.end();
}

// Throws UsageError where a word is none of the names.
void require_known(const char* option, const std::vector<std::string>& words, const std::vector<std::string>& names) {
  for (const std::string& word : words)
    if (word != "all" && std::find(names.begin(), names.end(), word) == names.end())
      throw UsageError(fmt::format("{} {}: none of all, {}", option, word, fmt::join(names, ", ")));
}

void check_names(const Options& o, engine::DeviceType device) {
  std::vector<std::string> names, passes, rows;
  const auto add = [](std::vector<std::string>& to, const std::string& name) {
    if (std::find(to.begin(), to.end(), name) == to.end()) to.push_back(name);
  };
  for (const Operation& operation : operations()) names.push_back(operation.name);
  require_known("--op", o.operations, names);
  const auto all = kernels::all_rows(device);
  for (const Operation& operation : operations()) {
    if (!among(o.operations, operation.name)) continue;
    for (const Pass& pass : operation.passes) add(passes, pass.name);
    for (const std::string& row : all.at(operation.name)) add(rows, row);
  }
  require_known("--pass", o.passes, passes);
  require_known("--rows", o.rows, rows);
}

// What there is to do: a pass on a shape, in the order of operations and passes.
struct Task {
  const Pass* pass;
  const LayerShape* shape;
};

std::vector<Task> tasks_of(const Options& o, const std::vector<LayerShape>& shapes) {
  std::vector<Task> tasks;
  for (const Operation& operation : operations()) {
    if (!among(o.operations, operation.name)) continue;
    for (const Pass& pass : operation.passes) {
      if (!among(o.passes, pass.name)) continue;
      for (const LayerShape& shape : shapes)
        if (shape.operation == &operation) tasks.push_back({&pass, &shape});
    }
  }
  if (tasks.empty())
    throw UsageError(fmt::format("--shapes {}: has no shape of the operations and passes asked for", o.shapes));
  return tasks;
}

int run(const Options& o) {
  if (o.threads > 0) simt::set_threads(o.threads);
  engine::Device& device = engine::device(engine::parse_device(o.device));
  check_names(o, device.type());
  const Clock clock = parse_clock(o.clock, device);
  const std::vector<LayerShape> shapes = load_shapes(o.shapes, o.batch);
  const std::vector<Task> tasks = tasks_of(o, shapes);

  Progress progress;
  ColdCache cache(device);
  Stopwatch stopwatch(device, clock);
  Roofline roofline = measure_roofline(device, stopwatch, cache);
  std::vector<Result> results;
  for (size_t t = 0; t < tasks.size(); ++t) {
    const Pass& pass = *tasks[t].pass;
    const LayerShape& shape = *tasks[t].shape;
    const AnyShape any = shape.operation->make(shape.values);
    std::vector<RowInfo> rows;
    for (const RowInfo& row : pass.rows(device.type(), any.get()))
      if (among(o.rows, row.name)) rows.push_back(row);
    if (rows.empty()) continue;
    const Arrays arrays = pass.arrays(any.get());
    const double bytes = bytes_of(arrays), flops = pass.flops(any.get());
    const size_t begin = results.size();
    const auto attempt = [](Result& r, const auto& what) {  // a row that fails is wrong; the others go on
      try {
        what();
      } catch (const kernels::Error& error) {
        r.wrong = fmt::format("it failed: {}", error.what());
      }
    };
    {
      Check check(device, shape, pass, o.reference_flops);
      for (const RowInfo& row : rows) {
        Result r = {shape.operation, &pass, &shape, row, check.batch(), "", 0, bytes, flops, {}};
        attempt(r, [&] { r.wrong = check.run(row, o.orders, r.worst); });
        results.push_back(std::move(r));
      }
    }
    if (o.repeat > 0) {
      const Data data(device, arrays);
      for (size_t i = begin; i < results.size(); ++i) {
        ProgressState state;
        state.label = fmt::format("{} {} {}", shape.operation->name, pass.name, results[i].row.name);
        state.done = static_cast<int64_t>(t), state.total = static_cast<int64_t>(tasks.size());
        progress.show(state);
        if (!results[i].wrong.empty()) continue;
        attempt(results[i], [&] {
          const auto work = pass.prepare(device, results[i].row.name, any.get(), data.pointers());
          results[i].time = time_cold(stopwatch, cache, o.repeat, most_seconds, work);
        });
      }
    }
  }
  progress.clear();
  raise(roofline, measure_roofline(device, stopwatch, cache));
  raise_by(roofline, results);
  std::vector<Rung> rungs = ladder(results, roofline);
  sort_ladder(rungs, device.type());
  if (!o.json.alone()) {
    print_head(device, roofline);
    for (size_t i = 0; i < results.size(); ++i)
      if (i == 0 || results[i].pass != results[i - 1].pass || results[i].shape != results[i - 1].shape)
        print_block(results, i, roofline);
    print_ladder(rungs);
  }

  const auto wrong = std::count_if(results.begin(), results.end(), [](const Result& r) { return !r.wrong.empty(); });
  json j = {{"bench", "kernels"},
            {"version", build::version},
            {"compiler", build::compiler},
            {"date", today()},
            {"device", device_json(device)},
            {"clock", o.clock},
            {"shapes", o.shapes},
            {"batch", o.batch},
            {"roofline", to_json(roofline)},
            {"results", json::array()},
            {"ladder", json::array()},
            {"wrong", wrong}};
  for (const Result& r : results) j["results"].push_back(to_json(r, roofline));
  for (const Rung& r : rungs) j["ladder"].push_back(to_json(r));
  if (!o.html.empty()) engine::io::write_file(o.html, kernels_page(j));
  write_json(o.json, j);
  if (wrong == 0) return 0;
  for (const Result& r : results)
    if (!r.wrong.empty())
      print_message(fmt::format("mobilenet bench kernels: {}={} {} [{}] is wrong: {}", r.operation->name, r.row.name,
                                r.pass->name, describe(*r.shape), r.wrong));
  return exit_failure;
}

}  // namespace

Command add_kernels(CLI::App& bench) {
  CLI::App* app = bench.add_subcommand("kernels", "Check and time every implementation of the operations");
  const auto o = std::make_shared<Options>();
  app->add_option("--op", o->operations, "operations, separated by commas; all where none is given")->delimiter(',');
  app->add_option("--pass", o->passes, "passes, such as forward,backward_data; all where none is given")
      ->delimiter(',');
  app->add_option("--rows", o->rows, "implementations by name, or all; `mobilenet info` lists them")
      ->delimiter(',')
      ->capture_default_str();
  app->add_option("--shapes", o->shapes,
                  "mobilenet_v1, mobilenet_v1_025 (width 0.25), either with _224 behind it (resolution 224), or a file "
                  "of shapes (see benchmarks/shapes)")
      ->capture_default_str();
  app->add_option("--batch", o->batch, "images a batch of every shape; 0: as the shapes say")
      ->check(whole_number(0, most_images_in_batch))
      ->capture_default_str();
  app->add_option("--device", o->device, device_help)->check(one_of({"auto", "cpu", "cuda"}))->capture_default_str();
  app->add_option("--threads", o->threads, threads_help)->check(whole_number(0, 1024))->capture_default_str();
  app->add_option("--repeat", o->repeat,
                  "timed runs of a row on a shape; fewer, but 3, where they take more than 2 s; 0: only check")
      ->check(whole_number(0, 100'000))
      ->capture_default_str();
  app->add_option(
         "--orders", o->orders,
         "check each row under so many orders of threads and blocks, which must give the same bits (on the CPU: "
         "a GPU has an order of its own)")
      ->check(whole_number(1, 1000))
      ->capture_default_str();
  app->add_option("--reference-flops", o->reference_flops,
                  "operations of the reference, which is slow; a pass that does more is checked at a smaller batch")
      ->check(positive_number())
      ->capture_default_str();
  add_clock_option(*app, o->clock);
  app->add_option("--html", o->html, "write a page with a roofline plot and the ladders as bars");
  add_json_option(*app, o->json);
  return {app, [o] { return run(*o); }};
}

}  // namespace tools::bench
