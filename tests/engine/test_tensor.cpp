#include <optional>
#include <utility>

#include "engine/device/run.h"
#include "engine/tensor/tensor.h"
#include "kernels/relu6/relu6.h"
#include "support.h"

using namespace engine;

TEST_CASE("tensors hold what was written, in each type", "[tensor]") {
  if (!test::device_present()) return;
  const std::vector<float> floats = {1, -2, 3.5f, 4, 5, 6};
  const Tensor t = Tensor::from_host(floats, {2, 3}, test::device());
  CHECK(t.shape() == Shape{2, 3});
  CHECK(t.count() == 6);
  CHECK(t.bytes() == 24);
  CHECK(t.size(1) == 3);
  CHECK(t.dtype() == DType::float32);
  CHECK(t.to_host<float>() == floats);
  CHECK(Tensor::from_host<int32_t>({-7}, {1}, test::device()).item<int32_t>() == -7);
  CHECK(Tensor::from_host<uint8_t>({0, 255}, {2}, test::device()).to_host<uint8_t>() == std::vector<uint8_t>{0, 255});
  CHECK(Tensor::zeros({3}, test::device()).to_host<float>() == std::vector<float>(3));

  Tensor filled = Tensor::empty({2, 2}, test::device(), DType::int32);
  filled.fill(-3);
  CHECK(filled.to_host<int32_t>() == std::vector<int32_t>(4, -3));
  filled.fill(0);
  CHECK(filled.to_host<int32_t>() == std::vector<int32_t>(4, 0));
}

TEST_CASE("a tensor is a handle, a view shares its memory, a copy does not", "[tensor]") {
  if (!test::device_present()) return;
  Tensor t = Tensor::from_host<float>({1, 2, 3, 4}, {2, 2}, test::device());
  Tensor same = t, view = t.view({4, 1}), copy = t.copy_to(test::device());
  same.fill(9);
  CHECK(t.to_host<float>() == std::vector<float>(4, 9));
  CHECK(view.to_host<float>() == std::vector<float>(4, 9));
  CHECK(copy.to_host<float>() == std::vector<float>{1, 2, 3, 4});
  CHECK(view.shares_memory_with(t));
  CHECK_FALSE(copy.shares_memory_with(t));
  t.copy_from(copy);
  CHECK(view.to_host<float>() == std::vector<float>{1, 2, 3, 4});
}

TEST_CASE("a tensor of no elements", "[tensor]") {
  if (!test::device_present()) return;
  Tensor t = Tensor::zeros({0, 5}, test::device());
  t.fill(1);
  CHECK(t.count() == 0);
  CHECK(t.to_host<float>().empty());
  CHECK(t.data() == nullptr);
}

TEST_CASE("misuse of a tensor says what and with which shapes", "[tensor]") {
  if (!test::device_present()) return;
  Tensor t = Tensor::zeros({2, 3}, test::device());
  test::check_message(test::message_of([&] { t.data<int32_t>(); }), {"float32 (2, 3)", "int32"});
  test::check_message(test::message_of([&] { t.item<float>(); }), {"(2, 3)"});
  test::check_message(test::message_of([&] { t.size(2); }), {"(2, 3)", "no dimension 2", "engine/tensor/tensor.cpp:"});
  test::check_message(test::message_of([&] { t.view({4}); }), {"(2, 3)", "(4)"});
  test::check_message(test::message_of([&] {
                        t.copy_from(Tensor::zeros({3, 2}, test::device()));
                      }),
                      {"(2, 3)", "(3, 2)"});
  test::check_message(test::message_of([&] { t.write<float>(std::vector<float>(5)); }), {"5 values", "(2, 3)"});
  test::check_message(test::message_of([&] { Tensor().shape(); }), {"undefined tensor"});
  test::check_message(test::message_of([&] { Tensor::empty({-1, 2}, test::device()); }), {"(-1, 2)", "negative"});
  test::check_message(test::message_of([&] { Tensor::empty({INT64_MAX, 2}, test::device()); }), {"too many elements"});
  Tensor ints = Tensor::zeros({2}, test::device(), DType::int32);
  test::check_message(test::message_of([&] { ints.set_requires_grad(true); }), {"int32 (2)", "cannot have a gradient"});
}

TEST_CASE("words for devices", "[device]") {
  CHECK(parse_device("cpu") == DeviceType::cpu);
  CHECK(parse_device("auto") == best_device());
  test::check_message(test::message_of<InputError>([] { parse_device("gpu"); }), {"\"gpu\"", "auto, cpu, cuda"});
  if (best_device() == DeviceType::cpu) {
    test::check_message(test::message_of<InputError>([] { parse_device("cuda"); }), {"device cuda", "cpu works"});
    test::check_message(test::message_of<InputError>([] { device(DeviceType::cuda); }), {"device cuda", "cpu works"});
  }
}

TEST_CASE("events time, and graphs replay, what lies on the device's stream", "[device]") {
  if (!test::device_present()) return;
  Device& d = device(test::device());
  Tensor x = Tensor::from_host<float>({-1, 3, 7}, {3}, test::device()), y = Tensor::zeros({3}, test::device());
  const auto work = [&] { run(d, &kernels::Relu6::forward, kernels::Relu6Shape{3}, x.data<float>(), y.data<float>()); };
  work();
  Graph graph(d, work);
  x.write<float>(std::vector<float>{1, 2, -3});
  Event start(d), end(d);
  start.record();
  graph.launch();
  end.record();
  CHECK(end.milliseconds_since(start) >= 0);
  CHECK(y.to_host<float>() == std::vector<float>{1, 2, 0});
  x.write<float>(std::vector<float>{9, 9, 9});
  graph.launch();
  CHECK(y.to_host<float>() == std::vector<float>{6, 6, 6});

  // A capture that fails leaves the stream usable.
  const auto failing = [&] {
    work();
    throw Error("test", "on purpose");
  };
  test::check_message(test::message_of([&] { Graph(d, failing); }), {"on purpose"});
  work();
  CHECK(y.to_host<float>() == std::vector<float>{6, 6, 6});
}

TEST_CASE("a graph's memory and workspace are its own, whatever runs between its launches", "[device]") {
  if (!test::device_present()) return;
  Device& d = device(test::device());
  constexpr int64_t n = 1000;
  const Tensor x = Tensor::from_host(std::vector<float>(n, 4.0f), {n}, test::device());
  const Tensor y = Tensor::zeros({n}, test::device());
  const auto relu6 = [&](const Tensor& from, const Tensor& to) {
    run(d, &kernels::Relu6::forward, kernels::Relu6Shape{n}, from.data<float>(), to.data<float>());
  };
  const auto work = [&] {  // through a tensor that is gone afterwards
    const Tensor between = Tensor::empty({n}, test::device());
    relu6(x, between);
    relu6(between, y);
  };
  d.context(1 << 16);  // some workspace, which the graph keeps
  const int64_t launches = d.launches();
  work();
  const int64_t eager = d.launches() - launches;
  const engine::MemoryStats before = d.allocator().stats();
  std::optional<Graph> graph(std::in_place, d, work);
  CHECK(graph->nodes() == static_cast<size_t>(eager));
  CHECK(d.launches() == launches + 2 * eager);
  CHECK(graph->memory() == Allocator::size_class(n * sizeof(float)));
  CHECK(d.allocator().stats().held() == before.held());
  CHECK(d.allocator().stats().pooled == graph->memory());

  // As many tensors of that size as there are, and a workspace larger than ever: none of them may be the graph's.
  std::vector<Tensor> others;
  for (int i = 0; i < 8; ++i) others.push_back(Tensor::from_host(std::vector<float>(n, 7.0f), {n}, test::device()));
  const void* workspace = d.context(1).workspace;
  d.context(2 * d.context(1).workspace_bytes);
  CHECK(d.context(1).workspace != workspace);
  std::vector<Tensor> more;
  for (int i = 0; i < 8; ++i)
    more.push_back(Tensor::empty({static_cast<int64_t>(d.context(1).workspace_bytes) / 8}, test::device()));
  for (const Tensor& t : more) CHECK(t.data() != workspace);
  const int64_t allocations = d.allocator().stats().allocations, waits = d.synchronizations();
  const int64_t graphs = d.graph_launches();
  graph->launch();
  CHECK(d.graph_launches() == graphs + 1);
  CHECK(d.allocator().stats().allocations == allocations);
  CHECK(d.synchronizations() == waits);
  CHECK(y.to_host<float>() == std::vector<float>(n, 4.0f));
  for (const Tensor& t : others) CHECK(t.to_host<float>() == std::vector<float>(n, 7.0f));

  graph.reset();
  CHECK(d.allocator().stats().pooled == 0);
  // What was not run before finds no memory, and the device stays usable.
  d.allocator().empty_cache();
  test::check_message(test::message_of([&] { Graph(d, work); }), {"run once before"});
  work();
  CHECK(y.to_host<float>() == std::vector<float>(n, 4.0f));
}

TEST_CASE("a kernel that cannot be launched says operation, row and shape", "[device]") {
  if (!test::device_present()) return;
  Device& d = device(test::device());
  const kernels::Policy before = std::exchange(d.policy, kernels::parse_policy("native", d.type()));
  Tensor x = Tensor::zeros({1}, test::device());
  const auto launch = [&] {  // a grid of no blocks
    run(d, &kernels::Relu6::forward, kernels::Relu6Shape{0}, x.data<float>(), x.data<float>());
  };
  test::check_message(test::message_of(launch), {"relu6=", "0 elements", to_string(test::device())});
  d.policy = before;
}
