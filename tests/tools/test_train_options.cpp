// train's options: what they change, and what they leave alone.
#include <cmath>

#include "catch.h"
#include "run_files.h"

using namespace program;

namespace {

fs::path trained(const Folder& folder, const std::string& name, const std::vector<std::string>& more) {
  const Result result = run(small_training(folder / name, more));
  CAPTURE(more, result.err);
  REQUIRE(result.code == 0);
  return folder.path / name;
}

nlohmann::json json_file(const fs::path& file) { return nlohmann::json::parse(read(file)); }

void check_refused(const std::vector<std::string>& more, const std::string& part) {
  const Folder folder;
  const Result result = run(small_training(folder / "run", more));
  CAPTURE(more, result.err);
  CHECK(result.code == 2);
  CHECK(lines(result.err).size() == 1);
  CHECK(contains(result.err, part));
  CHECK(!fs::exists(folder.path / "run"));
}

}  // namespace

TEST_CASE("images are prepared alike in any number of threads, by the plain loop and by the emulated kernels") {
  const Folder folder;
  const auto with = [&](const char* kernels, const char* workers) {
    const std::string name = std::string(kernels) + workers;
    return trained(folder, name, {"--epochs", "1", "--workers", workers, "--cutout", "8", "--kernels", kernels});
  };
  const fs::path first = with("native,augment=loop", "0");
  check_same_run(first, with("native,augment=loop", "3"));
  check_same_run(first, with("native,augment=naive", "3"));
}

TEST_CASE("--augment names ranges, and each can be overridden") {
  const Folder folder;
  const auto options =
      json_file(trained(folder, "run", {"--epochs", "1", "--augment", "flip-crop", "--rotation", "5"}) / "config.json")
          .at("options");
  CHECK(options.at("flip") == 0.5);
  CHECK(options.at("crop_padding") == 4);
  CHECK(options.at("rotation") == 5.0);
  CHECK(options.at("scale") == 0.0);
  const auto article = json_file(trained_run() / "config.json").at("options");
  CHECK(article.at("augment") == "article");
  CHECK(article.at("rotation") == 10.0);
  CHECK(article.at("brightness") == 0.2);
  CHECK(article.at("crop_padding") == 0);
}

TEST_CASE("a part of the training images can choose the best epoch, and the test images test it once") {
  const Folder folder;
  const fs::path run = trained(folder, "run", {"--epochs", "2", "--val-fraction", "0.25"});
  const auto data = json_file(run / "config.json").at("data");
  CHECK(data.at("train") == 30);
  CHECK(data.at("validation") == 10);
  CHECK(data.at("test") == 8);
  const auto result = json_file(run / "result.json");
  CHECK(result.at("validation") == "fraction 0.25");
  const auto row = cells(lines(read(run / "metrics.csv")).at(result.at("epoch").get<int>()));
  CHECK(std::stod(row[4]) == Approx(result.at("val_accuracy").get<double>()));
  int64_t images = 0, correct = 0;
  for (size_t i = 0; i < 10; ++i)
    for (size_t j = 0; j < 10; ++j) {
      images += result.at("confusion")[i][j].get<int64_t>();
      correct += i == j ? result.at("confusion")[i][j].get<int64_t>() : 0;
    }
  CHECK(images == 8);
  CHECK(result.at("test_accuracy") == Approx(static_cast<double>(correct) / 8));
  const auto evaluated = json_of(program::run({"eval", "--weights", (run / "model.safetensors").string(), "--data",
                                               "shapes", "--limit", "8", "--kernels", "native", "--json"}));
  CHECK(evaluated.at("correct") == correct);
  CHECK(evaluated.at("confusion") == result.at("confusion"));
}

TEST_CASE("the article's validation takes the first 1,000 test images") {
  check_refused({"--val", "article"}, "1000");  // of 8
  const Folder folder;
  const auto records = [](int n) {
    std::string bytes;
    for (int i = 0; i < n; ++i) bytes += static_cast<char>(i % 10) + std::string(3072, static_cast<char>(i));
    return bytes;
  };
  fs::create_directories(folder.path / "data");
  for (int i = 1; i <= 5; ++i) write(folder.path / "data" / ("data_batch_" + std::to_string(i) + ".bin"), records(2));
  write(folder.path / "data/test_batch.bin", records(1003));
  const Result result = run({"train", "--data", folder / "data", "--val", "article", "--width", "0.25", "--epochs", "1",
                             "--out", folder / "run"});
  CAPTURE(result.err);
  REQUIRE(result.code == 0);
  const auto data = json_file(folder.path / "run/config.json").at("data");
  CHECK(data.at("validation") == 1000);
  CHECK(data.at("test") == 3);
  CHECK(json_file(folder.path / "run/result.json").at("validation") == "article");
}

TEST_CASE("--patience ends a run that gets no better, and a resumed run may be given more") {
  const Folder folder;
  const fs::path run = trained(folder, "run", {"--epochs", "30", "--patience", "2", "--lr", "1e-9"});
  const int best = json_file(run / "result.json").at("epoch");
  CHECK(static_cast<int>(lines(read(run / "metrics.csv")).size()) - 1 == best + 2);
  CHECK(best + 2 < 30);
  const Result more = program::run({"train", "--resume", run.string(), "--patience", "3"});
  CAPTURE(more.err);
  CHECK(more.code == 0);
  CHECK(static_cast<int>(lines(read(run / "metrics.csv")).size()) - 1 >= best + 3);
}

TEST_CASE("averaged weights are tested and kept, and training goes on with its own") {
  const Folder folder;
  const fs::path plain = trained(folder, "plain", {"--epochs", "1"});
  const fs::path averaged = trained(folder, "averaged", {"--epochs", "1", "--ema-decay", "0.99"});
  CHECK((read(plain / "model.safetensors") != read(averaged / "model.safetensors")));
  CHECK(cells(lines(read(plain / "metrics.csv")).at(1))[1] == cells(lines(read(averaged / "metrics.csv")).at(1))[1]);
}

TEST_CASE("learning rates follow the schedule: warm-up, cosine, its floor") {
  const Folder folder;
  const fs::path run =
      trained(folder, "run",
              {"--epochs", "4", "--schedule", "cosine", "--warmup-epochs", "1", "--min-lr", "1e-4", "--lr", "1e-2"});
  const auto rows = lines(read(run / "metrics.csv"));
  CHECK(std::stod(cells(rows.at(1))[5]) == Approx(1e-2));  // the last step of the warm-up
  CHECK(std::stod(cells(rows.at(2))[5]) < 1e-2);
  CHECK(std::stod(cells(rows.at(3))[5]) < std::stod(cells(rows.at(2))[5]));
  const double last = 14.0 / 15;  // of the way behind the warm-up: the floor would come one step later
  CHECK(std::stod(cells(rows.at(4))[5]) == Approx(1e-4 + (1e-2 - 1e-4) * (1 + std::cos(std::acos(-1) * last)) / 2));
}

TEST_CASE("label smoothing and clipping change the run") {
  const Folder folder;
  const fs::path plain = trained(folder, "plain", {"--epochs", "1"});
  for (const char* option : {"--label-smoothing", "--clip-norm"}) {
    CAPTURE(option);
    const fs::path other = trained(folder, option + 2, {"--epochs", "1", option, "0.1"});
    CHECK((read(plain / "model.safetensors") != read(other / "model.safetensors")));
  }
}

TEST_CASE("the twin of standard convolutions trains, tests and goes on") {
  const Folder folder;
  std::vector<std::string> arguments = small_training(folder / "run", {"--model", "standard", "--epochs", "1"}, 16);
  *(std::find(arguments.begin(), arguments.end(), "--width") + 1) = "0.1";
  REQUIRE(run(arguments).code == 0);
  REQUIRE(run({"train", "--resume", folder / "run", "--epochs", "2"}).code == 0);
  CHECK(json_file(folder.path / "run/config.json").at("model").at("name") == "standard");
  CHECK(json_of(
            run({"eval", "--weights", folder / "run/model.safetensors", "--data", "shapes", "--limit", "4", "--json"}))
            .at("images") == 4);
}

TEST_CASE("TensorBoard's files are written where they are asked for") {
  const Folder folder;
  const fs::path run = trained(folder, "run", {"--epochs", "1", "--tensorboard"});
  REQUIRE(fs::is_directory(run / "tensorboard"));
  CHECK(contains(read(fs::directory_iterator(run / "tensorboard")->path()), "accuracy/validation"));
  CHECK(!fs::exists(trained_run() / "tensorboard"));
}

TEST_CASE("options that contradict each other are refused") {
  check_refused({"--val", "article", "--val-fraction", "0.1"}, "--val-fraction");
  check_refused({"--schedule", "onecycle", "--warmup-epochs", "1"}, "--warmup-epochs");
  check_refused({"--min-lr", "1e-5"}, "--min-lr");
  check_refused({"--schedule", "cosine", "--min-lr", "1"}, "--min-lr");
  check_refused({"--flip", "1.5"}, "from 0 to 1");
  check_refused({"--model", "vgg"}, "standard");
  check_refused({"--url", "http://localhost/x"}, "--download");
  check_refused({"--precision", "bf16", "--model", "standard"}, "standard");
  const Result named = run({"bench", "step", "--precision", "bf16", "--kernels", "pointwise_conv=async"});
  CHECK(named.code == 2);
  CHECK(contains(named.err, "pointwise_conv=async: for bfloat16 activations there is naive, bf16"));
}

TEST_CASE("data --sheet shows what training sees") {
  const Folder folder;
  const auto sheet = [&](const char* name, const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"data", "--data", "shapes", "--count", "3", "--sheet", folder / name};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Result result = run(arguments);
    CAPTURE(result.err);
    REQUIRE(result.code == 0);
    return read(folder / name);
  };
  const std::string article = sheet("a.png", {});
  CHECK(article.substr(1, 3) == "PNG");
  CHECK((sheet("b.png", {}) == article));
  CHECK((sheet("c.png", {"--seed", "1"}) != article));
  CHECK((sheet("d.png", {"--augment", "none"}) != article));
  const Result nowhere = run({"data", "--data", "shapes", "--sheet", folder / "none/x.png"});
  CHECK(nowhere.code == 2);
  CHECK(contains(nowhere.err, folder / "none/x.png"));
}
