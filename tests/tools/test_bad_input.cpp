// Bad arguments and files: each ends with exit code 2 and one line that says what is wrong and where.
#include <functional>

#include "catch.h"
#include "program.h"

using namespace program;

namespace {

// Every one of `parts` stands in that line.
void check_refused(const std::vector<std::string>& arguments, const std::vector<std::string>& parts,
                   size_t lines_on_stderr = 1) {
  const Result result = run(arguments);
  CAPTURE(arguments, result.out, result.err);
  CHECK(result.code == 2);
  CHECK(result.out.empty());
  const auto all = lines(result.err);
  REQUIRE(all.size() == lines_on_stderr);
  for (const std::string& part : parts) {
    CAPTURE(part);
    CHECK(contains(all.back(), part));
  }
}

// A folder of CIFAR-10's files with `images` images each, of labels 0, 1, 2, ….
void write_cifar(const fs::path& folder, int images) {
  fs::create_directories(folder);
  std::string batch;
  for (int i = 0; i < images; ++i) batch += static_cast<char>(i % 10) + std::string(3072, static_cast<char>(20 * i));
  for (const char* name : {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
                           "data_batch_5.bin", "test_batch.bin"})
    write(folder / name, batch);
}

std::vector<std::string> train_on(const std::string& data, const std::string& out) {
  return {"train", "--data", data, "--epochs", "1", "--width", "0.25", "--out", out};
}

std::string weights() { return (trained_run() / "model.safetensors").string(); }

// A copy of the trained weights after a change to the file's bytes.
std::string changed_weights(const Folder& folder, const std::function<void(std::string&)>& change) {
  std::string bytes = read(weights());
  change(bytes);
  write(folder / "changed.safetensors", bytes);
  return folder / "changed.safetensors";
}

void replace(std::string& text, const std::string& from, const std::string& to) {
  REQUIRE(from.size() == to.size());  // the header's length must stay
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  text.replace(at, from.size(), to);
}

}  // namespace

TEST_CASE("bad arguments are refused") {
  check_refused({}, {"subcommand", "--help"});
  check_refused({"fly"}, {"fly"});
  check_refused({"train", "--colour", "red"}, {"--colour"});
  check_refused({"train", "--batch", "0"}, {"--batch", "\"0\"", "1 to 65536"});
  check_refused({"train", "--batch", "many"}, {"--batch", "many"});
  check_refused({"train", "--batch", "-3"}, {"--batch"});
  check_refused({"train", "--epochs", "0"}, {"--epochs"});
  check_refused({"train", "--lr", "0"}, {"--lr", "above 0"});
  check_refused({"train", "--lr", "nan"}, {"--lr"});
  check_refused({"train", "--lr", "1e39"}, {"--lr"});  // no float
  check_refused({"train", "--width", "0"}, {"--width"});
  check_refused({"train", "--width", "1.5"}, {"--width"});
  check_refused({"train", "--resolution", "33"}, {"--resolution", "multiple of 32"});
  check_refused({"train", "--seed", "-1"}, {"--seed"});
  check_refused({"train", "--optimizer", "rmsprop"}, {"--optimizer", "rmsprop", "adam|adamw|sgd"});
  check_refused({"train", "--device", "tpu"}, {"--device", "tpu", "auto|cpu|cuda"});
  check_refused({"train", "--out", "a", "--resume", "b"}, {"--out", "--resume"});
  check_refused({"train", "--kernels", "fast"}, {"--kernels", "fast", "native"});
  check_refused({"train", "--kernels", "depthwise_conv=magic"}, {"depthwise_conv", "magic", "naive"});
  check_refused({"train", "--kernels", "convolution=naive"}, {"convolution", "depthwise_conv"});
  check_refused({"eval"}, {"--weights"});
  check_refused({"predict", "--weights", "w"}, {"IMAGE"});
  check_refused({"summary", "--classes", "0"}, {"--classes"});
}

TEST_CASE("help goes to standard output and succeeds") {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"--help"}, {"train", "--help"}, {"predict", "--help"}, {"--version"}}) {
    const Result result = run(arguments);
    CAPTURE(arguments);
    CHECK(result.code == 0);
    CHECK(!result.out.empty());
    CHECK(result.err.empty());
  }
}

TEST_CASE("bad data is refused, and no run's folder is left behind") {
  const Folder folder;
  const std::string out = folder / "run", data = folder / "data";
  SECTION("a missing folder") { check_refused(train_on(folder / "missing", out), {folder / "missing"}); }
  SECTION("an empty folder") {
    fs::create_directories(data);
    check_refused(train_on(data, out), {data, "empty"});
  }
  SECTION("a file instead of a folder") {
    write(data, "text");
    check_refused(train_on(data, out), {data, "file"});
  }
  SECTION("cifar10 that is nowhere") { check_refused(train_on("cifar10", out), {"/nonexistent"}); }
  SECTION("a truncated batch file") {
    write_cifar(data, 4);
    write(fs::path(data) / "data_batch_3.bin", read(fs::path(data) / "data_batch_3.bin").substr(0, 3073 * 2 + 100));
    check_refused(train_on(data, out), {"data_batch_3.bin", "3073"});
  }
  SECTION("a missing batch file") {
    write_cifar(data, 4);
    fs::remove(fs::path(data) / "test_batch.bin");
    check_refused(train_on(data, out), {"test_batch.bin"});
  }
  SECTION("a label out of range") {
    write_cifar(data, 4);
    std::string batch = read(fs::path(data) / "data_batch_2.bin");
    batch[3073] = 10;
    write(fs::path(data) / "data_batch_2.bin", batch);
    check_refused(train_on(data, out), {"data_batch_2.bin", "label", "10"});
  }
  CHECK(!fs::exists(out));
}

TEST_CASE("good CIFAR files of any number of images are trained on") {
  const Folder folder;
  write_cifar(folder / "data", 4);
  const Result result = run(train_on(folder / "data", folder / "run"));
  CAPTURE(result.err);
  CHECK(result.code == 0);
  CHECK(contains(read(folder / "run/config.json"), "\"cifar10\""));
}

TEST_CASE("a run's folder that cannot be made or holds a run is refused") {
  const Folder folder;
  write(folder / "file", "text");
  // Also for root, whom permissions do not stop: a folder below a file.
  check_refused(train_on("shapes", folder / "file/run"), {folder / "file/run", "--out"});
  check_refused(train_on("shapes", trained_run().string()), {trained_run().string(), "--resume"});
}

TEST_CASE("--resume of what is no run is refused") {
  const Folder folder;
  check_refused({"train", "--resume", folder / "missing"}, {folder / "missing", "checkpoint.safetensors"});
  fs::create_directories(folder / "empty");
  check_refused({"train", "--resume", folder / "empty"}, {folder / "empty", "checkpoint.safetensors"});
  fs::create_directories(folder / "weights");
  fs::copy_file(weights(), folder / "weights/checkpoint.safetensors");  // sound, but no checkpoint
  check_refused({"train", "--resume", folder / "weights"},
                {folder / "weights/checkpoint.safetensors", "no checkpoint"});
  fs::create_directories(folder / "cut");
  const std::string bytes = read(trained_run() / "checkpoint.safetensors");
  write(folder / "cut/checkpoint.safetensors", bytes.substr(0, bytes.size() / 2));
  check_refused({"train", "--resume", folder / "cut"}, {folder / "cut/checkpoint.safetensors"});
}

TEST_CASE("--resume with another fixed option is refused, with both values") {
  const std::string run = trained_run().string();
  check_refused({"train", "--resume", run, "--lr", "0.5"}, {"--lr", "0.5", "0.001"});
  check_refused({"train", "--resume", run, "--width", "1"}, {"--width", "0.25"});
  const Folder folder;
  write_cifar(folder / "data", 4);
  check_refused({"train", "--resume", run, "--data", folder / "data"}, {"shapes", "cifar10"});
}

TEST_CASE("weights that do not fit are refused with file, tensor and shapes") {
  const Folder folder;
  const auto eval = [](const std::string& file, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {"eval", "--data", "shapes", "--weights", file};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  };
  SECTION("another width than asked for") {
    check_refused(eval(weights(), {"--width", "0.5"}),
                  {weights(), "conv_stem.weight", "(8, 3, 3, 3)", "(16, 3, 3, 3)"});
  }
  SECTION("another width than the metadata says") {
    const std::string file =
        changed_weights(folder, [](std::string& bytes) { replace(bytes, "\"width\":\"0.25\"", "\"width\":\"0.50\""); });
    check_refused(eval(file), {file, "conv_stem.weight", "(8, 3, 3, 3)", "(16, 3, 3, 3)"});
  }
  SECTION("another number of classes than the data") {
    fs::create_directories(folder / "data");
    write(folder / "data/train.bin", std::string(3074, 0));
    write(folder / "data/test.bin", std::string(3074, 0));
    check_refused({"eval", "--data", folder / "data", "--weights", weights()}, {weights(), "10", "100"}, 2);
  }
  SECTION("impossible metadata") {
    const std::string file = changed_weights(
        folder, [](std::string& bytes) { replace(bytes, "\"resolution\":\"32\"", "\"resolution\":\"31\""); });
    check_refused(eval(file), {file, "resolution", "31"});
  }
  SECTION("no file") { check_refused(eval(folder / "missing.safetensors"), {folder / "missing.safetensors"}); }
  SECTION("a truncated file") {
    const std::string file = changed_weights(folder, [](std::string& bytes) { bytes.resize(bytes.size() - 1000); });
    check_refused(eval(file), {file});
  }
  SECTION("a file that ends in its header") {
    const std::string file = changed_weights(folder, [](std::string& bytes) { bytes.resize(100); });
    check_refused(eval(file), {file, "header"});
  }
  SECTION("an empty file") {
    const std::string file = changed_weights(folder, [](std::string& bytes) { bytes.clear(); });
    check_refused(eval(file), {file});
  }
  SECTION("a header that claims to be huge") {
    const std::string file = changed_weights(folder, [](std::string& bytes) { bytes.replace(0, 8, 8, '\x7f'); });
    check_refused(eval(file), {file, "header"});
  }
  SECTION("a header that is no JSON") {
    const std::string file = changed_weights(folder, [](std::string& bytes) { bytes[8] = '['; });
    check_refused(eval(file), {file, "header"});
  }
  SECTION("a file of something else") {
    write(folder / "text", std::string(1000, 'x'));
    check_refused(eval(folder / "text"), {folder / "text"});
  }
}

TEST_CASE("predict refuses what is no image, and bad weights") {
  const Folder folder;
  const Result made = run({"data", "--data", "shapes", "--export", folder / "images", "--count", "1"});
  REQUIRE(made.code == 0);
  const std::string image = folder / "images/00000-circle.png";
  const auto predict = [&](const std::string& file) {
    return std::vector<std::string>{"predict", "--weights", weights(), image, file};
  };
  check_refused(predict(folder / "missing.png"), {folder / "missing.png"});
  write(folder / "text.png", "no image");
  check_refused(predict(folder / "text.png"), {folder / "text.png"});
  const std::string bytes = read(image);
  write(folder / "cut.png", bytes.substr(0, bytes.size() / 2));
  check_refused(predict(folder / "cut.png"), {folder / "cut.png"});
  std::string flipped = bytes;
  flipped[bytes.size() / 2] ^= 0x10;
  write(folder / "flipped.png", flipped);
  check_refused(predict(folder / "flipped.png"), {folder / "flipped.png"});
  check_refused({"predict", "--weights", image, image}, {image});
}
