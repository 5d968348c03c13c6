// A user's own images, from folders to predictions.
#include <set>

#include "catch.h"
#include "run_files.h"

using namespace program;

TEST_CASE("a folder of images trains, tests and predicts, and a run on it goes on") {
  const Folder folder;
  REQUIRE(run({"data", "--data", "shapes", "--export", folder / "all", "--count", "80"}).code == 0);
  for (const auto& file : fs::directory_iterator(folder.path / "all")) {  // NUMBER-CLASS.png
    const std::string name = file.path().filename().string();
    const fs::path to =
        folder.path / "set" / (std::stoi(name) < 60 ? "train" : "test") / file.path().stem().string().substr(6);
    fs::create_directories(to);
    fs::copy(file.path(), to / name);
  }
  const auto train = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"train", "--tune", "off"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Result result = run(arguments);
    CAPTURE(result.err);
    REQUIRE(result.code == 0);
  };
  const std::vector<std::string> first = {"--data",   folder / "set", "--width",   "0.25", "--batch", "8",
                                          "--epochs", "15",           "--augment", "none", "--out",   folder / "run"};
  train(first);
  train({"--resume", folder / "run", "--epochs", "16"});
  const auto config = nlohmann::json::parse(read(folder / "run/config.json"));
  CHECK(config.at("data").at("name") == "images");
  CHECK(config.at("data").at("train") == 60);
  CHECK(config.at("data").at("test") == 20);
  const auto eval = json_of(run(
      {"eval", "--weights", folder / "run/model.safetensors", "--data", folder / "set", "--tune", "off", "--json"}));
  CHECK(eval.at("images") == 20);
  CHECK(eval.at("classes").size() == 10);

  // predict sees an image as the test does.
  std::vector<std::string> arguments = {"predict", "--weights", folder / "run/model.safetensors",
                                        "--tune",  "off",       "--json"};
  for (const auto& file : fs::recursive_directory_iterator(folder.path / "set/test"))
    if (file.is_regular_file()) arguments.push_back(file.path().string());
  int correct = 0;
  std::set<std::string> classes;
  const auto predicted = json_of(run(arguments));
  for (const auto& image : predicted.at("images")) {
    const std::string truth = fs::path(image.at("file").get<std::string>()).parent_path().filename().string();
    classes.insert(image.at("predictions")[0].at("name").get<std::string>());
    correct += image.at("predictions")[0].at("name") == truth;
  }
  CHECK(classes.size() > 1);  // else it says little
  CHECK(correct == eval.at("correct"));
}
