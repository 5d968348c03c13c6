// --kernels auto: rows are timed once and kept, a run that goes on takes its own, and --tune off times none. No test
// looks at a time: where it matters which row won, the file says it, forged.
#include <algorithm>

#include "catch.h"
#include "program.h"
#include "run_files.h"

using namespace program;
using nlohmann::json;

namespace {

// The cache folder of the runs of a test.
struct Cache {
  const fs::path before = tuning_folder();
  explicit Cache(const fs::path& folder) { tuning_folder() = folder; }
  ~Cache() { tuning_folder() = before; }
};

// Plain blocks: the CPU's fused passes have one row each.
std::vector<std::string> arguments(const std::string& out, const std::vector<std::string>& more) {
  std::vector<std::string> all = small_training(out, {"--kernels", "auto", "--block", "plain", "--device", "cpu"}, 20);
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

Result train(const std::vector<std::string>& words, const fs::path& cache) {
  const Cache here(cache);
  const Result result = run(words);
  CAPTURE(result.err);
  REQUIRE(result.code == 0);
  return result;
}

json read_times(const fs::path& cache) { return json::parse(read(cache / "tuning.json")); }

// The file with this row as the winner wherever it was timed.
void forge(const fs::path& from, const fs::path& to, const std::string& row) {
  json all = read_times(from);
  for (json& passes : all["machines"])
    for (json& pass : passes)
      if (pass["microseconds"].contains(row)) pass["row"] = row;
  fs::create_directories(to);
  write(to / "tuning.json", all.dump());
}

// Whether any operation has two rows to choose from on the CPU here.
bool there_is_a_choice() {
  if (json_of(run({"info", "--json"}))["libraries"]["onednn"]["built"].get<bool>()) return true;
  WARN("nothing to choose between: this build has no oneDNN");
  return false;
}

}  // namespace

TEST_CASE("what a run timed is kept, said, and taken by the next one") {
  if (!there_is_a_choice()) return;
  const Folder folder;
  const fs::path cache = folder.path / "a/cache";
  const Result first = train(arguments(folder / "first", {"--epochs", "1"}), cache);
  CHECK(contains(first.err, "passes timed in"));
  CHECK(contains(first.err, (cache / "tuning.json").string()));
  const std::string written = read(cache / "tuning.json");
  const json passes = json::parse(written)["machines"].front();
  // Of the first and the last, smaller batch; in training and, folded, in the test, which has four images.
  for (const char* pass : {"pointwise_conv.forward fp32, rows 8192, channels 8 to 16",
                           "depthwise_conv.backward_weight fp32, batch 4, height 32, width 32, channels 8, stride 1",
                           "conv2d.forward_folded fp32, batch 4, height 32, width 32, channels 3 to 8, stride 1"}) {
    CAPTURE(pass);
    REQUIRE(passes.contains(pass));
    CHECK(passes[pass]["microseconds"].size() == 2);
    CHECK(passes[pass]["microseconds"].contains(passes[pass]["row"].get<std::string>()));
  }
  const Result second = train(arguments(folder / "second", {"--epochs", "1", "--graph", "off"}), cache);
  CHECK(!contains(second.err, "timed"));
  CHECK(read(cache / "tuning.json") == written);
  check_same_run(folder.path / "first", folder.path / "second");

  const auto state = parts(folder.path / "first/checkpoint.safetensors").first["__metadata__"]["state"];
  const json recorded = json::parse(state.get<std::string>())["kernels"]["rows"];
  for (const auto& [pass, entry] : passes.items()) CHECK(recorded.value(pass, "") == entry["row"]);
}

TEST_CASE("a run that goes on takes the rows that it took, whatever the file says by then") {
  if (!there_is_a_choice()) return;
  const Folder folder;
  const fs::path timed = folder.path / "timed", library = folder.path / "library", loops = folder.path / "loops";
  train(arguments(folder / "any", {"--epochs", "1"}), timed);
  forge(timed, library, "onednn");
  forge(timed, loops, "simd");

  train(arguments(folder / "whole", {"--epochs", "2"}), library);
  train(arguments(folder / "other", {"--epochs", "2"}), loops);
  CHECK((read(folder.path / "whole/model.safetensors") != read(folder.path / "other/model.safetensors")));

  const fs::path after = GENERATE("loops", "empty");
  train(arguments(folder / "halves", {"--epochs", "1"}), library);
  const Result resumed = train({"train", "--resume", folder / "halves", "--epochs", "2"}, folder.path / after);
  CHECK(!contains(resumed.err, "timed"));
  check_same_run(folder.path / "whole", folder.path / "halves");
}

TEST_CASE("the steps that are replayed as graphs take the rows of those that are not") {
  if (!there_is_a_choice()) return;
  const Folder folder;
  const fs::path timed = folder.path / "timed";
  train(arguments(folder / "any", {"--epochs", "1"}), timed);
  forge(timed, folder.path / "library", "onednn");
  train(arguments(folder / "graph", {"--epochs", "1"}), folder.path / "library");
  train(arguments(folder / "eager", {"--epochs", "1", "--graph", "off"}), folder.path / "library");
  check_same_run(folder.path / "graph", folder.path / "eager");
}

TEST_CASE("--tune off times nothing, --tune cached takes what it finds, and a bad folder stops no run") {
  if (!there_is_a_choice()) return;
  const Folder folder;
  for (const char* tune : {"off", "cached"}) {
    const Result result = train(arguments(folder / tune, {"--epochs", "1", "--tune", tune}), folder.path / "cache");
    CHECK(!contains(result.err, "timed"));
    CHECK(!fs::exists(folder.path / "cache"));
  }
  check_same_run(folder.path / "off", folder.path / "cached");

  write(folder.path / "file", "no folder");
  const Result result = train(arguments(folder / "run", {"--epochs", "1"}), folder.path / "file");
  CHECK(contains(result.err, "not kept: "));
  CHECK(read(folder.path / "file") == "no folder");

  fs::create_directories(folder.path / "damaged");
  write(folder.path / "damaged/tuning.json", "{");
  const Result damaged = train(arguments(folder / "third", {"--epochs", "1"}), folder.path / "damaged");
  CHECK(contains(damaged.err, "passed over"));
  CHECK(read_times(folder.path / "damaged")["machines"].size() == 1);
}

TEST_CASE("eval and predict time rows only where they are told to, and info names the file") {
  const Folder folder;
  const Cache here(folder.path);
  CHECK(json_of(run({"info", "--json"}))["tuning_file"] == (folder.path / "tuning.json").string());
  if (!there_is_a_choice()) return;
  const std::string weights = (trained_run() / "model.safetensors").string();
  const std::string image = folder / "image";
  REQUIRE(run({"data", "--data", "shapes", "--export", image, "--count", "1"}).code == 0);
  std::vector<std::string> predict = {"predict", "--device", "cpu", "--weights", weights};
  for (const auto& file : fs::directory_iterator(image)) predict.push_back(file.path().string());
  const Result predicted = run(predict);
  CHECK(predicted.code == 0);
  CHECK(!contains(predicted.err, "timed"));
  CHECK(!fs::exists(folder.path / "tuning.json"));
  std::vector<std::string> eval = {"eval",   "--device", "cpu",     "--weights", weights,
                                   "--data", "shapes",   "--limit", "20"};
  const Result usual = run(eval);
  CHECK(usual.code == 0);
  CHECK(!contains(usual.err, "timed"));
  CHECK(!fs::exists(folder.path / "tuning.json"));
  eval.insert(eval.end(), {"--tune", "on"});
  const Result tested = run(eval);
  CHECK(tested.code == 0);
  CHECK(contains(tested.err, "passes timed in"));
  CHECK(fs::exists(folder.path / "tuning.json"));
}
