// eval and predict: that they use the weights as training did.
#include "catch.h"
#include "program.h"

using namespace program;

namespace {

std::string weights() { return (trained_run() / "model.safetensors").string(); }

}  // namespace

TEST_CASE("eval finds the accuracy that training found") {
  // The model is the first of the best epochs; the run tested on 8 images, the first of the set.
  const auto json = json_of(run(
      {"eval", "--weights", weights(), "--data", "shapes", "--limit", "8", "--tune", "off", "--batch", "8", "--json"}));
  double best = -1, loss = 0;
  const auto rows = lines(read(trained_run() / "metrics.csv"));
  for (size_t i = 1; i < rows.size(); ++i) {
    std::vector<double> cells;
    size_t from = 0;
    while (from < rows[i].size()) {
      const size_t comma = std::min(rows[i].find(',', from), rows[i].size());
      cells.push_back(std::stod(rows[i].substr(from, comma - from)));
      from = comma + 1;
    }
    if (cells.at(4) > best) best = cells.at(4), loss = cells.at(3);
  }
  CHECK(json.at("accuracy").get<double>() == Approx(best));
  CHECK(json.at("loss").get<double>() == Approx(loss).epsilon(1e-5));  // metrics.csv has six digits
  CHECK(json.at("images") == 8);
  int64_t correct = 0;
  for (const auto& c : json.at("classes")) correct += c.at("correct").get<int64_t>();
  CHECK(correct == json.at("correct"));
}

TEST_CASE("eval and predict in another precision find what they find in fp32, within its rounding") {
  const auto loss = [](const char* precision) {
    return json_of(run({"eval", "--weights", weights(), "--data", "shapes", "--limit", "16", "--kernels", "native",
                        "--precision", precision, "--json"}))
        .at("loss")
        .get<double>();
  };
  const double expected = loss("fp32"), tf32 = loss("tf32"), bf16 = loss("bf16");
  CHECK(tf32 == Approx(expected).epsilon(5e-3));
  CHECK(bf16 == Approx(expected).epsilon(5e-2));
  CHECK(tf32 != expected);  // they did compute otherwise
  CHECK(bf16 != expected);
  CHECK(bf16 != tf32);

  const Folder folder;
  REQUIRE(run({"data", "--data", "shapes", "--export", folder / "images", "--count", "1"}).code == 0);
  const auto probability = [&](const char* precision) {
    return json_of(run({"predict", "--weights", weights(), "--top", "1", "--precision", precision, "--json",
                        folder / "images/00000-circle.png"}))
        .at("images")[0]
        .at("predictions")[0]
        .at("probability")
        .get<double>();
  };
  CHECK(probability("bf16") == Approx(probability("fp32")).epsilon(0.1));
}

TEST_CASE("eval prints a table for people") {
  const Result result = run({"eval", "--weights", weights(), "--data", "shapes", "--limit", "20"});
  CAPTURE(result.out, result.err);
  CHECK(result.code == 0);
  CHECK(contains(result.out, "hourglass"));
  CHECK(contains(result.out, "of 20 test images"));
}

TEST_CASE("predict names classes with their probabilities, the highest first") {
  const Folder folder;
  const Result made = run({"data", "--data", "shapes", "--export", folder / "images", "--count", "2"});
  REQUIRE(made.code == 0);
  const std::string circle = folder / "images/00000-circle.png", square = folder / "images/00001-square.png";
  const auto json = json_of(run({"predict", "--weights", weights(), "--top", "10", "--json", circle, square}));
  REQUIRE(json.at("images").size() == 2);
  CHECK(json.at("images")[0].at("file") == circle);
  for (const auto& image : json.at("images")) {
    REQUIRE(image.at("predictions").size() == 10);
    double sum = 0, before = 1;
    for (const auto& p : image.at("predictions")) {
      CHECK(p.at("probability").get<double>() <= before);
      before = p.at("probability");
      sum += before;
    }
    CHECK(sum == Approx(1));
  }
  // An image alone gives what it gives in a batch: 1e-5 is above the rounding of another order of sums.
  const auto alone = json_of(run({"predict", "--weights", weights(), "--top", "1", "--json", square}));
  const auto& together = json.at("images")[1].at("predictions")[0];
  const auto& only = alone.at("images")[0].at("predictions")[0];
  CHECK(only.at("name") == together.at("name"));
  CHECK(only.at("probability").get<double>() == Approx(together.at("probability").get<double>()).epsilon(1e-5));

  const Result text = run({"predict", "--weights", weights(), "--top", "3", circle});
  CHECK(text.code == 0);
  CHECK(lines(text.out).size() == 4);
  CHECK(contains(text.out, " %"));
}

TEST_CASE("weights without metadata, as from PyTorch, need --resolution") {
  // What other programs write: the same tensors, no __metadata__.
  const Folder folder;
  std::string bytes = read(weights());
  size_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<unsigned char>(bytes[i]);
  auto header = nlohmann::json::parse(bytes.substr(8, length));
  header.erase("__metadata__");
  std::string text = header.dump();
  REQUIRE(text.size() <= length);
  text.resize(length, ' ');
  write(folder / "bare.safetensors", bytes.substr(0, 8) + text + bytes.substr(8 + length));

  const std::vector<std::string> eval = {
      "eval", "--weights", folder / "bare.safetensors", "--data", "shapes", "--limit", "16", "--batch", "16", "--json"};
  CHECK(run(eval).code == 2);
  CHECK(contains(run(eval).err, "--resolution"));
  std::vector<std::string> complete = eval;
  complete.insert(complete.end(), {"--resolution", "32", "--width", "0.25"});
  const auto with_metadata =
      json_of(run({"eval", "--weights", weights(), "--data", "shapes", "--limit", "16", "--batch", "16", "--json"}));
  CHECK(json_of(run(complete)).at("loss") == with_metadata.at("loss"));
}
