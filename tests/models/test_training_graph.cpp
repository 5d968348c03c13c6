// A training step as a captured graph: the same bits as the step itself, one node a launch, and nothing allocated or
// waited for when it is replayed. On the CPU, or with $MOBILENET_TEST_DEVICE=cuda on a GPU.
#include <cmath>
#include <cstring>
#include <optional>
#include <string>

#include <simt/simt.h>
#include "catch.h"
#include "engine/autograd/functions.h"
#include "engine/device/run.h"
#include "engine/optim/optimizer.h"
#include "engine/support.h"
#include "kernels/augment/augment.h"
#include "kernels/common/table.h"
#include "kernels/loss_totals/loss_totals.h"
#include "models/mobilenet_v1.h"

using namespace engine;

namespace {

constexpr int64_t batch = 4, resolution = 32;

// oneDNN and plain loops, or cuDNN and cuBLASLt; but augment's loop is for a loader's threads: it puts nothing on the
// stream.
constexpr const char* vendor = "vendor,augment=staged";

// What a step works on, at addresses that stay.
struct Trainer {
  Device& d;
  nn::Init init;
  models::MobileNetV1 model;
  optim::Optimizer optimizer;
  Tensor bytes, items, labels, epoch, totals, guard;

  explicit Trainer(Device& device)
      : d(device),
        init{.device = device.type(), .seed = 3},
        model(init, {.width = 0.25, .resolution = resolution}),
        optimizer(model.parameters(), {.max_norm = 1, .ema_decay = 0.9f}, model.buffers()),
        bytes(Tensor::empty({batch, resolution, resolution, 3}, device.type(), DType::uint8)),
        items(Tensor::zeros({batch}, device.type(), DType::int32)),
        labels(Tensor::zeros({batch}, device.type(), DType::int32)),
        epoch(Tensor::zeros({1}, device.type(), DType::int32)),
        totals(Tensor::zeros({sizeof(kernels::TrainingTotals)}, device.type(), DType::uint8)),
        guard(Tensor::zeros({1}, device.type())) {}

  // Everything that differs from step to step, from the host.
  void load(int step) {
    std::vector<uint8_t> images(bytes.count());
    for (size_t i = 0; i < images.size(); ++i)
      images[i] = static_cast<uint8_t>(i * 2654435761u >> (8 + step % 8));  // no two steps alike
    bytes.write<uint8_t>(images);
    items.write<int32_t>(std::vector<int32_t>{step, step + 10, step + 20, step + 30});
    labels.write<int32_t>(std::vector<int32_t>{step % 10, (step + 3) % 10, (step + 6) % 10, (step + 9) % 10});
    epoch.write<int32_t>(std::vector<int32_t>{step / 2});
    optimizer.lr = 1e-3f / static_cast<float>(1 + step);
    optimizer.begin_step();
  }

  void work() {
    const auto bits = [](const Tensor& t) { return reinterpret_cast<const uint32_t*>(t.data<int32_t>()); };
    kernels::AugmentOptions augment{.flip = 0.5f, .rotation = 10, .brightness = 0.2f, .contrast = 0.2f};
    const Tensor images = Tensor::empty(bytes.shape(), d.type());
    run(d, &kernels::Augment::forward, kernels::AugmentShape{batch, resolution, resolution, resolution, resolution},
        augment, uint64_t{5}, bits(epoch), bytes.data<uint8_t>(), nullptr, bits(items), images.data<float>());
    const CrossEntropyResult scored = cross_entropy(model(images), labels, 0.1f);
    optimizer.zero_grad();
    backward(scored.loss);
    run(d, &kernels::LossTotals::add, kernels::LossTotalsShape{batch}, scored.losses.data<float>(),
        scored.correct.data<int32_t>(), scored.loss.data<float>(), static_cast<kernels::TrainingTotals*>(totals.data()),
        guard.data<float>());
    optimizer.apply_step(guard);
  }

  // All that training changes.
  std::vector<std::vector<uint8_t>> state() {
    std::vector<std::vector<uint8_t>> all = {totals.to_host<uint8_t>()};
    for (const State& part : {model.parameters(), model.buffers(), optimizer.state_dict()})
      for (const NamedTensor& n : part) {
        const std::vector<float> values = n.tensor.to_host<float>();
        const auto* bytes = reinterpret_cast<const uint8_t*>(values.data());
        all.emplace_back(bytes, bytes + values.size() * sizeof(float));
      }
    return all;
  }
};

// Sets the device under test up, and puts it back.
struct Setting {
  Device& d = device(test::device());
  const kernels::Policy policy = d.policy;
  const int threads = simt::threads();
  Setting(const std::string& kernels, int n) {
    d.policy = kernels::parse_policy(kernels, d.type());
    simt::set_threads(n);
  }
  ~Setting() {
    d.policy = policy;
    simt::set_threads(threads);
  }
};

}  // namespace

TEST_CASE("a training step that is replayed gives the bits of the step itself, on any number of threads", "[gpu]") {
  if (!test::device_present()) return;
  const std::string rows = GENERATE(as<std::string>{}, "native", vendor);
  CAPTURE(rows);
  std::vector<std::vector<uint8_t>> expected;
  for (const int threads : {1, 3}) {
    const Setting setting(rows, threads);
    for (const bool replayed : {false, true}) {
      Trainer trainer(setting.d);
      std::optional<Graph> graph;
      for (int step = 0; step < 5; ++step) {
        trainer.load(step);
        if (graph) {
          graph->launch();
        } else {
          trainer.work();
          if (replayed) graph.emplace(setting.d, [&] { trainer.work(); });
        }
      }
      const auto state = trainer.state();
      if (expected.empty()) expected = state;
      CAPTURE(threads, replayed);
      CHECK((state == expected));
    }
  }
}

TEST_CASE("a captured training step is one node a launch, and its replay neither allocates nor waits", "[gpu]") {
  if (!test::device_present()) return;
  const std::string rows = GENERATE(as<std::string>{}, "native", vendor);
  CAPTURE(rows);
  const Setting setting(rows, 2);
  Device& d = setting.d;
  d.allocator().empty_cache();
  Trainer trainer(d);
  trainer.load(0);
  trainer.work();  // makes what is made once
  int64_t launches = d.launches();
  d.allocator().reset_peak();
  trainer.load(1);
  trainer.work();
  launches = d.launches() - launches;
  const MemoryStats eager = d.allocator().stats();

  Graph graph(d, [&] { trainer.work(); });
  CHECK(graph.nodes() > 100);  // each convolution, batch norm and ReLU6, forward and backward
  if (d.type() == DeviceType::cpu || rows == "native")
    CHECK(graph.nodes() == static_cast<size_t>(launches));
  else
    CHECK(graph.nodes() > static_cast<size_t>(launches));  // which those of cuBLAS and cuDNN are not among
  // What the step took and gave back is the graph's now: no more memory, and none of it lost.
  const MemoryStats captured = d.allocator().stats();
  CHECK(captured.held() == eager.held());
  CHECK(captured.runtime_allocations == eager.runtime_allocations);
  CHECK(captured.in_use == eager.in_use);
  CHECK(captured.peak == eager.peak);
  CHECK(captured.pooled == graph.memory());
  CHECK(graph.memory() <= eager.cached);

  const int64_t all = d.launches(), waits = d.synchronizations();
  for (int step = 2; step < 5; ++step) {
    trainer.load(step);
    graph.launch();
  }
  CHECK(d.launches() == all);  // the graph's own, and no more
  CHECK(d.synchronizations() == waits);
  CHECK(d.allocator().stats().allocations == captured.allocations);
  kernels::TrainingTotals totals;
  std::memcpy(&totals, trainer.totals.to_host<uint8_t>().data(), sizeof totals);
  CHECK(totals.steps == 5);
}

TEST_CASE("between two replays others may use the device, and neither meets the other's memory", "[gpu]") {
  if (!test::device_present()) return;
  const Setting setting("native", 2);
  const auto train = [&](bool disturbed) {
    Trainer trainer(setting.d);
    std::optional<Graph> graph;
    std::vector<Tensor> kept;
    for (int step = 0; step < 4; ++step) {
      trainer.load(step);
      if (graph) {
        graph->launch();
      } else {
        trainer.work();
        graph.emplace(setting.d, [&] { trainer.work(); });
      }
      if (!disturbed) continue;
      {
        const NoGrad no_grad;  // a test of more images than the step has, which wants a larger workspace
        trainer.model.eval();
        trainer.model(Tensor::zeros({3 * batch, resolution, resolution, 3}, setting.d.type())).to_host<float>();
        trainer.model.train();
      }
      // Of the sizes that a step's activations have.
      for (const int64_t channels : {8, 16, 32})
        kept.push_back(Tensor::from_host(std::vector<float>(batch * 1024 * channels, 3.0f),
                                         {batch, resolution, resolution, channels}, setting.d.type()));
    }
    for (const Tensor& t : kept) CHECK((t.to_host<float>() == std::vector<float>(t.count(), 3.0f)));
    return trainer.state();
  };
  CHECK((train(true) == train(false)));
}

TEST_CASE("behind the first step whose loss is no number, the steps of a graph change no weight", "[gpu]") {
  if (!test::device_present()) return;
  const Setting setting(vendor, 2);
  Trainer trainer(setting.d);
  trainer.load(0);
  trainer.work();
  Graph graph(setting.d, [&] { trainer.work(); });
  trainer.load(1);
  graph.launch();
  const auto before = trainer.state();
  // A weight that makes the next loss NaN, and is right again before the step after it.
  Tensor bias = trainer.model.classifier.bias;
  const std::vector<float> right = bias.to_host<float>();
  std::vector<float> wrong = right;
  wrong[0] = NAN;
  bias.write<float>(wrong);
  trainer.load(2);
  graph.launch();
  bias.write<float>(right);
  for (int step = 3; step < 6; ++step) {
    trainer.load(step);
    graph.launch();
  }
  kernels::TrainingTotals totals;
  std::memcpy(&totals, trainer.totals.to_host<uint8_t>().data(), sizeof totals);
  CHECK(totals.bad == 1);
  CHECK(totals.steps == 2);
  CHECK(std::isnan(totals.bad_loss));
  CHECK(std::isnan(trainer.guard.item<float>()));
  const auto after = trainer.state();
  const size_t parameters = trainer.model.parameters().size(), buffers = trainer.model.buffers().size();
  for (size_t i = 1; i < after.size(); ++i) {
    if (i > parameters && i <= parameters + buffers) continue;  // batch norm's running statistics go on
    CHECK((after[i] == before[i]));
  }
}
