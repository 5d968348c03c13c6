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
                                  {optimizer.lr, options.momentum, options.nesterov, step});
        } else {
          kernels::reference::adam(
              n, expected[i].data(), g.data(), first[i].data(), second[i].data(), decay,
              {optimizer.lr, options.beta1, options.beta2, options.eps, options.method == Method::adamw, step});
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
