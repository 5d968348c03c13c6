// summary, info and data: what the program says of the network, of itself and of a set of images.
#include "catch.h"
#include "program.h"

using namespace program;

TEST_CASE("summary counts what the paper counts") {
  const auto check = [](const std::vector<std::string>& options, int64_t parameters, int64_t multiply_adds) {
    std::vector<std::string> arguments = {"summary", "--json"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    const auto json = json_of(run(arguments));
    CHECK(json.at("parameters") == parameters);
    CHECK(json.at("multiply_adds") == multiply_adds);
    int64_t sum = 0;
    for (const auto& layer : json.at("layers"))
      sum += layer.at("parameters").get<int64_t>() + layer.at("batchnorm_parameters").get<int64_t>();
    CHECK(sum == parameters);
  };
  check({}, 3'217'226, 46'354'432);
  check({"--resolution", "224", "--classes", "1000"}, 4'231'976, 568'740'352);
  check({"--resolution", "224", "--classes", "1000", "--width", "0.25"}, 470'072, 41'030'272);
}

TEST_CASE("summary's table shows every layer and the shares of the paper's table 2") {
  const Result result = run({"summary", "--resolution", "224", "--classes", "1000"});
  CHECK(result.code == 0);
  CHECK(result.err.empty());
  for (const char* part : {"conv_stem", "112×112×32", "blocks.4.1.conv_pw", "7×7×1024", "classifier", "568,740,352",
                           "4,231,976", "94.86 %", "74.19 %"}) {
    CAPTURE(part, result.out);
    CHECK(contains(result.out, part));
  }
}

TEST_CASE("info lists devices, libraries and the rows of every operation") {
  const auto json = json_of(run({"info", "--json"}));
  CHECK(json.at("devices").at("cpu").at("present") == true);
  const auto& rows = json.at("devices").at("cpu").at("rows");
  for (const char* operation : {"depthwise_conv", "pointwise_conv", "conv2d", "batchnorm", "relu6", "global_avg_pool",
                                "linear", "cross_entropy", "adam"}) {
    CAPTURE(operation);
    REQUIRE(rows.contains(operation));
    CHECK(rows.at(operation).at(0) == "naive");
  }
  for (const char* library : {"cuda", "cudnn", "onednn", "download"}) {
    const auto& feature = json.at("libraries").at(library);
    CHECK(feature.at("built").get<bool>() == feature.contains("version"));
    CHECK(feature.at("built").get<bool>() != feature.contains("why_not"));
  }
  const Result text = run({"info"});
  CHECK(text.code == 0);
  CHECK(contains(text.out, "depthwise_conv"));
}

TEST_CASE("data exports test images that predict reads") {
  const Folder folder;
  const Result result = run({"data", "--data", "shapes", "--export", folder / "images", "--count", "3"});
  CAPTURE(result.out, result.err);
  CHECK(result.code == 0);
  CHECK(contains(result.out, "circle"));
  size_t files = 0;
  for (const auto& entry : fs::directory_iterator(folder / "images")) {
    CHECK(read(entry.path()).substr(1, 3) == "PNG");
    ++files;
  }
  CHECK(files == 3);
}
