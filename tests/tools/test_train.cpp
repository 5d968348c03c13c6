// train: the run's folder, and that the same run gives the same bytes however it is cut in pieces.
#include <signal.h>

#include <cmath>

#include "catch.h"
#include "program.h"
#include "run_files.h"

using namespace program;

namespace {

void train(const std::vector<std::string>& arguments, int expected_code = 0) {
  const Result result = run(arguments);
  CAPTURE(arguments, result.err);
  REQUIRE(result.code == expected_code);
  CHECK(result.out.empty());
}

}  // namespace

TEST_CASE("a run's folder holds what the design says") {
  const fs::path& run = trained_run();
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(run)) files.push_back(entry.path().filename().string());
  std::sort(files.begin(), files.end());
  CHECK(files == std::vector<std::string>{"checkpoint.safetensors", "config.json", "metrics.csv", "model.safetensors",
                                          "report.html", "result.json"});

  const auto config = nlohmann::json::parse(read(run / "config.json"));
  CHECK(config.at("options").at("width") == 0.25);
  CHECK(config.at("options").at("batch") == 8);
  CHECK(config.at("options").at("device") == config.at("device").at("type"));  // resolved
  CHECK(config.at("data").at("train") == 40);
  CHECK(config.at("data").at("test") == 8);
  CHECK(!config.at("versions").at("mobilenet").get<std::string>().empty());

  const auto rows = lines(read(run / "metrics.csv"));
  REQUIRE(rows.size() == 3);
  CHECK(rows[0] == "epoch,train_loss,train_accuracy,val_loss,accuracy,lr,images_per_second,seconds,data_wait");
  for (size_t i = 1; i < rows.size(); ++i) {
    const auto row = cells(rows[i]);
    CHECK(row[0] == std::to_string(i));
    CHECK(std::stod(row[1]) > 0);
    CHECK(std::stod(row[5]) == Approx(0.001));
    CHECK(std::stod(row[6]) > 0);
  }

  const std::string report = read(run / "report.html");
  CHECK(contains(report, "<svg"));
  CHECK(contains(report, "prefers-color-scheme: dark"));
  for (const char* outside : {"http:", "https:", "<script src", "<link", "@import", "url("}) {
    CAPTURE(outside);
    CHECK(!contains(report, outside));
  }
}

TEST_CASE("the same command and seed give the same bytes, on any number of threads; another seed others") {
  const Folder folder;
  const fs::path& first = trained_run();
  train(small_training(folder / "again", {"--epochs", "2", "--threads", "3"}));
  check_same_run(first, folder.path / "again");

  std::vector<std::string> other = small_training(folder / "other", {"--epochs", "2"});
  *(std::find(other.begin(), other.end(), "--seed") + 1) = "8";
  train(other);
  CHECK((read(first / "model.safetensors") != read(folder / "other/model.safetensors")));
}

TEST_CASE("a run has the same bytes with and without graphs, however seldom the losses are read, also cut in two") {
  // 44 images: the last batch of an epoch is smaller, and has a graph of its own.
  const Folder folder;
  const std::string kernels = GENERATE(as<std::string>{}, "auto", "native");
  const auto arguments = [&](const std::string& name, const std::vector<std::string>& more) {
    std::vector<std::string> all = {"--epochs", "2", "--ema-decay", "0.9", "--clip-norm", "1"};
    // Untimed: rows are timed for a number of threads, and that number differs here.
    all.insert(all.end(), {"--kernels", kernels, "--tune", "off"});
    all.insert(all.end(), more.begin(), more.end());
    return small_training(folder / name, all, 44);
  };
  train(arguments("eager", {"--graph", "off", "--loss-every", "1"}));
  for (const char* steps : {"1", "3", "1000"}) {
    CAPTURE(kernels, steps);
    train(arguments(std::string("every-") + steps, {"--loss-every", steps, "--threads", "3"}));
    check_same_run(folder.path / "eager", folder.path / (std::string("every-") + steps));
  }
  train(arguments("seldom", {"--graph", "off", "--loss-every", "1000"}));
  check_same_run(folder.path / "eager", folder.path / "seldom");

  // Another graph in the second half, and other steps that read: both may change when a run goes on.
  std::vector<std::string> half = arguments("halves", {"--loss-every", "4"});
  *(std::find(half.begin(), half.end(), "--epochs") + 1) = "1";
  train(half);
  train({"train", "--resume", folder / "halves", "--epochs", "2", "--graph", "off", "--loss-every", "7"});
  check_same_run(folder.path / "eager", folder.path / "halves");
}

TEST_CASE("four epochs are two and, resumed, two more") {
  const Folder folder;
  const bool sgd = GENERATE(false, true);
  const auto with_epochs = [&](const char* epochs) {
    std::vector<std::string> all = {"--epochs", epochs};
    if (sgd) all.insert(all.end(), {"--optimizer", "sgd", "--lr", "0.05", "--weight-decay", "1e-4"});
    return all;
  };
  train(small_training(folder / "four", with_epochs("4")));
  train(small_training(folder / "two", with_epochs("2")));
  train({"train", "--resume", folder / "two", "--epochs", "4"});
  check_same_run(folder.path / "four", folder.path / "two");
  CHECK(nlohmann::json::parse(read(folder / "two/config.json")).at("options").at("epochs") == 4);
}

TEST_CASE("the fused and the plain block train alike, and kernels without fused passes run plain, saying so") {
  const Folder folder;
  const auto arguments = [&](const char* name, const char* kernels, const std::vector<std::string>& more) {
    std::vector<std::string> all = {"train", "--data",   "shapes", "--limit", "40",         "--width",
                                    "0.25",  "--batch",  "8",      "--seed",  "7",          "--kernels",
                                    kernels, "--epochs", "2",      "--out",   folder / name};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const auto block = [&](const std::string& name) {
    return nlohmann::json::parse(read(folder / (name + "/config.json")))["options"]["block"].get<std::string>();
  };
  const auto train_loss = [&](const std::string& name) {  // of the last epoch
    const std::string row = lines(read(folder / (name + "/metrics.csv"))).back();
    return std::stod(row.substr(row.find(',') + 1));
  };
  const char* const naive = "native,depthwise_conv=naive";
  train(arguments("fused", "native", {}));
  train(arguments("plain", "native", {"--block", "plain"}));
  const Result named = run(arguments("named", naive, {}));
  CHECK(named.code == 0);
  CHECK(contains(named.err, "--block plain, because --kernels depthwise_conv=naive has no fused passes"));
  CHECK(block("fused") == "fused");
  CHECK(block("plain") == "plain");
  CHECK(block("named") == "plain");
  // Ten steps: roundings have grown by then, but not to another course.
  CHECK(train_loss("fused") == Approx(train_loss("plain")).epsilon(0.05));
  CHECK(train_loss("named") == Approx(train_loss("plain")).epsilon(0.05));

  const Result both = run(arguments("both", naive, {"--block", "fused"}));
  CHECK(both.code == 2);
  CHECK(contains(both.err, "--block fused and --kernels depthwise_conv=naive"));
}

TEST_CASE("training in tf32 and in bf16 learns as training in fp32 does, and goes on to the same bytes") {
  const Folder folder;
  const auto arguments = [&](const std::string& name, const std::vector<std::string>& more) {
    std::vector<std::string> all = {"train", "--data",    "shapes", "--limit",   "20",         "--width",
                                    "0.25",  "--batch",   "10",     "--augment", "none",       "--seed",
                                    "7",     "--kernels", "native", "--out",     folder / name};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const auto losses = [&](const std::string& name) {
    std::vector<double> all;
    const auto rows = lines(read(folder / (name + "/metrics.csv")));
    for (size_t i = 1; i < rows.size(); ++i) all.push_back(std::stod(cells(rows[i])[1]));
    return all;
  };
  train(arguments("fp32", {"--epochs", "6"}));
  const std::vector<double> expected = losses("fp32");
  CHECK(expected.back() < 0.9 * expected.front());
  const std::vector<std::vector<std::string>> runs = {{"tf32", "fused"}, {"bf16", "fused"}, {"bf16", "plain"}};
  for (const auto& r : runs) {
    const std::string name = r[0] + "-" + r[1];
    CAPTURE(name);
    const auto with = [&](const std::string& epochs) {
      return std::vector<std::string>{"--precision", r[0], "--block", r[1], "--epochs", epochs};
    };
    train(arguments(name, with("6")));
    const std::vector<double> found = losses(name);
    REQUIRE(found.size() == expected.size());
    // Twelve steps, after which the loss has fallen by a tenth and more: roundings of 2⁻¹¹ and 2⁻⁸ have made another
    // course of it by then, but one that falls as far.
    for (size_t i = 0; i < found.size(); ++i) CHECK(found[i] == Approx(expected[i]).epsilon(0.15));
    CHECK(found.back() < 0.9 * found.front());
    train(arguments(name + "-half", with("3")));
    train({"train", "--resume", folder / (name + "-half"), "--epochs", "6"});
    check_same_run(folder.path / name, folder.path / (name + "-half"));
  }
}

TEST_CASE("a resumed run that has no epoch left changes nothing") {
  const Folder folder;
  fs::copy(trained_run(), folder / "run");
  const Result result = run({"train", "--resume", folder / "run"});
  CAPTURE(result.err);
  CHECK(result.code == 0);
  CHECK(contains(result.err, "nothing left to train"));
  check_same_run(trained_run(), folder.path / "run");
}

TEST_CASE("an interrupt in the middle of an epoch saves, and the resumed run ends with the same bytes") {
  const Folder folder;
  const int signal = GENERATE(SIGINT, SIGTERM);
  const auto arguments = [&](const char* name) {  // a schedule, which must go on where it was, too
    return small_training(
        folder / name, {"--epochs", "2", "--schedule", "onecycle", "--loss-every", "1000", "--kernels", "native"}, 64);
  };
  bool sent = false;
  const auto watch = [&](const std::string& so_far, int process) {
    if (!sent && contains(so_far, "epoch 2/2")) sent = ::kill(process, signal) == 0;
  };
  const Result stopped = run_on_terminal(arguments("stopped"), 100, watch);
  CAPTURE(stopped.out);
  REQUIRE(stopped.code == 130);
  CHECK(contains(stopped.out, "--resume " + (folder / "stopped")));
  const auto state = training_state(folder.path / "stopped");
  CHECK(state.at("epoch") == 1);
  CHECK(state.at("step") >= 1);
  CHECK(state.at("step") < 8);
  CHECK(lines(read(folder / "stopped/metrics.csv")).size() == 2);  // the second epoch is under way

  train({"train", "--resume", folder / "stopped"});
  train(arguments("whole"));
  check_same_run(folder.path / "whole", folder.path / "stopped");
}

TEST_CASE("a run that goes on has no result until its new end") {
  const Folder folder;
  fs::copy(trained_run(), folder / "run");
  REQUIRE(fs::exists(folder.path / "run/result.json"));
  bool sent = false;
  const auto watch = [&](const std::string& so_far, int process) {
    if (!sent && contains(so_far, "epoch 3/100")) sent = ::kill(process, SIGINT) == 0;
  };
  CHECK(run_on_terminal({"train", "--resume", folder / "run", "--epochs", "100"}, 100, watch).code == 130);
  CHECK(!fs::exists(folder.path / "run/result.json"));
}

TEST_CASE("a second interrupt ends the program at once, without another checkpoint") {
  // Steps long enough that both signals come within one.
  const Folder folder;
  int sent = 0;
  const auto watch = [&](const std::string& so_far, int process) {
    if (sent == 0 && contains(so_far, " 1/3 ")) sent += ::kill(process, SIGINT) == 0;
    if (sent == 1 && contains(so_far, "interrupted")) sent += ::kill(process, SIGINT) == 0;
  };
  const Result stopped = run_on_terminal({"train", "--data", "shapes", "--limit", "768", "--batch", "256", "--width",
                                          "0.25", "--kernels", "native", "--out", folder / "run"},
                                         100, watch);
  CAPTURE(stopped.out);
  CHECK(sent == 2);
  CHECK(stopped.code == 130);
  CHECK(training_state(folder.path / "run").at("step") == 0);  // what was saved at the start
}

TEST_CASE("a loss that is no number ends the run with the step, and the last checkpoint stays") {
  const Folder folder;
  const Result result = run(small_training(folder / "wild", {"--epochs", "3", "--optimizer", "sgd", "--lr", "1e38"}));
  CAPTURE(result.err);
  CHECK(result.code == 1);
  CHECK(contains(result.err, "the loss became"));
  CHECK(contains(result.err, "step"));
  CHECK(contains(result.err, "first held NaN or infinity"));
  CHECK(contains(result.err, folder / "wild/checkpoint.safetensors"));
  // The same words where the loss is read only at the epoch's end, long after.
  const Result seldom = run(small_training(
      folder / "seldom", {"--epochs", "3", "--optimizer", "sgd", "--lr", "1e38", "--loss-every", "1000"}));
  const auto words = [](const Result& r) {
    const std::string line = lines(r.err).back();
    return line.substr(0, line.find(';'));
  };
  CAPTURE(seldom.err);
  CHECK(seldom.code == 1);
  CHECK(words(seldom) == words(result));
  CHECK(contains(words(result), "in epoch 1, step 2 of 5 (step 2 of the run), where "));
  // Sound, and of the moment before: it can be resumed (to fail again at the same step).
  const Result again = run({"train", "--resume", folder / "wild"});
  CHECK(again.code == 1);
  CHECK(contains(again.err, "the loss became"));
}

TEST_CASE("without --out runs are numbered, and none is overwritten") {
  const Folder folder;
  const std::vector<std::string> arguments = {"train",    "--data", "auto",    "--limit", "20",
                                              "--epochs", "1",      "--width", "0.25"};
  for (const char* expected : {"runs/shapes-1", "runs/shapes-2"}) {
    const Result result = run(arguments, folder.path);
    CAPTURE(result.err);
    REQUIRE(result.code == 0);
    CHECK(contains(result.err, expected));
    CHECK(contains(result.err, "shapes"));  // --data auto says what it took
    CHECK(fs::exists(folder.path / expected / "model.safetensors"));
  }
}

TEST_CASE("training at another resolution, with a batch that does not divide the images") {
  const Folder folder;
  train({"train", "--data", "shapes", "--limit", "10", "--batch", "9", "--epochs", "1", "--width", "0.25",
         "--resolution", "64", "--kernels", "native", "--augment", "none", "--out", folder / "run"});
  const auto json = json_of(run({"eval", "--weights", folder / "run/model.safetensors", "--data", "shapes", "--limit",
                                 "5", "--kernels", "native", "--json"}));
  CHECK(json.at("images") == 5);
}

TEST_CASE("on a terminal the bar keeps to one line of the terminal's width") {
  const Folder folder;
  const int columns = GENERATE(40, 72);
  const Result result =
      run_on_terminal(small_training(folder / "run", {"--epochs", "1"}), columns, [](const std::string&, int) {});
  CHECK(result.code == 0);
  int bars = 0;
  size_t at = 0;
  while ((at = result.out.find("\repoch", at)) != std::string::npos) {
    const size_t end = result.out.find("\x1b[K", ++at);
    REQUIRE(end != std::string::npos);
    int width = 0;
    for (size_t i = at; i < end; ++i) width += (static_cast<unsigned char>(result.out[i]) & 0xC0) != 0x80;  // UTF-8
    CAPTURE(result.out.substr(at, end - at));
    CHECK(width < columns);
    ++bars;
  }
  CHECK(bars > 0);
}

TEST_CASE("a short training on shapes learns") {
  // 20 images, again and again: far above the 10 % of guessing on the images that it has trained on.
  const Folder folder;
  train({"train", "--data", "shapes", "--limit", "20", "--batch", "10", "--epochs", "20", "--width", "0.25",
         "--augment", "none", "--kernels", "native", "--out", folder / "run"});
  const auto rows = lines(read(folder / "run/metrics.csv"));
  CHECK(std::stod(cells(rows.back())[2]) > 0.6);
  CHECK(std::stod(cells(rows.back())[1]) < 1.5);
}
