#include "kernels/adam/adam.h"

#include <algorithm>

#include "kernels/harness.h"

using kernels::Adam, kernels::AdamOptions, kernels::GradientNorm, kernels::OptimizerChunk, kernels::OptimizerInputs,
    kernels::OptimizerShape, kernels::OptimizerStep, kernels::SgdOptions;
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
  std::vector<double> value, m, v, m_size, v_size, average;
  test::Array<float> device_value, device_gradient, device_m, device_v, device_average;

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
        average(value),
        device_value(start),
        device_gradient(count),
        device_m(std::vector<float>(count, initial_m)),
        device_v(std::vector<float>(count)),
        device_average(start) {}

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
        table.push_back({device_value + at, device_gradient + at, device_m + at, device_v + at, device_average + at,
                         std::min(kernels::optimizer_chunk, p.count - i), p.weight_decay});
      }
    return table;
  }
};

// A step's inputs, in device memory.
struct Inputs {
  test::Array<OptimizerStep> step;
  test::Array<float> loss;
  test::Array<GradientNorm> norm;
  explicit Inputs(const OptimizerStep& s, float loss = 1, GradientNorm n = {1, 1})
      : step(std::vector<OptimizerStep>{s}), loss(std::vector<float>{loss}), norm(std::vector<GradientNorm>{n}) {}
  operator OptimizerInputs() const { return {step, loss, norm}; }
};

const float average_weight = 0.25f;
const float lr = 1e-2f;
const int steps = 5;
// A moment is a sum over the steps, and each term has some roundings of its own.
const double moment_terms = 4 * steps;

}  // namespace

TEST_CASE("adam and adamw", "[adam]") {
  test::for_each_case(
      &Adam::adam, awkward, 10, draw, [](const Adam& row, const OptimizerShape& s, test::Random& random) {
        AdamOptions options;
        options.decoupled_weight_decay = random.between(0, 1) == 1;
        const float scale = random.one_of({1.0f, 0.25f});  // exact
        State state(random, parameters(random, s.chunks));
        const test::Array<OptimizerChunk> chunks(state.chunks());
        for (int step = 1; step <= steps; ++step) {
          state.draw_gradient(random);
          const Inputs inputs(kernels::optimizer_step(options, lr, step, average_weight), 1, {1, scale});
          row.adam(test::context(row.workspace(s)), s, chunks, options, inputs);
          for (float& g : state.gradient) g *= scale;
          for (const Parameter& p : state.list) {
            const auto gradient = test::to_double(state.gradient);
            for (int64_t i = p.begin; i < p.begin + p.count; ++i) {
              const double l2 = options.decoupled_weight_decay ? 0 : p.weight_decay * std::fabs(state.value[i]);
              const double size = std::fabs(gradient[i]) + l2;
              state.m_size[i] = options.beta1 * state.m_size[i] + (1.0 - options.beta1) * size;
              state.v_size[i] = options.beta2 * state.v_size[i] + (1.0 - options.beta2) * size * size;
            }
            reference::adam(p.count, &state.value[p.begin], &gradient[p.begin], &state.m[p.begin], &state.v[p.begin],
                            p.weight_decay, options, lr, step);
            reference::average(p.count, &state.average[p.begin], &state.value[p.begin], average_weight);
          }
        }
        test::check_sum(state.device_m.read(), state.m, state.m_size, moment_terms);
        test::check_sum(state.device_v.read(), state.v, state.v_size, moment_terms);
        // A step rounds the value, which stays below 2, and has an update of at most a few lr, good to some 40 units.
        const double value_error = 0x1p-24 * steps * (2 + 40 * lr);
        test::check_close(state.device_value.read(), state.value, 0, value_error);
        // The average's error is that of an average of values, and two roundings a step.
        test::check_close(state.device_average.read(), state.average, 0, value_error + 0x1p-24 * steps * 2 * 2);
        return test::Outputs{state.device_value.read(), state.device_m.read(), state.device_v.read(),
                             state.device_average.read()};
      });
}

TEST_CASE("sgd with momentum", "[adam]") {
  test::for_each_case(
      &Adam::sgd, awkward, 10, draw, [](const Adam& row, const OptimizerShape& s, test::Random& random) {
        SgdOptions options;
        const float scale = random.one_of({1.0f, 0.25f});
        options.momentum = random.one_of({0.0f, 0.5f, 0.9f});
        options.nesterov = random.between(0, 1) == 1;
        State state(random, parameters(random, s.chunks), NAN);  // what the buffer holds before step 1 does not count
        const test::Array<OptimizerChunk> chunks(state.chunks());
        for (int step = 1; step <= steps; ++step) {
          state.draw_gradient(random);
          const Inputs inputs(kernels::optimizer_step(options, lr, step, average_weight), 1, {1, scale});
          row.sgd(test::context(row.workspace(s)), s, chunks, options, inputs);
          for (float& g : state.gradient) g *= scale;
          for (const Parameter& p : state.list) {
            const auto gradient = test::to_double(state.gradient);
            for (int64_t i = p.begin; i < p.begin + p.count; ++i)
              state.m_size[i] = options.momentum * state.m_size[i] + std::fabs(gradient[i]) +
                                p.weight_decay * std::fabs(state.value[i]);
            reference::sgd(p.count, &state.value[p.begin], &gradient[p.begin], &state.m[p.begin], p.weight_decay,
                           options, lr, step);
            reference::average(p.count, &state.average[p.begin], &state.value[p.begin], average_weight);
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
        const double value_error = 0x1p-24 * steps * (8 + 20 * lr * 30 * steps);
        test::check_close(values, state.value, 0, value_error);
        test::check_close(state.device_average.read(), state.average, 0, value_error + 0x1p-24 * steps * 2 * 8);
        return test::Outputs{values, buffer, state.device_average.read()};
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
        piece.average += begin;
        piece.count = end - begin;
        pieces.push_back(piece);
        begin = end;
      }
      const test::Array<OptimizerChunk> table(pieces);
      for (int step = 1; step <= 3; ++step) {
        state.draw_gradient(random);
        run(OptimizerShape{static_cast<int>(pieces.size())}, table.data(), step);
      }
      const test::Outputs now = {state.device_value.read(), state.device_m.read(), state.device_v.read(),
                                 state.device_average.read()};
      if (first.empty()) first = now;
      const bool same = now == first;
      CHECK(same);
    }
    return first;
  };
  test::for_each_case(&Adam::adam, shapes, 0, draw, [&](const Adam& row, const OptimizerShape&, test::Random&) {
    return check([&](const OptimizerShape& s, const OptimizerChunk* chunks, int step) {
      const AdamOptions options;
      row.adam(test::context(row.workspace(s)), s, chunks, options,
               Inputs(kernels::optimizer_step(options, lr, step, average_weight)));
    });
  });
  test::for_each_case(&Adam::sgd, shapes, 0, draw, [&](const Adam& row, const OptimizerShape&, test::Random&) {
    return check([&](const OptimizerShape& s, const OptimizerChunk* chunks, int step) {
      SgdOptions options;
      options.nesterov = true;
      row.sgd(test::context(row.workspace(s)), s, chunks, options,
              Inputs(kernels::optimizer_step(options, lr, step, average_weight)));
    });
  });
}

// Late in a training run, where βᵗ vanishes.
TEST_CASE("adam after many steps", "[adam]") {
  const std::vector<OptimizerShape> shapes = {{1}};
  test::for_each_case(&Adam::adam, shapes, 0, draw, [](const Adam& row, const OptimizerShape& s, test::Random& random) {
    State state(random, {{0, 100, 0}});
    const test::Array<OptimizerChunk> chunks(state.chunks());
    const AdamOptions options;
    for (const int64_t step : {1000ll, 1000000ll, 10000000000ll}) {
      state.draw_gradient(random);
      row.adam(test::context(row.workspace(s)), s, chunks, options, Inputs(kernels::optimizer_step(options, lr, step)));
      reference::adam(100, state.value.data(), test::to_double(state.gradient).data(), state.m.data(), state.v.data(),
                      0, options, lr, step);
    }
    test::check_close(state.device_value.read(), state.value, 0, 0x1p-24 * 3 * (2 + 40 * lr));  // as above
    return test::Outputs{state.device_value.read()};
  });
}

// The first step by hand. Adam's moves by lr against the gradient's sign, whatever its size (section 2.1 of the paper).
TEST_CASE("optimiser references: the first step", "[adam]") {
  AdamOptions options;
  double value = 1, m = 0, v = 0, gradient = 0.25;
  reference::adam(1, &value, &gradient, &m, &v, 0, options, lr, 1);
  CHECK(std::fabs(value - (1 - double{lr})) < 1e-9);
  CHECK(std::fabs(m - 0.025) < 1e-8);
  CHECK(std::fabs(v - 0.0000625) < 1e-9);

  options.decoupled_weight_decay = true;
  value = 1, m = v = 0;
  reference::adam(1, &value, &gradient, &m, &v, 0.5, options, lr, 1);
  CHECK(std::fabs(value - (1 - 0.5 * double{lr} - double{lr})) < 1e-9);
  CHECK(std::fabs(m - 0.025) < 1e-8);

  SgdOptions sgd;
  double b = NAN;
  value = 1;
  reference::sgd(1, &value, &gradient, &b, 0.5, sgd, lr, 1);  // g = 0.25 + 0.5
  CHECK(std::fabs(value - (1 - 0.75 * double{lr})) < 1e-9);
  CHECK(b == 0.75);
  sgd.nesterov = true, value = 1;
  reference::sgd(1, &value, &gradient, &b, 0, sgd, lr, 2);  // b = 0.9·0.75 + 0.25, d = 0.25 + 0.9 b
  CHECK(std::fabs(b - 0.925) < 1e-7);
  CHECK(std::fabs(value - (1 - double{lr} * (0.25 + 0.9 * 0.925))) < 1e-7);
}

// Chunks that differ in what they have: a parameter with an average, one without, and a buffer that is averaged only;
// aligned and not.
TEST_CASE("optimisers: averages and buffers", "[adam]") {
  const std::vector<OptimizerShape> shapes = {{3}};
  const auto check = [](const auto& run) {
    test::Outputs outputs;
    for (const int offset : {0, 1}) {
      test::Random random{7};
      State state(random, {{offset, 100, 0.1f}, {100 + offset, 33, 0}, {136 + offset, 1000, 0}});
      std::vector<OptimizerChunk> chunks = state.chunks();
      REQUIRE(chunks.size() == 3);
      chunks[1].average = nullptr;
      chunks[2].gradient = nullptr, chunks[2].first_moment = nullptr, chunks[2].second_moment = nullptr;
      const auto average = random.floats(state.count);
      const test::Array<float> other(average);
      engine::runtime(test::device_under_test())
          .copy(state.device_average, other, state.count * sizeof(float), engine::CopyKind::device_to_device, nullptr);
      state.draw_gradient(random);
      run(OptimizerShape{3}, test::Array<OptimizerChunk>(chunks).data());
      const auto value = state.device_value.read(), after = state.device_average.read(), m = state.device_m.read();
      for (int64_t i = 0; i < state.count; ++i) {
        INFO("element " << i << ", offset " << offset);
        const bool buffer = i >= 136 + offset, first = i >= offset && i < 100 + offset;
        const bool trained = first || (i >= 100 + offset && i < 133 + offset);
        if (!trained || i % 5 > 1) CHECK((value[i] != state.start[i]) == trained);  // some gradients are tiny
        CHECK((m[i] != 0) == trained);
        const float expected = buffer || first ? 0.75f * average[i] + 0.25f * value[i] : average[i];
        CHECK(std::fabs(after[i] - expected) <= 0x1p-22f * (1 + std::fabs(value[i])));  // rounded three times
      }
      outputs.push_back(value), outputs.push_back(after);
    }
    return outputs;
  };
  test::for_each_case(&Adam::adam, shapes, 0, draw, [&](const Adam& row, const OptimizerShape&, test::Random&) {
    return check([&](const OptimizerShape& s, const OptimizerChunk* chunks) {
      const AdamOptions options;
      row.adam(test::context(row.workspace(s)), s, chunks, options,
               Inputs(kernels::optimizer_step(options, lr, 1, average_weight)));
    });
  });
  test::for_each_case(&Adam::sgd, shapes, 0, draw, [&](const Adam& row, const OptimizerShape&, test::Random&) {
    return check([&](const OptimizerShape& s, const OptimizerChunk* chunks) {
      const SgdOptions options;
      row.sgd(test::context(row.workspace(s)), s, chunks, options,
              Inputs(kernels::optimizer_step(options, 1, 1, average_weight)));
    });
  });
}

// No guard and no norm give the bits of a finite loss and a scale of 1; a loss or a norm that is no number, no step.
TEST_CASE("optimisers: the guard", "[adam]") {
  const std::vector<OptimizerShape> shapes = {{4}};
  const auto check = [](const auto& options, const auto& run) {
    const auto outcome = [&](const float* loss, const GradientNorm* norm) {
      test::Random random{8};
      State state(random, parameters(random, 4));
      state.draw_gradient(random);
      const test::Array<OptimizerChunk> chunks(state.chunks());
      const Inputs inputs(kernels::optimizer_step(options, lr, 1, average_weight), loss ? *loss : 0,
                          norm ? *norm : GradientNorm{});
      OptimizerInputs in = inputs;
      if (loss == nullptr) in.loss = nullptr;
      if (norm == nullptr) in.norm = nullptr;
      const test::Outputs before = {state.device_value.read(), state.device_m.read(), state.device_v.read(),
                                    state.device_average.read()};
      run(OptimizerShape{static_cast<int>(state.chunks().size())}, chunks.data(), in);
      const test::Outputs after = {state.device_value.read(), state.device_m.read(), state.device_v.read(),
                                   state.device_average.read()};
      const bool changed = before != after;
      return std::make_pair(changed, after);
    };
    const float good = 1e30f, bad[] = {NAN, INFINITY, -INFINITY};
    const GradientNorm small = {1e30f, 1}, none[] = {{NAN, 1}, {INFINITY, 0}};
    const auto plain = outcome(nullptr, nullptr);
    CHECK(plain.first);
    const bool same = outcome(&good, &small).second == plain.second;
    CHECK(same);
    for (const float& loss : bad) CHECK(!outcome(&loss, nullptr).first);
    for (const GradientNorm& norm : none) CHECK(!outcome(&good, &norm).first);
    return plain.second;
  };
  test::for_each_case(&Adam::adam, shapes, 0, draw, [&](const Adam& row, const OptimizerShape&, test::Random&) {
    const AdamOptions options;
    return check(options, [&](const OptimizerShape& s, const OptimizerChunk* chunks, const OptimizerInputs& in) {
      row.adam(test::context(row.workspace(s)), s, chunks, options, in);
    });
  });
  test::for_each_case(&Adam::sgd, shapes, 0, draw, [&](const Adam& row, const OptimizerShape&, test::Random&) {
    const SgdOptions options;
    return check(options, [&](const OptimizerShape& s, const OptimizerChunk* chunks, const OptimizerInputs& in) {
      row.sgd(test::context(row.workspace(s)), s, chunks, options, in);
    });
  });
}

TEST_CASE("gradient norm and clipping", "[adam]") {
  const std::vector<OptimizerShape> shapes = {{1}, {2}, {5}, {20}, {300}, {700}};
  test::for_each_case(&Adam::gradient_norm, shapes, 10, draw,
                      [](const Adam& row, const OptimizerShape& s, test::Random& random) {
                        State state(random, parameters(random, s.chunks));
                        state.draw_gradient(random);
                        std::vector<OptimizerChunk> chunks = state.chunks();
                        REQUIRE(chunks.size() == static_cast<size_t>(s.chunks));
                        double square = 0;
                        for (const Parameter& p : state.list)
                          for (int i = 0; i < p.count; ++i) square += std::pow(double{state.gradient[p.begin + i]}, 2);
                        // A buffer among the chunks has no gradient and adds nothing.
                        chunks.push_back(chunks[0]);
                        chunks.back().gradient = nullptr;
                        const OptimizerShape shape = {s.chunks + 1};
                        const test::Array<OptimizerChunk> table(chunks);
                        const auto measure = [&](float max_norm) {
                          const test::Array<GradientNorm> norm(1);
                          row.gradient_norm(test::context(row.workspace(shape)), shape, table, max_norm, norm);
                          return norm.read()[0];
                        };
                        // All terms are above 0: the sum's relative error is that of its additions, the root's half of
                        // it.
                        const double error = 0x1p-24 * (4 * std::sqrt(state.count) + 8), expected = std::sqrt(square);
                        const GradientNorm measured = measure(INFINITY);
                        CHECK(std::fabs(measured.norm - expected) <= error * expected);
                        CHECK(measured.scale == 1);
                        const auto half = static_cast<float>(expected / 2);
                        const GradientNorm clipped = measure(half);
                        CHECK(clipped.norm == measured.norm);
                        CHECK(std::fabs(clipped.scale - half / (expected + 1e-6)) <= error + 0x1p-22);
                        CHECK(measure(static_cast<float>(expected * 2 + 1)).scale == 1);
                        return test::Outputs{{measured.norm, measured.scale, clipped.scale}};
                      });
}

TEST_CASE("gradient norm: what is no number is seen wherever it stands", "[adam]") {
  const std::vector<OptimizerShape> shapes = {{3}};
  test::for_each_case(
      &Adam::gradient_norm, shapes, 0, draw, [](const Adam& row, const OptimizerShape&, test::Random& random) {
        for (const float planted : {NAN, INFINITY, -INFINITY, 1e30f})  // the last one's square is infinite
          for (const int where : {0, 7, 4096, 9998, 9999}) {
            State state(random, {{0, 10000, 0}});
            std::vector<float> gradient(10000, 1);
            gradient[where] = planted;
            const test::Array<float> device_gradient(gradient);
            std::vector<OptimizerChunk> chunks = state.chunks();
            for (size_t i = 0; i < chunks.size(); ++i) chunks[i].gradient = device_gradient + i * 4096;
            const OptimizerShape shape = {static_cast<int>(chunks.size())};
            const test::Array<OptimizerChunk> table(chunks);
            const test::Array<GradientNorm> norm(1);
            row.gradient_norm(test::context(row.workspace(shape)), shape, table, 1, norm);
            CHECK(!std::isfinite(norm.read()[0].norm));
          }
        return test::Outputs{};
      });
}
