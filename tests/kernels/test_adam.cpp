#include "kernels/adam/adam.h"

#include <algorithm>

#include "kernels/harness.h"

using kernels::Adam, kernels::AdamOptions, kernels::OptimizerChunk, kernels::OptimizerShape, kernels::SgdOptions;
namespace reference = kernels::reference;

namespace {

const std::vector<OptimizerShape> awkward = {{1}, {2}, {3}, {5}, {20}};
OptimizerShape draw(test::Random& random) { return {random.between(1, 40)}; }

// One parameter: `count` elements from `begin` on in the arrays of all parameters.
struct Parameter {
  int64_t begin;
  int count;
  float weight_decay;
};

// Parameters that make `chunks` chunks, most of them at odd addresses. Between two may be a gap, which no kernel may
// touch.
std::vector<Parameter> parameters(test::Random& random, int chunks) {
  std::vector<Parameter> list;
  int64_t end = 0;
  while (chunks > 0) {
    int count = random.one_of({1, 2, 3, 5, 7, 31, 33, 100, 1023, 1024, 4095, 4096, 4097, 9000});
    count = std::min(count, chunks * kernels::optimizer_chunk);
    const int64_t begin = random.between(0, 2) == 0 ? end : (end + 3) / 4 * 4;
    list.push_back({begin, count, random.one_of({0.0f, 0.01f, 0.1f})});
    end = begin + count;
    chunks -= (count + kernels::optimizer_chunk - 1) / kernels::optimizer_chunk;
  }
  return list;
}

// The values, gradients and moments of all parameters, on the device and, in double, for the reference; and the sizes
// of what the moments are sums of, to judge their rounding by.
struct State {
  std::vector<Parameter> list;
  int64_t count;
  std::vector<float> start, gradient;
  std::vector<double> value, m, v, m_size, v_size;
  test::Array<float> device_value, device_gradient, device_m, device_v;

  State(test::Random& random, std::vector<Parameter> l, float initial_m = 0)
      : list(std::move(l)),
        count(list.back().begin + list.back().count),
        start(random.floats(count, 0.5f, 1.5f)),  // away from 0, so that λθ is no small difference
        gradient(count),
        value(start.begin(), start.end()),
        m(count),
        v(count),
        m_size(count),
        v_size(count),
        device_value(start),
        device_gradient(count),
        device_m(std::vector<float>(count, initial_m)),
        device_v(std::vector<float>(count)) {}

  // Elements differ in the size of their gradient, from far below Adam's ε to far above.
  void draw_gradient(test::Random& random) {
    const float sizes[] = {1e-9f, 1e-6f, 1e-3f, 1, 30};
    for (int64_t i = 0; i < count; ++i) gradient[i] = sizes[i % 5] * random.uniform(-1, 1);
    const test::Array<float> fresh(gradient);
    engine::runtime(test::device_under_test())
        .copy(device_gradient, fresh, count * sizeof(float), engine::CopyKind::device_to_device, nullptr);
  }

  std::vector<OptimizerChunk> chunks() const {
    std::vector<OptimizerChunk> table;
    for (const Parameter& p : list)
      for (int i = 0; i < p.count; i += kernels::optimizer_chunk) {
        const int64_t at = p.begin + i;
        table.push_back({device_value + at, device_gradient + at, device_m + at, device_v + at,
                         std::min(kernels::optimizer_chunk, p.count - i), p.weight_decay});
      }
    return table;
  }
};

const float lr = 1e-2f;
const int steps = 5;
// A moment is a sum over the steps, and each term has some roundings of its own.
const double moment_terms = 4 * steps;

}  // namespace

TEST_CASE("adam and adamw", "[adam]") {
  test::for_each_case(
      &Adam::adam, awkward, 10, draw, [](const Adam& row, const OptimizerShape& s, test::Random& random) {
        AdamOptions options;
        options.lr = lr;
        options.decoupled_weight_decay = random.between(0, 1) == 1;
        State state(random, parameters(random, s.chunks));
        const test::Array<OptimizerChunk> chunks(state.chunks());
        for (options.step = 1; options.step <= steps; ++options.step) {
          state.draw_gradient(random);
          row.adam(test::context(row.workspace(s)), s, chunks, options);
          for (const Parameter& p : state.list) {
            const auto gradient = test::to_double(state.gradient);
            for (int64_t i = p.begin; i < p.begin + p.count; ++i) {
              const double l2 = options.decoupled_weight_decay ? 0 : p.weight_decay * std::fabs(state.value[i]);
              const double size = std::fabs(gradient[i]) + l2;
              state.m_size[i] = options.beta1 * state.m_size[i] + (1.0 - options.beta1) * size;
              state.v_size[i] = options.beta2 * state.v_size[i] + (1.0 - options.beta2) * size * size;
            }
            reference::adam(p.count, &state.value[p.begin], &gradient[p.begin], &state.m[p.begin], &state.v[p.begin],
                            p.weight_decay, options);
          }
        }
        test::check_sum(state.device_m.read(), state.m, state.m_size, moment_terms);
        test::check_sum(state.device_v.read(), state.v, state.v_size, moment_terms);
        // A step rounds the value, which stays below 2, and has an update of at most a few lr, good to some 40 units.
        test::check_close(state.device_value.read(), state.value, 0, 0x1p-24 * steps * (2 + 40 * lr));
        return test::Outputs{state.device_value.read(), state.device_m.read(), state.device_v.read()};
      });
}

TEST_CASE("sgd with momentum", "[adam]") {
  test::for_each_case(
      &Adam::sgd, awkward, 10, draw, [](const Adam& row, const OptimizerShape& s, test::Random& random) {
        SgdOptions options;
        options.lr = lr;
        options.momentum = random.one_of({0.0f, 0.5f, 0.9f});
        options.nesterov = random.between(0, 1) == 1;
        State state(random, parameters(random, s.chunks), NAN);  // what the buffer holds before step 1 does not count
        const test::Array<OptimizerChunk> chunks(state.chunks());
        for (options.step = 1; options.step <= steps; ++options.step) {
          state.draw_gradient(random);
          row.sgd(test::context(row.workspace(s)), s, chunks, options);
          for (const Parameter& p : state.list) {
            const auto gradient = test::to_double(state.gradient);
            for (int64_t i = p.begin; i < p.begin + p.count; ++i)
              state.m_size[i] = options.momentum * state.m_size[i] + std::fabs(gradient[i]) +
                                p.weight_decay * std::fabs(state.value[i]);
            reference::sgd(p.count, &state.value[p.begin], &gradient[p.begin], &state.m[p.begin], p.weight_decay,
                           options);
          }
        }
        auto buffer = state.device_m.read();
        auto values = state.device_value.read();
        for (int64_t i = 0; i < state.count; ++i)
          if (state.m_size[i] == 0) {  // a gap
            CHECK(std::isnan(buffer[i]));
            buffer[i] = 0;
          }
        test::check_sum(buffer, state.m, state.m_size, moment_terms);
        // A step rounds the value, which stays below 8, and has an update of at most lr · 30 · steps, good to some
        // units.
        test::check_close(values, state.value, 0, 0x1p-24 * steps * (8 + 20 * lr * 30 * steps));
        return test::Outputs{values, buffer};
      });
}

// The same step on one chunk of 4000 elements and on the pieces that it is cut into, aligned or not.
TEST_CASE("optimisers: chunks make no difference", "[adam]") {
  const std::vector<OptimizerShape> shapes = {{1}};
  const auto check = [](const auto& run) {
    test::Outputs first;
    for (const std::vector<int>& ends : std::vector<std::vector<int>>{
             {4000}, {4, 4000}, {1, 4000}, {1, 2, 3, 4000}, {1001, 1024, 3999, 4000}, {256, 512, 2047, 4000}}) {
      test::Random random{5};
      State state(random, {{0, 4000, 0.1f}});
      std::vector<OptimizerChunk> pieces;
      int begin = 0;
      for (const int end : ends) {
        OptimizerChunk piece = state.chunks()[0];
        piece.value += begin, piece.gradient += begin, piece.first_moment += begin, piece.second_moment += begin;
        piece.count = end - begin;
        pieces.push_back(piece);
        begin = end;
      }
      const test::Array<OptimizerChunk> table(pieces);
      for (int step = 1; step <= 3; ++step) {
        state.draw_gradient(random);
        run(OptimizerShape{static_cast<int>(pieces.size())}, table.data(), step);
      }
      const test::Outputs now = {state.device_value.read(), state.device_m.read(), state.device_v.read()};
      if (first.empty()) first = now;
      const bool same = now == first;
      CHECK(same);
    }
    return first;
  };
  test::for_each_case(&Adam::adam, shapes, 0, draw, [&](const Adam& row, const OptimizerShape&, test::Random&) {
    return check([&](const OptimizerShape& s, const OptimizerChunk* chunks, int step) {
      AdamOptions options;
      options.step = step;
      row.adam(test::context(row.workspace(s)), s, chunks, options);
    });
  });
  test::for_each_case(&Adam::sgd, shapes, 0, draw, [&](const Adam& row, const OptimizerShape&, test::Random&) {
    return check([&](const OptimizerShape& s, const OptimizerChunk* chunks, int step) {
      SgdOptions options;
      options.nesterov = true;
      options.step = step;
      row.sgd(test::context(row.workspace(s)), s, chunks, options);
    });
  });
}

// Late in a training run, where βᵗ vanishes.
TEST_CASE("adam after many steps", "[adam]") {
  const std::vector<OptimizerShape> shapes = {{1}};
  test::for_each_case(&Adam::adam, shapes, 0, draw, [](const Adam& row, const OptimizerShape& s, test::Random& random) {
    State state(random, {{0, 100, 0}});
    const test::Array<OptimizerChunk> chunks(state.chunks());
    AdamOptions options;
    options.lr = lr;
    for (const int64_t step : {1000ll, 1000000ll, 10000000000ll}) {
      options.step = step;
      state.draw_gradient(random);
      row.adam(test::context(row.workspace(s)), s, chunks, options);
      reference::adam(100, state.value.data(), test::to_double(state.gradient).data(), state.m.data(), state.v.data(),
                      0, options);
    }
    test::check_close(state.device_value.read(), state.value, 0, 0x1p-24 * 3 * (2 + 40 * lr));  // as above
    return test::Outputs{state.device_value.read()};
  });
}

// The first step by hand. Adam's moves by lr against the gradient's sign, whatever its size (section 2.1 of the paper).
TEST_CASE("optimiser references: the first step", "[adam]") {
  AdamOptions options;
  const double lr = options.lr;
  double value = 1, m = 0, v = 0, gradient = 0.25;
  reference::adam(1, &value, &gradient, &m, &v, 0, options);
  CHECK(std::fabs(value - (1 - lr)) < 1e-9);
  CHECK(std::fabs(m - 0.025) < 1e-8);
  CHECK(std::fabs(v - 0.0000625) < 1e-9);

  options.decoupled_weight_decay = true;
  value = 1, m = v = 0;
  reference::adam(1, &value, &gradient, &m, &v, 0.5, options);
  CHECK(std::fabs(value - (1 - 0.5 * lr - lr)) < 1e-9);
  CHECK(std::fabs(m - 0.025) < 1e-8);

  SgdOptions sgd;
  double b = NAN;
  value = 1;
  reference::sgd(1, &value, &gradient, &b, 0.5, sgd);  // g = 0.25 + 0.5
  CHECK(std::fabs(value - (1 - 0.75 * sgd.lr)) < 1e-9);
  CHECK(b == 0.75);
  sgd.step = 2, sgd.nesterov = true, value = 1;
  reference::sgd(1, &value, &gradient, &b, 0, sgd);  // b = 0.9·0.75 + 0.25, d = 0.25 + 0.9 b
  CHECK(std::fabs(b - 0.925) < 1e-7);
  CHECK(std::fabs(value - (1 - sgd.lr * (0.25 + 0.9 * 0.925))) < 1e-7);
}
