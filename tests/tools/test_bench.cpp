// mobilenet bench: shapes, what is counted, and that a wrong kernel would be seen. Times are looked at for being there
// only.
#include "tools/bench_shapes.h"

#include <cmath>
#include <cstdlib>
#include <map>
#include <set>

#include "catch.h"
#include "program.h"
#include "tools/bench_operations.h"

using namespace program;
using nlohmann::json;
using namespace tools::bench;

namespace {

// A file of small shapes of every operation.
const char* const small_shapes =
    "# every operation\n"
    "conv2d batch=2 height=6 width=5 in_channels=3 out_channels=8 stride=2   # stem\n"
    "depthwise_conv stride=1 batch=2 height=6 width=5 channels=8             # first\n"
    "\n"
    "depthwise_conv batch=2 height=6 width=5 channels=8 stride=1             # second\n"
    "pointwise_conv batch=2 height=6 width=5 in_channels=8 out_channels=16\n"
    "depthwise_conv batch=2 height=4 width=4 channels=8 stride=1             # a small map, for images\n"
    "pointwise_conv batch=1 height=2 width=2 in_channels=512 out_channels=512   # a long sum, for split_k\n"
    "batchnorm batch=2 height=6 width=5 channels=8\n"
    "relu6 batch=2 height=6 width=5 channels=8\n"
    "add batch=2 height=6 width=5 channels=8\n"
    "global_avg_pool batch=2 height=6 width=5 channels=8\n"
    "linear batch=2 in_features=16 out_features=10\n"
    "cross_entropy batch=2 classes=10\n"
    "adam chunks=3\n";

struct ShapesFile {
  Folder folder;
  std::string path = folder / "shapes.txt";
  explicit ShapesFile(const std::string& text) { write(path, text); }
};

json bench_kernels(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"bench", "kernels", "--json", "--device", "cpu"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return json_of(run(arguments));
}

}  // namespace

TEST_CASE("bench kernels checks and times every row of every operation") {
  const ShapesFile file(small_shapes);
  const json result = bench_kernels({"--shapes", file.path, "--repeat", "2", "--orders", "2"});
  CHECK(result["wrong"] == 0);
  CHECK(result["roofline"]["copy_bytes_per_second"].get<double>() > 0);
  CHECK(result["roofline"]["product_flops_per_second"].get<double>() > 0);

  // Every pass of every row of the tables but those that no network of this file has (augment, loss_totals).
  std::map<std::string, std::set<std::string>> rows;
  for (const json& r : result["results"]) {
    CAPTURE(r.dump());
    CHECK(r["correct"] == true);
    CHECK(r["seconds"]["runs"] == 2);
    CHECK(r["seconds"]["median"].get<double>() > 0);
    CHECK(r["share_of_roofline"].get<double>() > 0);
    rows[r["operation"]].insert(r["row"].get<std::string>());
  }
  auto all = kernels::all_rows(kernels::DeviceType::cpu);
  for (const char* other : {"augment", "loss_totals"}) all.erase(other);
  for (const auto& [operation, names] : all) {
    CAPTURE(operation);
    for (const std::string& name : names) {
      CAPTURE(name);
      CHECK(rows[operation].count(name) == 1);
    }
  }
  CHECK(rows.size() == all.size());

  for (const json& rung : result["ladder"]) {
    if (rung["operation"] != "depthwise_conv") continue;
    CHECK(rung["layers"] == (rung["row"] == "images" ? 1 : 3));  // two lines are one shape
    CHECK(rung["of_layers"] == 3);
  }
}

TEST_CASE("bench counts each array once, and a multiply-add as two operations") {
  const auto cost = [](const std::string& line, const std::string& pass_name) {
    const LayerShape shape = parse_shapes(line, "a line").at(0);
    const AnyShape any = shape.operation->make(shape.values);
    for (const Pass& pass : shape.operation->passes)
      if (pass.name == pass_name) return std::pair(bytes_of(pass.arrays(any.get())), pass.flops(any.get()));
    throw std::runtime_error("no such pass");
  };
  using Cost = std::pair<double, double>;
  // 5×7 pixels become 3×4 at stride 2.
  const std::string depthwise = "depthwise_conv batch=3 height=5 width=7 channels=10 stride=2";
  for (const char* pass : {"forward", "backward_data", "backward_weight"})
    CHECK(cost(depthwise, pass) == Cost(4 * (3 * 35 * 10 + 3 * 12 * 10 + 90), 18 * 3 * 12 * 10));
  CHECK(cost("pointwise_conv batch=3 height=5 width=7 in_channels=4 out_channels=6", "forward") ==
        Cost(4 * (105 * 4 + 105 * 6 + 24), 2 * 105 * 24));
  CHECK(cost("conv2d batch=1 height=4 width=4 in_channels=3 out_channels=8 stride=1", "backward_weight") ==
        Cost(4 * (48 + 128 + 216), 2 * 16 * 216));
  CHECK(cost("linear batch=2 in_features=4 out_features=3", "backward_weight") == Cost(4 * (8 + 6 + 12 + 3), 48));
  // The running statistics are read and written.
  CHECK(cost("batchnorm batch=2 height=3 width=1 channels=5", "forward_training").first ==
        4 * (30 + 30 + 5 * (2 + 4 + 2)));
  CHECK(cost("relu6 batch=1 height=1 width=1 channels=7", "backward").first == 4 * 21);
}

TEST_CASE("bench writes its result and its page as files") {
  const ShapesFile file(small_shapes);
  const std::string json_file = file.folder / "result.json", page = file.folder / "page.html";
  const Result result = run({"bench", "kernels", "--shapes", file.path, "--op", "relu6,linear", "--repeat", "1",
                             "--json", json_file, "--html", page});
  CAPTURE(result.err);
  REQUIRE(result.code == 0);
  CHECK(contains(result.out, "relu6 backward, all layers"));  // the table is printed all the same
  const json j = json::parse(read(json_file));
  const std::string html = read(page);
  for (const json& rung : j["ladder"]) {
    CHECK(contains(html,
                   "<h2>" + rung["operation"].get<std::string>() + " " + rung["pass"].get<std::string>() + "</h2>"));
    CHECK(contains(html, rung["row"].get<std::string>()));
  }
  CHECK(!contains(html, "://"));  // nothing of it comes from elsewhere

  const Result nowhere = run({"bench", "kernels", "--shapes", file.path, "--op", "relu6", "--repeat", "1", "--json",
                              file.folder / "no/such/folder.json"});
  CHECK(nowhere.code == 2);
}

TEST_CASE("bench chooses operations, passes, rows and batch") {
  const ShapesFile file(small_shapes);
  const json result = bench_kernels({"--shapes", file.path, "--op", "depthwise_conv,relu6", "--pass", "forward",
                                     "--rows", "naive,vectorised", "--batch", "3", "--repeat", "0"});
  REQUIRE(result["results"].size() == 6);  // of two shapes and one
  for (const json& r : result["results"]) {
    CHECK(r["pass"] == "forward");
    CHECK(r["shape"]["batch"] == 3);
    CHECK(!r.contains("seconds"));
  }
  CHECK(result["ladder"].empty());
}

TEST_CASE("bench checks a large layer at a smaller batch, and says so") {
  const ShapesFile file("pointwise_conv batch=40 height=16 width=16 in_channels=64 out_channels=128\n");
  const json result = bench_kernels({"--shapes", file.path, "--rows", "simd", "--repeat", "0"});
  for (const json& r : result["results"]) {
    // 100 million operations, of 4.2 million an image, or of twice as many
    CHECK(r["checked_batch"] == (contains(r["pass"].get<std::string>(), "backward_fused") ? 11 : 23));
    CHECK(r["correct"] == true);
    CHECK(r["worst_error"].get<double>() > 0);  // something was compared that rounds
    CHECK(r["worst_error"].get<double>() <= 1);
  }
  const Result text =
      run({"bench", "kernels", "--shapes", file.path, "--rows", "simd", "--repeat", "1", "--pass", "forward"});
  CAPTURE(text.out);
  CHECK(text.code == 0);
  CHECK(contains(text.out, "right at batch 23"));
}

TEST_CASE("bench: what is allowed is far below what a lost term changes") {
  // These sums have at most 60 terms; a kernel that forgets one of them must not pass.
  for (const char* line :
       {"depthwise_conv batch=2 height=6 width=5 channels=8 stride=1",
        "pointwise_conv batch=2 height=6 width=5 in_channels=8 out_channels=16",
        "batchnorm batch=2 height=6 width=5 channels=8", "relu6 batch=2 height=6 width=5 channels=8",
        "cross_entropy batch=2 classes=10", "adam chunks=1", "global_avg_pool batch=2 height=6 width=5 channels=8"}) {
    const LayerShape shape = parse_shapes(line, "a line").at(0);
    const AnyShape any = shape.operation->make(shape.values);
    for (const Pass& pass : shape.operation->passes) {
      CAPTURE(line, pass.name);
      Numbers before;
      for (const Array& a : pass.arrays(any.get())) {
        before.emplace_back(a.count);
        for (int64_t i = 0; i < a.count && a.use != Use::out; ++i)
          before.back()[i] =
              std::floor(a.low) +
              (a.element == Element::integer ? 1 : (a.high - a.low) * static_cast<double>(i * 37 % 101) / 101);
      }
      Numbers after = before;
      pass.reference(any.get(), after);
      const Numbers allowed = pass.allowed(any.get(), before, after, kernels::Precision::fp32);
      const Arrays arrays = pass.arrays(any.get());
      for (size_t k = 0; k < arrays.size(); ++k) {
        if (arrays[k].use == Use::in) continue;
        CAPTURE(arrays[k].name);
        REQUIRE(allowed[k].size() == static_cast<size_t>(arrays[k].count));
        double largest_allowed = 0, largest = 0;
        for (const double a : allowed[k]) largest_allowed = std::max(largest_allowed, a);
        for (const double a : after[k]) largest = std::max(largest, std::fabs(a));
        CHECK(largest_allowed <= (arrays[k].element == Element::bf16 ? 1e-2 : 1e-3) * largest);
      }
    }
  }
}

TEST_CASE("bench: the committed shapes are what bench shapes prints") {
  const fs::path folder = MOBILENET_SHAPES;
  const auto check = [&](const char* name, const std::vector<std::string>& options) {
    CAPTURE(name);
    std::vector<std::string> arguments = {"bench", "shapes"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    CHECK(run(arguments).out == read(folder / (std::string(name) + ".txt")));
    // and the built-in network of that name
    const auto built_in = load_shapes(name, 0),
               committed = load_shapes((folder / (std::string(name) + ".txt")).string(), 0);
    REQUIRE(built_in.size() == committed.size());
    for (size_t i = 0; i < built_in.size(); ++i) {
      CHECK(built_in[i].values == committed[i].values);
      CHECK(built_in[i].layers == committed[i].layers);
    }
  };
  check("mobilenet_v1", {});
  check("mobilenet_v1_025", {"--width", "0.25"});
  check("mobilenet_v1_224", {"--resolution", "224", "--batch", "32"});
  check("mobilenet_v1_025_224", {"--resolution", "224", "--batch", "32", "--width", "0.25"});
}

TEST_CASE("bench: a bad line of shapes is named") {
  const auto refused = [](const std::string& line, const std::string& part) {
    const ShapesFile file("# shapes\n\n" + line + "\n");
    const Result result = run({"bench", "kernels", "--shapes", file.path});
    CAPTURE(line, result.err);
    CHECK(result.code == 2);
    CHECK(result.out.empty());
    CHECK(lines(result.err).size() == 1);
    CHECK(contains(result.err, file.path + ":3: "));
    CHECK(contains(result.err, part));
  };
  refused("deepwise_conv batch=1", "\"deepwise_conv\" is no operation; expected one of conv2d, depthwise_conv");
  refused("relu6 batch=1 height=2 width=2 channels", "\"channels\" is no field of relu6; expected batch, height");
  refused("relu6 batch=1 height=2 width=2 depth=3", "\"depth=3\" is no field");
  refused("relu6 batch=1 height=2 width=2", "channels is missing");
  refused("relu6 batch=1 height=2 width=2 channels=0", "\"channels=0\": expected a whole number from 1 to");
  refused("relu6 batch=1 height=2 width=2 channels=8x", "\"channels=8x\"");
  refused("relu6 batch=1 height=2 width=2 channels=8 channels=8", "channels is given twice");
  refused("depthwise_conv batch=1 height=2 width=2 channels=8 stride=3",
          "\"stride=3\": expected a whole number from 1 to 2");
  refused("relu6 batch=1000000 height=16384 width=16384 channels=1000000", "multiply to");
  refused("relu6 batch=1024 height=1024 width=1024 channels=4", "elements; at most");

  const ShapesFile empty("# nothing\n");
  const Result result = run({"bench", "kernels", "--shapes", empty.path});
  CHECK(result.code == 2);
  CHECK(contains(result.err, empty.path + ": holds no shape"));
}

TEST_CASE("bench: bad options are refused") {
  const auto refused = [](const std::vector<std::string>& options, const std::string& part) {
    std::vector<std::string> arguments = {"bench", "kernels", "--device", "cpu"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    const Result result = run(arguments);
    CAPTURE(options, result.err);
    CHECK(result.code == 2);
    CHECK(lines(result.err).size() == 1);
    CHECK(contains(result.err, part));
  };
  refused({"--op", "conv"}, "--op conv: none of all, conv2d");
  refused({"--op", "relu6", "--pass", "backward_data"}, "--pass backward_data: none of all, forward, backward");
  refused({"--op", "relu6", "--rows", "march"}, "--rows march: none of all, naive, vectorised");
  refused({"--shapes", "nowhere"}, "--shapes nowhere: no such file, and none of mobilenet_v1");
  refused({"--op", "add"}, "--shapes mobilenet_v1: has no shape of the operations");
  const Result none = run({"bench"});
  CHECK(none.code == 2);
}

TEST_CASE("bench step says where the time goes") {
  const json result = json_of(run({"bench", "step", "--json", "--device", "cpu", "--batch", "4", "--width", "0.25",
                                   "--steps", "2", "--kernels", "native", "--block", "plain"}));
  CHECK(result["parameters"] == 215642);
  for (const char* what : {"training", "inference"}) {
    CAPTURE(what);
    const json& m = result[what];
    const bool training = std::string(what) == "training";
    CHECK(m["seconds"]["runs"] == 2);
    CHECK(m["images_per_second"].get<double>() > 0);
    CHECK(m["launches"] == m["graph_nodes"]);  // each kernel is a node, and nothing else is one
    CHECK(m["peak_memory_bytes"].get<double>() > 215642 * 4);
    CHECK(m["calls"].size() == (training ? 195 : 83));
    double seconds = 0, bytes = 0;
    std::map<std::string, int> calls;
    for (const json& p : m["passes"]) {
      CAPTURE(p.dump());
      CHECK(!contains(p["pass"].get<std::string>(), "pass at"));  // the bench knows every pass
      CHECK(p["times_floor"].get<double>() > 0);
      seconds += p["seconds"].get<double>(), bytes += p["bytes"].get<double>();
      calls[p["operation"].get<std::string>() + " " + p["pass"].get<std::string>()] += p["calls"].get<int>();
    }
    CHECK(m["bytes"].get<double>() == bytes);
    CHECK(m["profiled_seconds"].get<double>() == Approx(seconds + m["other_seconds"].get<double>()));
    CHECK(calls["depthwise_conv forward"] == 13);
    CHECK(calls["pointwise_conv backward_weight"] == (training ? 13 : 0));
    CHECK(calls["batchnorm forward_training"] == (training ? 27 : 0));
    CHECK(calls["conv2d backward_data"] == 0);  // nobody wants the images' gradient
    CHECK(calls["adam adam"] == (training ? 1 : 0));
  }
  // Adam reads four arrays and writes three of the network's parameters.
  for (const json& call : result["training"]["calls"])
    if (call["operation"] == "adam") CHECK(call["bytes"] == 7 * 4 * 215642);

  const json inference =
      json_of(run({"bench", "step", "--json", "--device", "cpu", "--batch", "2", "--width", "0.25", "--steps", "1",
                   "--inference", "--graph", "off", "--clock", "processor", "--roofline", "off"}));
  CHECK(!inference.contains("training"));
  CHECK(inference["roofline"].is_null());
  CHECK(inference["inference"]["floor_seconds"] == 0);
  CHECK(inference["inference"]["graph_nodes"] == 0);
  CHECK(inference["clock"] == "processor");

  // The same step, fused: batch norm and ReLU6 have no passes of their own.
  const json fused = json_of(run({"bench", "step", "--json", "--device", "cpu", "--batch", "4", "--width", "0.25",
                                  "--steps", "1", "--roofline", "off"}));
  CHECK(fused["block"] == "fused");
  std::set<std::string> passes;
  for (const char* what : {"training", "inference"})
    for (const json& p : fused[what]["passes"]) {
      passes.insert(p["operation"].get<std::string>() + " " + p["pass"].get<std::string>());
      CHECK(!contains(p["pass"].get<std::string>(), "pass at"));
    }
  for (const char* pass : {"conv2d forward_fused", "depthwise_conv backward_fused", "pointwise_conv backward_fused",
                           "conv2d backward_weight_fused", "depthwise_conv forward_folded"})
    CHECK(passes.count(pass) == 1);
  CHECK(passes.count("batchnorm forward_training") == 0);
  CHECK(fused["training"]["bytes"].get<double>() < result["training"]["bytes"].get<double>());

  // In the other precisions too, and with activations of two bytes.
  for (const char* block : {"fused", "plain"})
    for (const char* precision : {"tf32", "bf16"}) {
      CAPTURE(block, precision);
      const json j =
          json_of(run({"bench", "step", "--json", "--device", "cpu", "--batch", "4", "--width", "0.25", "--steps", "1",
                       "--kernels", "native", "--block", block, "--precision", precision, "--roofline", "off"}));
      const json& as_float = std::string(block) == "fused" ? fused : result;
      for (const char* what : {"training", "inference"}) {
        for (const json& p : j[what]["passes"]) CHECK(!contains(p["pass"].get<std::string>(), "pass at"));
        const double share = j[what]["bytes"].get<double>() / as_float[what]["bytes"].get<double>();
        CHECK(share <= 1);
        if (std::string(precision) == "bf16") CHECK(share < 0.85);  // weights, and Adam's arrays, stay as they are
      }
    }

  const Result text = run({"bench", "step", "--batch", "2", "--width", "0.25", "--steps", "1", "--inference"});
  CAPTURE(text.out);
  CHECK(text.code == 0);
  CHECK(contains(text.out, "pointwise_conv forward"));
  CHECK(contains(text.out, "outside of them"));
}

TEST_CASE("bench step says where bfloat16 has no instructions of its own") {
  const char* const before = std::getenv("MOBILENET_SIMD");
  const std::string kept = before != nullptr ? before : "";
  ::setenv("MOBILENET_SIMD", "generic", 1);
  const Result result = run({"bench", "step", "--device", "cpu", "--precision", "bf16", "--width", "0.25", "--batch",
                             "2", "--steps", "1", "--roofline", "off", "--json"});
  before != nullptr ? ::setenv("MOBILENET_SIMD", kept.c_str(), 1) : ::unsetenv("MOBILENET_SIMD");
  CAPTURE(result.err);
  CHECK(result.code == 0);
  CHECK(contains(result.err, "no AVX512-BF16 on this processor"));
  const json found = json_of(result);
  for (const auto& call : found["training"]["calls"]) CHECK(call["row"] != "naive");
}
