// mobilenet bench step: how long a training step and an inference pass take, and where the time goes.

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "build_info.h"
#include "engine/autograd/functions.h"
#include "engine/optim/optimizer.h"
#include "tools/bench.h"
#include "tools/bench_operations.h"
#include "tools/bench_timing.h"
#include "tools/options.h"
#include "tools/train_options.h"

namespace tools::bench {
namespace {

using nlohmann::json;

struct Options {
  models::MobileNetV1Config config;
  DeviceOptions device;
  std::string clock = "device", graph = "on", block = "fused", roofline = "on";
  int batch = 128, steps = 10;
  bool inference = false;
  JsonOption json;
};

constexpr int warm_up_steps = 2;

// One pass of one step.
struct Call {
  std::string operation, pass, row, shape;
  double bytes = 0, flops = 0;  // 0: not counted
  double seconds = 0;
};

// Marks the time before and after every pass. The marks are events, so that the device is not made to wait.
class Profiler final : public engine::RunObserver {
 public:
  Profiler(Clock clock, double parameters) : clock_(clock), parameters_(parameters) { engine::run_observer = this; }
  ~Profiler() { engine::run_observer = nullptr; }
  Profiler(const Profiler&) = delete;

  void before(engine::Device& device, const engine::PassCall& call) override {
    Call c = {call.operation, fmt::format("pass at {}", call.pass), call.row, "", 0, 0, 0};
    if (const Pass* pass = find_pass(call)) {
      c.pass = pass->name;
      c.shape = pass->describe(call.shape);
      c.bytes = bytes_of(pass->arrays(call.shape));
      c.flops = pass->flops(call.shape);
      // Its last chunk of each parameter is not full, which its shape does not tell.
      if (c.operation == "adam") c.bytes = 7 * 4 * parameters_, c.flops = 12 * parameters_;
    }
    calls_.push_back(std::move(c));
    mark(device);
  }
  void after(engine::Device& device, const engine::PassCall&) override { mark(device); }

  // The calls since the last time, with what each took.
  std::vector<Call> take(engine::Device& device) {
    device.synchronize();
    for (size_t i = 0; i < calls_.size(); ++i)
      calls_[i].seconds = clock_ == Clock::device
                              ? 1e-3 * static_cast<double>(events_[2 * i + 1]->milliseconds_since(*events_[2 * i]))
                              : times_[2 * i + 1] - times_[2 * i];
    used_ = 0;
    times_.clear();
    return std::exchange(calls_, {});
  }

 private:
  void mark(engine::Device& device) {
    if (clock_ == Clock::processor) {
      times_.push_back(processor_seconds());
      return;
    }
    if (used_ == events_.size()) events_.push_back(std::make_unique<engine::Event>(device));
    events_[used_++]->record();
  }
  Clock clock_;
  double parameters_;
  std::vector<Call> calls_;
  std::vector<std::unique_ptr<engine::Event>> events_;
  size_t used_ = 0;
  std::vector<double> times_;
};

// All calls of one pass by one row.
struct Group {
  std::string operation, pass, row;
  int calls = 0;
  double seconds = 0, bytes = 0, flops = 0, floor = 0;
};

struct Measured {
  Quartiles time;
  int64_t launches = 0, nodes = 0;  // nodes: 0 without a graph
  size_t peak_memory = 0;
  double profiled_seconds = 0;  // median of the steps that were profiled, which have no graph
  std::vector<Call> calls;      // of one step, each with its median
};

// `work` puts a step's kernels on the device's stream; `prepare` does what a step needs outside of a graph.
Measured measure(const Options& o, engine::Device& device, Clock clock, double parameters,
                 const std::function<void()>& prepare, const std::function<void()>& work) {
  Measured m;
  Stopwatch stopwatch(device, clock);
  const auto eager = [&] {
    prepare();
    work();
  };
  device.allocator().reset_peak();
  eager();
  const int64_t before = device.launches();
  eager();
  m.launches = device.launches() - before;
  device.synchronize();

  {
    std::optional<engine::Graph> graph;
    if (o.graph == "on") {
      graph.emplace(device, work);
      m.nodes = static_cast<int64_t>(graph->nodes());
    }
    const auto step = [&] {
      prepare();
      if (graph)
        graph->launch();
      else
        work();
    };
    for (int i = 0; i < warm_up_steps; ++i) step();
    std::vector<double> seconds;
    for (int i = 0; i < o.steps; ++i) {
      stopwatch.start();
      step();
      seconds.push_back(stopwatch.stop());
    }
    m.time = quartiles(std::move(seconds));
    m.peak_memory = device.allocator().stats().peak;
  }

  Profiler profiler(clock, parameters);
  std::vector<std::vector<double>> times;
  std::vector<double> totals;
  for (int i = 0; i < warm_up_steps + o.steps; ++i) {
    stopwatch.start();
    eager();
    const double total = stopwatch.stop();
    std::vector<Call> calls = profiler.take(device);
    if (i < warm_up_steps) continue;
    totals.push_back(total);
    times.resize(calls.size());
    for (size_t k = 0; k < calls.size(); ++k) times[k].push_back(calls[k].seconds);
    m.calls = std::move(calls);
  }
  m.profiled_seconds = quartiles(std::move(totals)).median;
  for (size_t k = 0; k < m.calls.size(); ++k) m.calls[k].seconds = quartiles(std::move(times[k])).median;
  return m;
}

// The longest first.
std::vector<Group> groups_of(const std::vector<Call>& calls, const Roofline& roofline) {
  std::vector<Group> groups;
  for (const Call& c : calls) {
    auto group = std::find_if(groups.begin(), groups.end(), [&](const Group& g) {
      return g.operation == c.operation && g.pass == c.pass && g.row == c.row;
    });
    if (group == groups.end()) {
      groups.push_back({c.operation, c.pass, c.row});
      group = groups.end() - 1;
    }
    ++group->calls;
    group->seconds += c.seconds;
    group->bytes += c.bytes;
    group->flops += c.flops;
    group->floor += roofline.floor(c.bytes, c.flops);
  }
  std::stable_sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) { return a.seconds > b.seconds; });
  return groups;
}

Group sum_of(const std::vector<Group>& groups) {
  Group sum;
  for (const Group& g : groups) {
    sum.calls += g.calls;
    sum.seconds += g.seconds, sum.bytes += g.bytes, sum.flops += g.flops, sum.floor += g.floor;
  }
  return sum;
}

json to_json(const Measured& m, const Roofline& roofline, int batch) {
  json passes = json::array(), calls = json::array();
  const std::vector<Group> groups = groups_of(m.calls, roofline);
  for (const Group& g : groups) {
    json j = {{"operation", g.operation}, {"pass", g.pass},       {"row", g.row},
              {"calls", g.calls},         {"seconds", g.seconds}, {"share", g.seconds / m.profiled_seconds},
              {"bytes", g.bytes},         {"flops", g.flops},     {"floor_seconds", g.floor}};
    if (g.floor > 0) j["times_floor"] = g.seconds / g.floor;
    passes.push_back(std::move(j));
  }
  for (const Call& c : m.calls)
    calls.push_back({{"operation", c.operation},
                     {"pass", c.pass},
                     {"row", c.row},
                     {"shape", c.shape},
                     {"seconds", c.seconds},
                     {"bytes", c.bytes},
                     {"flops", c.flops},
                     {"floor_seconds", roofline.floor(c.bytes, c.flops)}});
  const Group sum = sum_of(groups);
  return {{"seconds", to_json(m.time)},
          {"images_per_second", batch / m.time.median},
          {"launches", m.launches},
          {"graph_nodes", m.nodes},
          {"peak_memory_bytes", m.peak_memory},
          {"bytes", sum.bytes},
          {"flops", sum.flops},
          {"floor_seconds", sum.floor},
          {"profiled_seconds", m.profiled_seconds},
          {"other_seconds", m.profiled_seconds - sum.seconds},
          {"passes", std::move(passes)},
          {"calls", std::move(calls)}};
}

void print(const char* what, const Measured& m, const Roofline& roofline, int batch) {
  fmt::print("\n{}: {} (quartiles {} … {}), {:.0f} images/s; {} launches{}, {:.0f} MB of device memory\n", what,
             time_text(m.time.median), time_text(m.time.low), time_text(m.time.high), batch / m.time.median, m.launches,
             m.nodes > 0 ? fmt::format(", a graph of {} nodes", m.nodes) : "",
             1e-6 * static_cast<double>(m.peak_memory));
  fmt::print("  {:<34} {:<14} {:>5} {:>9} {:>6} {:>9} {:>9} {:>9} {:>8}\n", "operation and pass", "row", "calls",
             "time", "share", "MB", "MFLOP", "floor", "×floor");
  const auto line = [&](const std::string& name, const Group& g) {
    fmt::print("  {:<34} {:<14} {:>5} {:>9} {:>4.0f} % {:>9.1f} {:>9.0f} {:>9} {:>8}\n", name, g.row, g.calls,
               time_text(g.seconds), 100 * g.seconds / m.profiled_seconds, 1e-6 * g.bytes, 1e-6 * g.flops,
               g.floor > 0 ? time_text(g.floor) : "—", g.floor > 0 ? fmt::format("{:.1f}", g.seconds / g.floor) : "—");
  };
  const std::vector<Group> groups = groups_of(m.calls, roofline);
  for (const Group& g : groups) line(g.operation + " " + g.pass, g);
  const Group sum = sum_of(groups);
  line("all passes", sum);
  fmt::print("  {:<34} {:<14} {:>5} {:>9} {:>4.0f} %\n", "outside of them", "", "",
             time_text(m.profiled_seconds - sum.seconds), 100 * (1 - sum.seconds / m.profiled_seconds));
}

int run(Options& o, const CLI::App& app) {
  engine::Device& device = open_device(o.device);
  const std::string message = resolve_block(o.block, o.config.convolutions, app, device);
  if (!message.empty()) print_message(message);
  const Clock clock = parse_clock(o.clock, device);
  std::optional<Measured> training, inference;
  Roofline roofline;
  const auto measure_ceiling = [&] {
    if (o.roofline == "off") return;
    Stopwatch stopwatch(device, clock);
    ColdCache cache(device);
    raise(roofline, measure_roofline(device, stopwatch, cache));
    if (device.policy.precision == kernels::Precision::bf16)
      raise(roofline, measure_roofline(device, stopwatch, cache, "forward_bf16"));
  };
  measure_ceiling();

  engine::nn::Init init{.device = device.type(), .seed = 1};
  models::MobileNetV1 model(init, o.config);
  double parameters = 0;
  for (const auto& p : model.parameters()) parameters += static_cast<double>(p.tensor.count());
  const engine::Tensor images =
      init.uniform({o.batch, o.config.resolution, o.config.resolution, 3}, 2);  // as normalised images are
  std::vector<int32_t> classes(o.batch);
  for (int i = 0; i < o.batch; ++i) classes[i] = i % o.config.classes;
  const auto labels = engine::Tensor::from_host(classes, {o.batch}, device.type());

  if (!o.inference) {
    model.fused = o.block == "fused";
    engine::optim::Optimizer optimizer(model.parameters(), {});
    const auto step = [&] {
      const engine::CrossEntropyResult result = engine::cross_entropy(model(images), labels);
      optimizer.zero_grad();
      engine::backward(result.loss);
      optimizer.apply_step(result.loss);
    };
    training = measure(
        o, device, clock, parameters, [&] { optimizer.begin_step(); }, step);
  }
  model.eval();
  const engine::NoGrad no_grad;
  // In the plain way batch norm and ReLU6 are passes of their own; else batch norm is folded into the weights.
  const models::FoldedMobileNetV1 folded(model);
  const auto pass = [&] { o.block == "fused" ? folded(images) : model(images); };
  const auto nothing = [] {};
  inference = measure(o, device, clock, parameters, nothing, pass);
  save_tuning(device);
  measure_ceiling();

  if (!o.json.alone()) {
    print_head(device, roofline);
    if (training) print("training step", *training, roofline, o.batch);
    print("inference", *inference, roofline, o.batch);
  }
  json j = {{"bench", "step"},
            {"version", build::version},
            {"compiler", build::compiler},
            {"date", today()},
            {"device", device_json(device)},
            {"clock", o.clock},
            {"model", models::to_string(o.config.convolutions)},
            {"width", o.config.width},
            {"resolution", o.config.resolution},
            {"classes", o.config.classes},
            {"parameters", parameters},
            {"batch", o.batch},
            {"kernels", o.device.kernels},
            {"tune", o.device.tune},
            {"graph", o.graph},
            {"block", o.block},
            {"roofline", to_json(roofline)},
            {"inference", to_json(*inference, roofline, o.batch)}};
  if (training) j["training"] = to_json(*training, roofline, o.batch);
  write_json(o.json, j);
  return 0;
}

}  // namespace

Command add_step(CLI::App& bench) {
  CLI::App* app = bench.add_subcommand("step", "Time a training step and inference, and say where the time goes");
  const auto o = std::make_shared<Options>();
  app->add_option("--batch", o->batch, "images a step")
      ->check(whole_number(1, most_images_in_batch))
      ->capture_default_str();
  app->add_option("--steps", o->steps, "timed steps, after two to warm up")
      ->check(whole_number(1, 100'000))
      ->capture_default_str();
  app->add_flag("--inference", o->inference, "the inference pass alone");
  app->add_option("--graph", o->graph, "time the step as a captured graph; the profile never is one")
      ->check(one_of({"on", "off"}))
      ->capture_default_str();
  app->add_option("--roofline", o->roofline, "measure the device's ceilings too; off: no floors, and less memory")
      ->check(one_of({"on", "off"}))
      ->capture_default_str();
  app->add_option("--block", o->block, block_help)->check(one_of({"fused", "plain"}))->capture_default_str();
  add_network_options(*app, o->config);
  app->add_option_function<std::string>(
         "--model", [o](const std::string& name) { o->config.convolutions = models::parse_model(name); },
         "standard: the same network with standard convolutions")
      ->check(one_of({"mobilenet_v1", "standard"}))
      ->default_str("mobilenet_v1");
  add_options(*app, o->device);
  add_clock_option(*app, o->clock);
  add_json_option(*app, o->json);
  return {app, [o, app] { return run(*o, *app); }};
}

}  // namespace tools::bench
