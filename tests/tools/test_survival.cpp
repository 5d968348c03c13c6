// What a run survives: being killed at any moment, and a disk that is full.
#include <random>

#include "catch.h"
#include "run_files.h"

using namespace program;

namespace {

// Runs a shell script in mount and user namespaces of its own, so that it can mount a file system of memory.
int run_in_namespace(const std::string& script) {
  return std::system(("unshare --user --map-root-user --mount sh -c '" + script + "'").c_str());
}

}  // namespace

TEST_CASE("a run that is killed again and again ends with the bytes of an undisturbed one") {
  const Folder folder;
  const auto arguments = [&](const char* name) {
    return small_training(folder / name, {"--epochs", "2", "--save-steps", "1", "--ema-decay", "0.9"});
  };
  const auto start = std::chrono::steady_clock::now();
  REQUIRE(run(arguments("whole")).code == 0);
  const int whole = static_cast<int>(
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start).count());

  const unsigned seed = std::random_device{}();
  CAPTURE(seed, whole);
  std::mt19937 random(seed);
  int killed = 0, finished = 0;
  while (killed < 20 || finished == 0) {
    const bool begun = fs::exists(folder.path / "killed/checkpoint.safetensors");
    if (!begun) fs::remove_all(folder.path / "killed");
    const auto command = begun ? std::vector<std::string>{"train", "--resume", folder / "killed"} : arguments("killed");
    // Once enough moments were tried, the run may end; until then it starts anew where it got that far.
    const Result result =
        killed < 20 ? run_killed(command, static_cast<int>(random() % (whole + whole / 4))) : run(command);
    CAPTURE(killed, result.err);
    REQUIRE((result.code == 0 || (result.code == 137 && killed < 20)));
    killed += result.code == 137;
    if (result.code == 0) {
      ++finished;
      check_same_run(folder.path / "whole", folder.path / "killed");
      fs::remove_all(folder.path / "killed");
    }
  }
}

TEST_CASE("on a full disk the run ends with a clear error, and the last checkpoint is whole") {
  if (run_in_namespace("mount -t tmpfs none /tmp") != 0) {
    WARN("skipped: no file system can be mounted here (unshare, mount)");
    return;
  }
  const Folder folder;  // outside of the small disk: what is left of it is looked at here
  const std::string disk = folder / "disk", kept = folder / "kept";
  fs::create_directories(disk);
  fs::create_directories(kept);
  const std::string program = std::string(MOBILENET_PROGRAM) + " train ", run_folder = disk + "/run";
  std::string train;
  for (const std::string& word : small_training(run_folder, {"--epochs", "1"}))
    if (word != "train") train += word + " ";
  // The program has no space left for its second epoch's files: a checkpoint is about 2.5 MB.
  const int code = run_in_namespace("mount -t tmpfs -o size=8m none " + disk + " && " + program + train + " 2> " +
                                    kept + "/first && cp -r " + run_folder + " " + kept +
                                    "/before && { head -c 8m /dev/zero 2> /dev/null > " + disk + "/filler; " + program +
                                    "--resume " + run_folder + " --epochs 2 2> " + kept + "/second; echo $? > " + kept +
                                    "/code; rm " + disk + "/filler; cp -r " + run_folder + " " + kept + "/after; }");
  REQUIRE(code == 0);
  const std::string message = lines(read(kept + "/second")).back();
  CAPTURE(message);
  CHECK(read(kept + "/code") == "1\n");
  CHECK(contains(message, run_folder));
  CHECK(contains(message, "No space left on device"));
  for (const char* file : {"checkpoint.safetensors", "model.safetensors", "metrics.csv"}) {
    CAPTURE(file);
    CHECK((read(fs::path(kept) / "before" / file) == read(fs::path(kept) / "after" / file)));
  }
  // With room again it goes on where it was.
  REQUIRE(run({"train", "--resume", kept + "/after", "--epochs", "2"}).code == 0);
  REQUIRE(run(small_training(folder / "whole", {"--epochs", "2"})).code == 0);
  check_same_run(folder.path / "whole", kept + "/after");
}
