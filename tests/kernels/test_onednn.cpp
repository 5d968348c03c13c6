// oneDNN runs on the calling thread, not on a stream: under capture its rows must still become part of the graph.
#include <simt/simt.h>

#include "kernels/harness.h"
#include "kernels/pointwise_conv/pointwise_conv.h"

using kernels::PointwiseConv, kernels::PointwiseConvShape;

#ifdef MOBILENET_ONEDNN
extern "C" int omp_get_max_threads();

TEST_CASE("oneDNN has as many threads as our own kernels", "[onednn]") {
  if (test::device_under_test() != test::DeviceType::cpu) return;
  const int before = simt::threads();
  for (const PointwiseConv& row : kernels::implementations<PointwiseConv>(test::DeviceType::cpu)) {
    if (row.name != std::string("onednn")) continue;
    test::current_case = {PointwiseConv::operation, row.name, 0};
    const PointwiseConvShape s{64, 8, 8};
    test::Random random{1};
    const auto x = random.floats(64 * 8), w = random.floats(64);
    const test::Array<float> dx(x), dw(w);
    std::vector<double> expected(64 * 8), magnitude(64 * 8);
    kernels::reference::pointwise_conv_forward(s, test::to_double(x).data(), test::to_double(w).data(),
                                               expected.data());
    kernels::reference::pointwise_conv_forward(s, test::absolute(x).data(), test::absolute(w).data(), magnitude.data());
    for (const int threads : {1, 3, 2}) {
      simt::set_threads(threads);
      const test::Array<float> dy(64 * 8);
      row.forward(test::context(0), s, dx, dw, dy);
      CHECK(omp_get_max_threads() == threads);
      test::check_sum(dy.read(), expected, magnitude, 8);
    }
  }
  simt::set_threads(before);
}
#endif

TEST_CASE("a oneDNN row is replayed with its graph", "[onednn]") {
  if (test::device_under_test() != test::DeviceType::cpu) return;
  for (const PointwiseConv& row : kernels::implementations<PointwiseConv>(test::DeviceType::cpu)) {
    if (row.name != std::string("onednn")) continue;
    const engine::Runtime& runtime = engine::runtime(test::DeviceType::cpu);
    const PointwiseConvShape s{5, 3, 4};
    test::current_case = {PointwiseConv::operation, row.name, 0};
    test::Random random{1};
    const auto first = random.floats(15), second = random.floats(15), w = random.floats(12);
    const test::Array<float> x(first);
    const test::Array<float> dw(w), dy(20);
    const auto expect = [&](const std::vector<float>& x) {
      std::vector<double> y(20), magnitude(20);
      kernels::reference::pointwise_conv_forward(s, test::to_double(x).data(), test::to_double(w).data(), y.data());
      kernels::reference::pointwise_conv_forward(s, test::absolute(x).data(), test::absolute(w).data(),
                                                 magnitude.data());
      test::check_sum(dy.read(), y, magnitude, 3);
    };

    kernels::Context context;
    context.stream = runtime.stream_create();
    runtime.capture_begin(context.stream);
    row.forward(context, s, x, dw, dy);
    size_t nodes = 0;
    void* graph = runtime.capture_end(context.stream, &nodes);
    CHECK(nodes == 1);
    CHECK(context.launches == 1);
    CHECK(std::isnan(dy.read()[0]));  // nothing ran yet
    runtime.graph_launch(graph, context.stream);
    expect(first);
    runtime.copy(x, second.data(), 15 * sizeof(float), engine::CopyKind::host_to_device, context.stream);
    runtime.graph_launch(graph, context.stream);
    expect(second);
    runtime.graph_destroy(graph);
    runtime.stream_destroy(context.stream);
  }
}
