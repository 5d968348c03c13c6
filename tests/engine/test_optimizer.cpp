#include "engine/optim/optimizer.h"

#include "engine/autograd/functions.h"
#include "kernels/adam/adam.h"
#include "support.h"

using namespace engine;
using optim::Method, optim::Optimizer, optim::Options;

namespace {

// Parameters below, at and above the size of a chunk.
struct Parameters {
  State state;
  explicit Parameters(uint64_t seed = 1) {
    test::Random random{seed};
    const std::pair<const char*, Shape> all[] = {{"p0", {3}}, {"p1", {64, 64}}, {"p2", {5, 1000}}, {"p3", {1}}};
    for (const auto& [name, shape] : all) {
      Tensor t = Tensor::from_host(random.floats(count(shape)), shape, test::device());
      state.push_back({name, t.set_requires_grad(true)});
    }
  }
  // Makes `gradients` the gradient of each parameter.
  void backward_with(const std::vector<std::vector<float>>& gradients) const {
    for (size_t i = 0; i < state.size(); ++i) {
      const Tensor& p = state[i].tensor;
      backward(add(p, p.copy_to(p.device())), Tensor::from_host(gradients[i], p.shape(), p.device()));
    }
  }
  std::vector<std::vector<float>> draw(test::Random& random) const {
    std::vector<std::vector<float>> gradients;
    for (const NamedTensor& n : state) gradients.push_back(random.floats(n.tensor.count()));
    return gradients;
  }
  std::vector<std::vector<float>> values() const {
    std::vector<std::vector<float>> all;
    for (const NamedTensor& n : state) all.push_back(n.tensor.to_host<float>());
    return all;
  }
};

const Options variants[] = {
    {.method = Method::adam, .lr = 0.01f},
    {.method = Method::adam, .lr = 0.01f, .weight_decay = 0.1f},
    {.method = Method::adamw, .lr = 0.01f, .weight_decay = 0.1f, .decay_vectors = false},
    {.method = Method::sgd, .lr = 0.1f, .momentum = 0},
    {.method = Method::sgd, .lr = 0.1f, .momentum = 0.9f, .weight_decay = 0.01f},
    {.method = Method::sgd, .lr = 0.1f, .momentum = 0.9f, .nesterov = true},
    {.method = Method::adam, .lr = 0.01f, .ema_decay = 0.9f},
};

}  // namespace

TEST_CASE("five steps of each optimiser agree with the reference in double precision", "[optimizer]") {
  if (!test::device_present()) return;
  for (const Options& options : variants) {
    const Parameters parameters;
    std::vector<std::vector<double>> expected, first, second;
    for (const auto& v : parameters.values()) {
      expected.emplace_back(v.begin(), v.end());
      first.emplace_back(v.size());
      second.emplace_back(v.size());
    }
    Optimizer optimizer(parameters.state, options);
    test::Random random{2};
    for (int step = 1; step <= 5; ++step) {
      const auto gradients = parameters.draw(random);
      parameters.backward_with(gradients);
      optimizer.lr = options.lr / static_cast<float>(step);  // as a schedule does
      optimizer.step();
      optimizer.zero_grad();
      for (size_t i = 0; i < expected.size(); ++i) {
        const std::vector<double> g(gradients[i].begin(), gradients[i].end());
        const bool decays = options.decay_vectors || parameters.state[i].tensor.shape().size() > 1;
        const double decay = decays ? options.weight_decay : 0;
        const auto n = static_cast<int64_t>(g.size());
        if (options.method == Method::sgd) {
          kernels::reference::sgd(n, expected[i].data(), g.data(), first[i].data(), decay,
                                  {options.momentum, options.nesterov}, optimizer.lr, step);
        } else {
          kernels::reference::adam(n, expected[i].data(), g.data(), first[i].data(), second[i].data(), decay,
                                   {options.beta1, options.beta2, options.eps, options.method == Method::adamw},
                                   optimizer.lr, step);
        }
      }
    }
    CHECK(optimizer.steps() == 5);
    // Values and updates are of the order of 1 and below; five steps of some ten roundings of 2⁻²⁴ each. Adam divides
    // by a root that the rounding of v may move by 1e-7 of itself, unless g is close to 0; lr = 0.01 scales that down.
    const auto actual = parameters.values();
    for (size_t i = 0; i < actual.size(); ++i)
      for (size_t j = 0; j < actual[i].size(); ++j) {
        INFO(to_string(options.method) << " parameter " << i << " element " << j);
        if (std::fabs(actual[i][j] - expected[i][j]) > 5e-6) CHECK(actual[i][j] == expected[i][j]);
      }
    CHECK(actual[1] != Parameters().values()[1]);
  }
}

TEST_CASE("an optimiser restored from its state goes on with the same bits", "[optimizer]") {
  if (!test::device_present()) return;
  for (const Options& options : variants) {
    test::Random random{3};
    const Parameters straight, resumed(9);
    std::vector<std::vector<std::vector<float>>> gradients;
    for (int i = 0; i < 6; ++i) gradients.push_back(straight.draw(random));
    const auto train = [&](const Parameters& p, Optimizer& optimizer, int from, int to) {
      for (int i = from; i < to; ++i) {
        p.backward_with(gradients[i]);
        optimizer.step();
        optimizer.zero_grad();
      }
    };
    Optimizer a(straight.state, options), b(resumed.state, options);
    train(straight, a, 0, 3);
    copy_state(resumed.state, straight.state, "test");
    b.load_state_dict(a.state_dict(), a.steps());
    train(straight, a, 3, 6);
    train(resumed, b, 3, 6);
    INFO(to_string(options.method));
    CHECK(straight.values() == resumed.values());
    CHECK(b.steps() == 6);
    for (size_t i = 0; i < a.state_dict().size(); ++i)
      CHECK(a.state_dict()[i].tensor.to_host<float>() == b.state_dict()[i].tensor.to_host<float>());
  }
}

TEST_CASE("the state's names, and what an optimiser refuses", "[optimizer]") {
  if (!test::device_present()) return;
  const Parameters parameters;
  Optimizer adam(parameters.state, {}), sgd(parameters.state, {.method = Method::sgd});
  REQUIRE(adam.state_dict().size() == 8);
  CHECK(adam.state_dict()[0].name == "p0.first_moment");
  CHECK(adam.state_dict()[1].name == "p0.second_moment");
  CHECK(sgd.state_dict().size() == 4);
  test::check_message(test::message_of<InputError>([&] { adam.load_state_dict(sgd.state_dict(), 1); }),
                      {"optimizer", "missing: p0.second_moment"});

  test::check_message(test::message_of([&] { adam.step(); }), {"p0 (3) has no gradient"});
  test::Random random{1};
  parameters.backward_with(parameters.draw(random));
  adam.step();
  parameters.state[2].tensor.zero_grad();
  test::check_message(test::message_of([&] { adam.step(); }), {"p2 (5, 1000) has no gradient"});
  CHECK(adam.steps() == 1);

  test::check_message(test::message_of([] { Optimizer({}, {}); }), {"no parameters"});
  const State frozen = {{"frozen", Tensor::zeros({1}, test::device())}};
  test::check_message(test::message_of([&] { Optimizer(frozen, {}); }), {"frozen requires no gradient"});
}

TEST_CASE("clipping bounds the norm of all gradients together", "[optimizer]") {
  if (!test::device_present()) return;
  // With momentum 0 and lr 1, a step is the clipped gradient.
  const Parameters parameters;
  Optimizer sgd(parameters.state, {.method = Method::sgd, .lr = 1, .momentum = 0, .max_norm = 2});
  CHECK(sgd.gradient_norm() == 0);
  test::Random random{5};
  const auto before = parameters.values(), gradients = parameters.draw(random);
  parameters.backward_with(gradients);
  sgd.step();
  double square = 0, moved = 0;
  const auto after = parameters.values();
  for (size_t i = 0; i < gradients.size(); ++i)
    for (size_t j = 0; j < gradients[i].size(); ++j) {
      square += std::pow(double{gradients[i][j]}, 2);
      moved += std::pow(double{after[i][j]} - before[i][j], 2);
    }
  REQUIRE(square > 100);
  CHECK(std::fabs(sgd.gradient_norm() / std::sqrt(square) - 1) < 1e-5);
  CHECK(std::fabs(std::sqrt(moved) - 2) < 1e-3);  // each value rounds by up to 6e-8
  test::check_message(test::message_of([&] { Optimizer(parameters.state, {}).gradient_norm(); }), {"max_norm is 0"});

  // A norm that is not reached changes no bit.
  const Parameters plain(6), loose(6);
  Optimizer a(plain.state, {}), b(loose.state, {.max_norm = 1e9f});
  plain.backward_with(gradients), loose.backward_with(gradients);
  a.step(), b.step();
  CHECK(plain.values() == loose.values());
}

TEST_CASE("a loss that is no number changes nothing", "[optimizer]") {
  if (!test::device_present()) return;
  const auto number = [](float x) { return Tensor::from_host(std::vector<float>{x}, {1}, test::device()); };
  for (const Method method : {Method::adam, Method::adamw, Method::sgd}) {
    const Parameters guarded, plain;
    const Options options = {.method = method, .weight_decay = 0.1f, .ema_decay = 0.9f};
    Optimizer a(guarded.state, options), b(plain.state, options);
    test::Random random{7};
    const auto first = guarded.draw(random), second = guarded.draw(random);
    guarded.backward_with(first), plain.backward_with(first);
    a.step(number(3)), b.step();
    CHECK(guarded.values() == plain.values());
    for (Optimizer* o : {&a, &b}) o->zero_grad();
    std::vector<std::vector<float>> nan = second;
    for (auto& g : nan) std::fill(g.begin(), g.end(), NAN);
    for (const float loss : {NAN, INFINITY}) {
      guarded.backward_with(nan);
      a.step(number(loss));
      a.zero_grad();
    }
    CHECK(guarded.values() == plain.values());
    CHECK(a.steps() == 3);
    for (size_t i = 0; i < a.state_dict().size(); ++i)
      CHECK(a.state_dict()[i].tensor.to_host<float>() == b.state_dict()[i].tensor.to_host<float>());
    test::check_message(test::message_of([&] {
                          guarded.backward_with(second);
                          a.step(Tensor::zeros({2}, test::device()));
                        }),
                        {"the loss is (2)", "one number"});
  }
}

TEST_CASE("the average follows the weights and the buffers, and training does not notice", "[optimizer]") {
  if (!test::device_present()) return;
  for (const Method method : {Method::adam, Method::sgd}) {
    const Parameters averaged, plain;
    const State buffers = {{"running", Tensor::from_host(std::vector<float>{1, 2, 3}, {3}, test::device())}};
    const float decay = 0.5f;
    Optimizer a(averaged.state, {.method = method, .lr = 0.1f, .ema_decay = decay}, buffers);
    Optimizer b(plain.state, {.method = method, .lr = 0.1f});
    REQUIRE(a.averages().size() == 5);
    CHECK(a.averages()[4].name == "running");
    CHECK(b.averages().empty());
    std::vector<std::vector<double>> expected;
    for (const auto& v : averaged.values()) expected.emplace_back(v.begin(), v.end());
    std::vector<double> running = {1, 2, 3};
    test::Random random{8};
    for (int t = 1; t <= 12; ++t) {
      const auto gradients = averaged.draw(random);
      averaged.backward_with(gradients), plain.backward_with(gradients);
      const auto batch = random.floats(3);
      Tensor(buffers[0].tensor).write<float>(batch);
      a.step(), b.step();
      a.zero_grad(), b.zero_grad();
      const double d = std::min<double>(decay, (1.0 + t) / (10.0 + t));  // below 0.5 up to t = 7
      const auto now = averaged.values();
      for (size_t i = 0; i < now.size(); ++i)
        for (size_t j = 0; j < now[i].size(); ++j) expected[i][j] = d * expected[i][j] + (1 - d) * now[i][j];
      for (size_t j = 0; j < 3; ++j) running[j] = d * running[j] + (1 - d) * batch[j];
      if (t != 5) continue;
      // In the middle of it, the averages take the weights' place, and go again, also where something is thrown.
      const auto own = averaged.values();
      try {
        const optim::UseAverages use(a);
        for (size_t i = 0; i < own.size(); ++i) {
          const auto used = averaged.state[i].tensor.to_host<float>();
          CHECK(used == a.averages()[i].tensor.to_host<float>());
          CHECK(used != own[i]);
        }
        CHECK(buffers[0].tensor.to_host<float>() == a.averages()[4].tensor.to_host<float>());
        test::check_message(test::message_of([&] { a.step(); }), {"the weights are the averages"});
        test::check_message(test::message_of([&] { optim::UseAverages twice(a); }), {"in use already"});
        throw std::runtime_error("evaluation failed");
      } catch (const std::runtime_error&) {
      }
      CHECK(averaged.values() == own);
      CHECK(buffers[0].tensor.to_host<float>() == batch);
    }
    CHECK(averaged.values() == plain.values());
    // Values of the order of 1, some roundings of 6e-8 a step, of which the average forgets half each step.
    for (size_t i = 0; i < expected.size(); ++i) {
      const auto e = a.averages()[i].tensor.to_host<float>();
      for (size_t j = 0; j < e.size(); ++j)
        if (std::fabs(e[j] - expected[i][j]) > 2e-6) CHECK(e[j] == expected[i][j]);
    }
    const auto e = a.averages()[4].tensor.to_host<float>();
    for (size_t j = 0; j < 3; ++j) CHECK(std::fabs(e[j] - running[j]) < 1e-6);
    const State state = a.state_dict();
    CHECK(state.back().name == "running.average");
    const optim::UseAverages nothing(b);
    CHECK(averaged.values() == plain.values());
  }
}

TEST_CASE("a captured step is replayed with other learning rates and counts", "[optimizer]") {
  if (!test::device_present()) return;
  const Parameters straight, replayed;
  const Options options = {.max_norm = 1, .ema_decay = 0.9f};
  Optimizer a(straight.state, options), b(replayed.state, options);
  test::Random random{9};
  const auto gradients = straight.draw(random);
  straight.backward_with(gradients), replayed.backward_with(gradients);
  Device& d = device(test::device());
  d.context(1 << 16);  // the workspace, before the capture
  const auto train = [&](float lr, auto apply) {
    a.lr = b.lr = lr;
    a.step();
    b.begin_step();
    apply();
    CHECK(straight.values() == replayed.values());
  };
  train(0.1f, [&] { b.apply_step(); });
  Graph graph(d, [&] { b.apply_step(); });
  for (const float lr : {0.01f, 0.2f, 0.05f}) train(lr, [&] { graph.launch(); });
}

TEST_CASE("options out of range are refused", "[optimizer]") {
  if (!test::device_present()) return;
  const Parameters parameters;
  for (const float bad : {-0.1f, 1.0f, NAN})
    test::check_message(test::message_of([&] { Optimizer(parameters.state, {.ema_decay = bad}); }), {"ema_decay"});
  for (const float bad : {-1.0f, NAN})
    test::check_message(test::message_of([&] { Optimizer(parameters.state, {.max_norm = bad}); }), {"max_norm"});
}
