#include "kernels/add/add.h"
#include "kernels/harness.h"

using kernels::Add, kernels::AddShape;

// 4096 elements are a block of the vectorised rung.
TEST_CASE("add forward", "[add]") {
  const std::vector<AddShape> awkward = {{1},    {2},    {3},    {4},    {5},    {31},    {33},
                                         {1023}, {1025}, {4095}, {4096}, {4099}, {12289}, {50000}};
  const auto draw = [](test::Random& random) { return AddShape{random.between(1, 20000)}; };
  test::for_each_case(&Add::forward, awkward, 10, draw, [](const Add& row, const AddShape& s, test::Random& random) {
    const auto a = random.floats(s.count), b = random.floats(s.count, -1e3, 1e3);
    std::vector<double> expected(s.count);
    kernels::reference::add_forward(s, test::to_double(a).data(), test::to_double(b).data(), expected.data());
    const double rounding = 0x1p-24;  // of one addition
    test::Outputs outputs;
    for (const int offset : {0, 1}) {
      const test::Array<float> device_a(a, offset), device_b(b), device_y(s.count);
      row.forward(test::context(row.workspace(s)), s, device_a, device_b, device_y);
      test::check_close(device_y.read(), expected, rounding, 0);
      outputs.push_back(device_y.read());
      // In place.
      row.forward(test::context(row.workspace(s)), s, device_a, device_b, device_a);
      test::check_close(device_a.read(), expected, rounding, 0);
      const test::Array<float> fresh_a(a, offset);
      row.forward(test::context(row.workspace(s)), s, fresh_a, device_b, device_b);
      test::check_close(device_b.read(), expected, rounding, 0);
    }
    return outputs;
  });
}
