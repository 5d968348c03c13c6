#include "data/open.h"

#include <map>
#include <optional>

#include "cifar_files.h"

using namespace data;

namespace {

// The environment that data_folder() looks at, empty but for what is given; as before at the end.
class Environment {
 public:
  explicit Environment(const std::map<std::string, std::string>& variables) {
    for (const char* name : {"MOBILENET_DATA", "XDG_CACHE_HOME", "HOME"}) {
      const char* value = getenv(name);
      before_[name] = value ? std::optional<std::string>(value) : std::nullopt;
      unsetenv(name);
    }
    for (const auto& [name, value] : variables) setenv(name.c_str(), value.c_str(), 1);
  }
  ~Environment() {
    for (const auto& [name, value] : before_) {
      if (value) {
        setenv(name.c_str(), value->c_str(), 1);
      } else {
        unsetenv(name.c_str());
      }
    }
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  std::map<std::string, std::optional<std::string>> before_;
};

OpenOptions few_shapes() {
  OpenOptions options;
  options.shapes_train = 20;
  options.shapes_test = 10;
  return options;
}

}  // namespace

TEST_CASE("the data folder is MOBILENET_DATA, else the user's cache") {
  const auto folder = [](const std::map<std::string, std::string>& variables) {
    const Environment environment(variables);
    return data_folder().string();
  };
  CHECK(folder({{"MOBILENET_DATA", "/a"}, {"XDG_CACHE_HOME", "/b"}, {"HOME", "/c"}}) == "/a");
  CHECK(folder({{"XDG_CACHE_HOME", "/b"}, {"HOME", "/c"}}) == "/b/mobilenet");
  CHECK(folder({{"HOME", "/c"}}) == "/c/.cache/mobilenet");
  CHECK(folder({{"MOBILENET_DATA", ""}, {"XDG_CACHE_HOME", "relative"}, {"HOME", "/c"}}) == "/c/.cache/mobilenet");
  CHECK(folder({}) == "");
}

TEST_CASE("shapes open with the sizes and seed asked for") {
  OpenOptions options = few_shapes();
  const Opened opened = open("shapes", options);
  CHECK(opened.name == "shapes");
  CHECK(opened.split.train.size() == 20);
  CHECK(opened.split.test.size() == 10);
  check_says(opened.message, {"shapes", "20 training", "10 test", "32x32", "10 classes"});
  options.shapes_seed = 1;
  CHECK(open("shapes", options).split.train.images != opened.split.train.images);
}

TEST_CASE("a limit takes the beginning of a set, and of its test images the same share") {
  const TemporaryFolder root;
  make_cifar10(root.path());  // 10 training and 3 test images
  for (const std::string& name : {std::string("shapes"), root.path().string()}) {
    OpenOptions options = few_shapes();  // 20 and 10
    const Split whole = open(name, options).split;
    options.limit = 7;
    const Opened opened = open(name, options);
    CAPTURE(name, opened.message);
    const size_t test = name == "shapes" ? 4 : 3;  // 10 · 7/20 and 3 · 7/10, rounded up
    check_says(opened.message, {"7 training", std::to_string(test) + " test"});
    CHECK(opened.split.train.images == take(whole.train, 7).images);
    CHECK(opened.split.train.labels == take(whole.train, 7).labels);
    CHECK(opened.split.test.images == take(whole.test, test).images);
    CHECK(opened.split.test.labels.size() == test);
    for (const size_t all : {size_t{0}, whole.train.size(), size_t{1} << 40}) {
      options.limit = all;
      CHECK(open(name, options).split.test.size() == whole.test.size());
      CHECK(open(name, options).split.train.images == whole.train.images);
    }
  }
}

TEST_CASE("auto takes CIFAR-10 where it is and shapes where it is not, saying which and why") {
  const TemporaryFolder root;
  const Environment environment({{"MOBILENET_DATA", root.path().string()}});
  Opened opened = open("auto", few_shapes());
  CHECK(opened.name == "shapes");
  check_says(opened.message, {"shapes", "no CIFAR-10 in " + root.path().string()});

  make_cifar100(root / "cifar-100-binary");  // of no interest
  CHECK(open("auto", few_shapes()).name == "shapes");

  make_cifar10(root / "cifar-10-batches-bin");
  opened = open("auto", few_shapes());
  CHECK(opened.name == "cifar10");
  CHECK(opened.split.train.size() == 10);
  check_says(opened.message, {"CIFAR-10 from " + (root / "cifar-10-batches-bin").string(), "10 training", "3 test"});

  // A damaged set is an error: training on something else would hide it.
  write_text(root / "cifar-10-batches-bin/test_batch.bin", "short");
  check_says(error_of([&] { open("auto", few_shapes()); }), {"test_batch.bin", "5 bytes"});
}

TEST_CASE("auto without any data folder takes shapes") {
  const Environment environment({});
  const Opened opened = open("auto", few_shapes());
  CHECK(opened.name == "shapes");
  check_says(opened.message, {"MOBILENET_DATA", "HOME"});
}

TEST_CASE("cifar10 and cifar100 open from the data folder") {
  const TemporaryFolder root;
  const Environment environment({{"MOBILENET_DATA", root.path().string()}});
  make_cifar10(root / "cifar-10-batches-bin");
  make_cifar100(root / "cifar-100-binary");
  CHECK(open("cifar10").split.test.size() == 3);
  CHECK(open("cifar100").split.test.size() == 2);
  CHECK(open("cifar100").name == "cifar100");
}

TEST_CASE("a set that is not in the data folder says where to put the files") {
  const TemporaryFolder root;
  {
    const Environment environment({{"MOBILENET_DATA", (root / "nowhere").string()}});
    check_says(error_of([] { open("cifar10"); }), {(root / "nowhere/cifar-10-batches-bin").string(), "data_batch_1.bin",
                                                   "test_batch.bin", "MOBILENET_DATA"});
    check_says(error_of([] { open("cifar100"); }),
               {(root / "nowhere/cifar-100-binary").string(), "train.bin", "test.bin", "MOBILENET_DATA"});
  }
  const Environment environment({});
  check_says(error_of([] { open("cifar10"); }), {"MOBILENET_DATA", "cifar-10-batches-bin"});
}

TEST_CASE("a folder opens as the CIFAR set that it holds") {
  const TemporaryFolder root;
  make_cifar10(root / "ten");
  make_cifar100(root / "hundred/cifar-100-binary");
  CHECK(open((root / "ten").string()).name == "cifar10");
  CHECK(open((root / "hundred").string()).name == "cifar100");
}

TEST_CASE("a folder that holds no known set says what was expected") {
  const TemporaryFolder root;
  const std::vector<std::string> expected = {"data_batch_1.bin", "CIFAR-10", "train.bin", "CIFAR-100"};
  const auto open_error = [&](const std::string& name) { return error_of([&] { open((root / name).string()); }); };

  std::filesystem::create_directory(root / "empty");
  std::string message = open_error("empty");
  check_says(message, {(root / "empty").string(), "an empty folder"});
  check_says(message, expected);

  write_text(root / "other/readme.txt", "nothing here");
  message = open_error("other");
  check_says(message, {(root / "other").string(), "no data set"});
  check_says(message, expected);

  check_says(open_error("missing"),
             {(root / "missing").string(), "no such", "auto, shapes, cifar10, cifar100 or a folder"});
  check_says(open_error("other/readme.txt"), {"readme.txt", "a file", "a folder"});
  check_says(error_of([] { open("cifar11"); }), {"cifar11", "no such", "cifar10"});
  check_says(error_of([] { open(""); }), {"no such", "a folder"});

  make_cifar10(root / "both");
  make_cifar100(root / "both");
  check_says(open_error("both"), {"both CIFAR-10 and CIFAR-100"});
}
