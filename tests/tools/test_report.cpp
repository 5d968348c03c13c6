// Reports: the parts of the pages, names that must not become HTML, files that are damaged. What only a browser can
// tell is in check_pages.py.
#include "tools/report.h"

#include <cmath>

#include "catch.h"
#include "engine/error.h"
#include "program.h"
#include "tools/chart.h"
#include "tools/page.h"

using namespace program;

namespace {

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++n;
  return n;
}

constexpr const char* small_csv =
    "epoch,train_loss,train_accuracy,val_loss,accuracy,lr,images_per_second,seconds\n"
    "1,2.1,0.2,2.0,0.25,0.001,100,10\n2,1.5,0.4,1.6,0.45,0.001,101,10\n3,1.2,0.5,1.7,0.4,0.001,99,10.5\n";

tools::RunResult small_result(const std::vector<std::string>& classes) {
  tools::RunResult r{2, "article", 0.45, 1.61, 0.5, classes, {}, {}};
  for (size_t i = 0; i < classes.size(); ++i) {
    r.confusion.emplace_back(classes.size(), 0);
    r.confusion[i][i] = 7;
    r.confusion[i][(i + 1) % classes.size()] += 3;
  }
  const std::string image = tools::png_data_uri({1, 1, {1, 2, 3}});
  r.examples = {{0, 0, 0, 0.9, image}, {1, 1, 0, 0.6, image}};
  return r;
}

tools::Run small_run(const std::string& name, const std::vector<std::string>& classes) {
  return {name,
          {{"options", {{"lr", 0.001}}}},
          tools::parse_metrics(small_csv, "metrics.csv"),
          small_result(classes),
          std::vector<float>(2 * 27, 0.5f)};
}

void write_run(const fs::path& folder, const std::string& csv = small_csv) {
  fs::create_directories(folder);
  write(folder / "config.json", R"({"options": {"lr": 0.001}})");
  write(folder / "metrics.csv", csv);
}

// The program refuses with 2 and one line that holds all `parts`.
void check_refused(const std::vector<std::string>& arguments, const std::vector<std::string>& parts) {
  const Result result = run(arguments);
  CAPTURE(arguments, result.out, result.err);
  CHECK(result.code == 2);
  CHECK(lines(result.err).size() == 1);
  for (const std::string& part : parts) {
    CAPTURE(part);
    CHECK(contains(result.err, part));
  }
}

}  // namespace

TEST_CASE("a run's page has its parts") {
  const std::string html = tools::report_html(small_run("run", {"cat", "dog", "emu"}));
  CHECK(count(html, "data-chart=") == 4);
  CHECK(count(html, "<circle cx") == 3 * 6);  // an epoch's points: two curves of loss, two of accuracy, two others
  CHECK(count(html, "class=\"diagonal") == 3);
  CHECK(count(html, "<img ") == 2);
  CHECK(count(html, "src=\"data:image/png;base64,") == 2);
  CHECK(count(html, "<figure class=\"wrong\">") == 1);
  CHECK(count(html, "✗</span><b>cat</b>") == 1);
  CHECK(count(html, "is: dog") == 1);
  CHECK(count(html, "<title>filter ") == 2);
  CHECK(contains(html, "50.00 %</b><span>test accuracy"));
  CHECK(contains(html, "45.00 %</b><span>best validation accuracy, epoch 2"));
  CHECK(contains(html, "0:31</b><span>training time"));  // 30.5 s
  CHECK(contains(html, "<tr class=\"is-best\"><td>2</td>"));
  CHECK(contains(html, "70.0 %"));  // each class: 7 of 10
  for (const char* outside : {"http:", "https:", "<link", "@import", "url(", "src=\"h", "src=\"/"}) {
    CAPTURE(outside);
    CHECK(!contains(html, outside));
  }
}

TEST_CASE("a page shows what there is: no epoch, no result, many classes, unknown columns") {
  tools::Run bare{"bare", nlohmann::json::object(), tools::parse_metrics("epoch\n", "m"), {}, {}};
  CHECK(contains(tools::report_html(bare), "No epoch is finished yet"));
  bare.metrics = tools::parse_metrics("epoch,accuracy,warmth\n1,0.5,12.25\n2,,nan\n", "m");
  const std::string html = tools::report_html(bare);
  CHECK(contains(html, "<th scope=\"col\">warmth</th>"));
  CHECK(contains(html, "<td>12.25</td>"));
  CHECK(contains(html, "best validation accuracy, epoch 1"));
  CHECK(!contains(html, "nan"));
  CHECK(!contains(html, "data-confusion="));
  std::vector<std::string> names;
  for (int i = 0; i < 100; ++i) names.push_back("class " + std::to_string(i));
  const std::string hundred = tools::report_html(small_run("hundred", names));
  CHECK(count(hundred, "data-confusion=") == 1);
  CHECK(!contains(hundred, "class=\"diagonal"));
}

TEST_CASE("what comes from files is text, never HTML") {
  const std::string evil = "</title><script>alert('1')</script>\"><img src=x onerror=alert(2)>&amp;";
  tools::Run run = small_run(evil, {evil, "b", "c"});
  run.config = {{evil, {{evil, evil}}},
                {"options", {{"lr", evil}}},
                {"device", {{"type", evil}, {"name", evil}}},
                {"data", {{"name", evil}}}};
  run.metrics.columns.back() = evil;
  tools::Run other = run;
  other.config["options"]["lr"] = evil + "2";
  for (const std::string& html : {tools::report_html(run), tools::comparison_html({run, other})}) {
    CHECK(count(html, "<script") == 1);
    CHECK(count(html, "</script") == 1);
    CHECK(count(html, "</title>") - count(html, "</title><path") == 1);  // the page's; the others are the filters'
    CHECK(!contains(html, "<img src=x"));
    CHECK(contains(html, "&lt;img src=x onerror=alert(2)&gt;&amp;amp;"));
  }
  CHECK(tools::escaped("<a href=\"x\">'&'</a>") == "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;");
  CHECK(tools::escaped("a\xff"
                       "b") ==
        "a\xef\xbf\xbd"
        "b");
}

TEST_CASE("a comparison overlays the runs and names what differs") {
  tools::Run a = small_run("a", {"x", "y"}), b = small_run("b", {"x", "y"});
  b.config = {{"options", {{"lr", 0.5}}}, {"extra", 1}};
  b.result->test_accuracy = 0.75;
  const std::string html = tools::comparison_html({a, b});
  CHECK(count(html, "data-chart=") == 6);
  CHECK(contains(html, "<th scope=\"row\">options.lr</th><td>0.001</td><td>0.5</td>"));
  CHECK(contains(html, "<th scope=\"row\">extra</th><td>–</td><td>1</td>"));
  CHECK(count(html, "<tr class=\"is-best\">") == 1);
  CHECK(contains(tools::comparison_html({a, a}), "the configurations are the same"));
}

TEST_CASE("a curve has gaps where a value is missing, and its values for the pointer") {
  const std::string html =
      tools::line_chart({"Loss", "", {{"a", {1, 2, 3, 4}, {1, NAN, 3, 4}}, {"b", {2, 4}, {1, 2}}}});
  CHECK(count(html, "h0") == 3);  // pens put down: twice for a, once for b
  CHECK(contains(html, tools::escaped("\"text\":[\"\",\"1\",\"\",\"2\"]")));
  CHECK(contains(tools::line_chart({"None", "", {{"a", {}, {}}}}), "<svg"));
  CHECK(!contains(tools::line_chart({"Infinite", "", {{"a", {1, 2}, {INFINITY, NAN}}}}), "inf"));
}

TEST_CASE("ticks are round, span the values and are few") {
  for (const auto& [low, high] : {std::pair(0.0, 1.0), {0.3, 0.42}, {-5.0, 1234.0}, {1e-7, 3e-7}, {99.0, 101.0}}) {
    const std::vector<double> all = tools::ticks(low, high);
    CAPTURE(low, high, all);
    REQUIRE(all.size() >= 3);
    CHECK(all.size() <= 8);
    const double step = all[1] - all[0], slack = step * 1e-3;
    CHECK(all.front() <= low + slack);
    CHECK(all.back() >= high - slack);
    const double mantissa = step / std::pow(10, std::floor(std::log10(step * 1.0001)));
    CHECK((mantissa == Approx(1) || mantissa == Approx(2) || mantissa == Approx(5)));
  }
  CHECK(tools::ticks(0, 1) == std::vector<double>{0, 0.2, 0.4, 0.6000000000000001, 0.8, 1});
}

TEST_CASE("metrics.csv is read by the names of its columns, as RFC 4180 writes them") {
  const tools::Metrics m =
      tools::parse_metrics("\xef\xbb\xbf\"epoch\",\"a \"\"b\"\", c\",d\r\n1,\"2.5\",\r\n2,nan,-1e-3\r\n\r\n", "m");
  CHECK(m.columns == std::vector<std::string>{"epoch", "a \"b\", c", "d"});
  REQUIRE(m.rows.size() == 2);
  CHECK(m.rows[0][1] == 2.5);
  CHECK(std::isnan(m.rows[0][2]));
  CHECK(std::isnan(m.rows[1][1]));
  CHECK(m.values("d")[1] == -1e-3);
  CHECK(m.values("nothing").empty());
  const auto refused = [](const std::string& csv, const std::string& part) {
    try {
      tools::parse_metrics(csv, "DIR/metrics.csv");
    } catch (const engine::InputError& error) {
      CAPTURE(error.what());
      CHECK(contains(error.what(), "DIR/metrics.csv"));
      CHECK(contains(error.what(), part));
      return;
    }
    FAIL("accepted: " + csv);
  };
  refused("", "empty");
  refused("a,b\n1,2\n", "epoch");
  refused("epoch,a\n1\n", "line 2");
  refused("epoch,a\n1,2,3\n", "line 2");
  refused("epoch,a\n1,x\n", "\"x\" is no number");
  refused("epoch,a\n1,1.5abc\n", "no number");
  refused("epoch,a\n1,\"2\n", "quote");
  refused("epoch,a\n1,\"2\"3\n", "comma");
  refused("epoch,a\n2,1\n2,1\n", "line 3");
  refused("epoch,a\n1.5,1\n", "1.5");
  refused("epoch,a\nnan,1\n", "nan");
}

TEST_CASE("a run's result goes through JSON unchanged, and anything else is refused") {
  const nlohmann::json good = to_json(small_result({"a", "b"}));
  CHECK(to_json(tools::run_result(good, "r")) == good);
  CHECK(good.at("examples")[0].at("image") ==
        "data:image/png;base64," + good.at("examples")[0].at("image").get<std::string>().substr(22));
  const auto refused = [&](const std::string& pointer, const nlohmann::json& value) {
    nlohmann::json bad = good;
    bad[nlohmann::json::json_pointer(pointer)] = value;
    CAPTURE(pointer, value.dump());
    CHECK_THROWS_AS(tools::run_result(bad, "r"), engine::InputError);
  };
  refused("/epoch", "one");
  refused("/test_accuracy", 1.5);
  refused("/test_accuracy", nullptr);
  refused("/classes", {"a"});
  refused("/confusion", {{1, 2}});
  refused("/confusion/0", {1});
  refused("/confusion/0/0", -1);
  refused("/examples/0/label", 2);
  refused("/examples/0/predicted", -1);
  refused("/examples/0/probability", 2);
  refused("/examples/0/image", "https://example.invalid/a.png");
  refused("/examples/0/image", "data:image/png;base64,AAAA\" onload=\"alert(1)");
}

TEST_CASE("base64 of a PNG") {
  // Decoded again, the bytes are the file's.
  const data::Image image{2, 3, std::vector<uint8_t>(18, 77)};
  const std::string uri = tools::png_data_uri(image), text = uri.substr(uri.find(',') + 1);
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<uint8_t> bytes;
  REQUIRE(text.size() % 4 == 0);
  for (size_t i = 0; i < text.size(); i += 4) {
    uint32_t bits = 0;
    for (size_t j = 0; j < 4; ++j)
      bits = bits << 6 | (text[i + j] == '=' ? 0 : static_cast<uint32_t>(digits.find(text[i + j])));
    for (int j = 0; j < 3; ++j)
      if (text[i + j + 1] != '=') bytes.push_back(static_cast<uint8_t>(bits >> (16 - 8 * j)));
  }
  CHECK(bytes == data::encode_png(image));
}

TEST_CASE("mobilenet report makes a run's page anew and compares runs") {
  const Folder folder;
  write_run(folder / "a/run");
  write_run(folder / "b/run");
  CHECK(run({"report", folder / "a/run/"}).code == 0);
  CHECK(contains(read(folder / "a/run/report.html"), "<title>run</title>"));
  CHECK(run({"report", folder / "a/run", folder / "b/run", "--out", folder / "both.html"}).code == 0);
  CHECK(contains(read(folder / "both.html"), "b/run"));  // two of one name: the paths tell
  // A trained run: everything is there, and the page is the one that the training wrote.
  const fs::path& trained = trained_run();
  const std::string before = read(trained / "report.html");
  CHECK(contains(before, "First-layer filters"));
  CHECK(contains(before, "Confusion matrix"));
  REQUIRE(run({"report", trained.string(), "--out", folder / "again.html"}).code == 0);
  CHECK((read(folder / "again.html") == before));
}

TEST_CASE("mobilenet report refuses what is no run, with the file's name") {
  const Folder folder;
  const std::string dir = folder / "run";
  check_refused({"report"}, {"DIR"});
  check_refused({"report", folder / "missing"}, {folder / "missing"});
  fs::create_directories(dir);
  check_refused({"report", dir}, {dir + "/config.json"});
  write_run(dir);
  fs::remove(fs::path(dir) / "metrics.csv");
  check_refused({"report", dir}, {dir + "/metrics.csv"});
  write_run(dir, "epoch,train_loss\n1,2\n2,cut");
  check_refused({"report", dir}, {dir + "/metrics.csv", "line 3", "cut"});
  write_run(dir);
  write(fs::path(dir) / "config.json", "{\"options\": ");
  check_refused({"report", dir}, {dir + "/config.json", "JSON"});
  write_run(dir);
  write(fs::path(dir) / "result.json", "{}");
  check_refused({"report", dir}, {dir + "/result.json"});
  fs::remove(fs::path(dir) / "result.json");
  write(fs::path(dir) / "model.safetensors", "no weights");
  check_refused({"report", dir}, {dir + "/model.safetensors"});
  fs::remove(fs::path(dir) / "model.safetensors");
  check_refused({"report", dir, folder / "missing", "--out", folder / "c.html"}, {folder / "missing"});
  CHECK(!fs::exists(folder / "c.html"));
  check_refused({"report", dir, "--out", folder / "no/such/c.html"}, {folder / "no/such"});
}
