#include "data/image_folder.h"

#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <set>

#include "data/image.h"
#include "data/open.h"
#include "files.h"

using namespace data;

namespace {

namespace fs = std::filesystem;

// An image of one colour, which says where it came from.
void make_image(const fs::path& path, int value, int height = 8, int width = 8) {
  fs::create_directories(path.parent_path());
  write_png(path, {height, width, std::vector<uint8_t>(size_t(height * width * 3), uint8_t(value))});
}

// Classes with `sizes` images each, of the values 10·class + image.
void make_part(const fs::path& part, const std::map<std::string, int>& sizes) {
  int label = 0;
  for (const auto& [name, size] : sizes) {
    for (int i = 0; i < size; ++i) make_image(part / name / (std::to_string(i) + ".png"), 10 * label + i);
    ++label;
  }
}

// Two classes of two images each.
void make_small(const fs::path& folder) {
  make_part(folder / "train", {{"cat", 2}, {"dog", 2}});
  make_part(folder / "test", {{"cat", 1}, {"dog", 1}});
}

Split read(const fs::path& folder, int resolution = 4, int threads = 2) {
  return read_image_folder(folder, {.resolution = resolution, .threads = threads});
}

std::string read_error(const fs::path& folder) {
  return error_of([&] { read(folder); });
}

const std::string layout = "FOLDER/train/CLASS/IMAGE and FOLDER/test/CLASS/IMAGE";

}  // namespace

TEST_CASE("image folders: classes are the folders' names, sorted, and every image has its class") {
  const TemporaryFolder root;
  make_part(root / "train", {{"Zebra", 2}, {"ant", 3}, {"äffin", 1}});
  make_part(root / "test", {{"Zebra", 1}, {"ant", 1}, {"äffin", 2}});
  const Split split = read(root.path());
  for (const Dataset* set : {&split.train, &split.test}) {
    CHECK(set->class_names == std::vector<std::string>{"Zebra", "ant", "äffin"});
    CHECK(set->height == 4);
    CHECK(set->width == 4);
    REQUIRE(set->images.size() == set->size() * 4 * 4 * 3);
  }
  CHECK(split.train.size() == 6);
  CHECK(split.test.size() == 4);
  std::multiset<int> values;
  for (size_t i = 0; i < 6; ++i) {
    const uint8_t* image = split.train.image(i);
    CHECK(std::count(image, image + 48, image[0]) == 48);
    CHECK(split.train.labels[i] == image[0] / 10);
    values.insert(image[0]);
  }
  CHECK(values == std::multiset<int>{0, 1, 10, 11, 12, 20});
}

TEST_CASE("image folders: the order depends on the names alone, not on threads or when files were made") {
  const TemporaryFolder one, other;
  const std::map<std::string, int> sizes = {{"a", 5}, {"b", 7}};
  make_part(one / "train", sizes);
  make_part(one / "test", sizes);
  for (const std::string part : {"train", "test"}) {  // backwards
    for (const auto& [name, size] : std::map<std::string, int, std::greater<>>(sizes.begin(), sizes.end())) {
      for (int i = size - 1; i >= 0; --i) {
        make_image(other / part / name / (std::to_string(i) + ".png"), 10 * (name == "b") + i);
      }
    }
  }
  const Split expected = read(one.path(), 4, 1);
  for (const int threads : {0, 1, 3, 50}) {
    const Split split = read(other.path(), 4, threads);
    CHECK(split.train.images == expected.train.images);
    CHECK(split.train.labels == expected.train.labels);
    CHECK(split.test.images == expected.test.images);
  }
}

TEST_CASE("image folders: every beginning has its share of every class") {
  const TemporaryFolder root;
  const std::map<std::string, int> sizes = {{"a", 9}, {"b", 3}, {"c", 6}};
  make_part(root / "train", sizes);
  make_part(root / "test", sizes);
  const Split split = read(root.path());
  std::vector<int> first_of_a;
  double counts[3] = {};
  for (size_t i = 0; i < 18; ++i) {
    ++counts[split.train.labels[i]];
    if (split.train.labels[i] == 0) first_of_a.push_back(split.train.image(i)[0]);
    for (int label = 0; label < 3; ++label) {
      const double share = double(i + 1) * std::vector{9, 3, 6}[size_t(label)] / 18;
      CHECK(std::abs(counts[label] - share) <= 1);
    }
  }
  CHECK(!std::is_sorted(first_of_a.begin(), first_of_a.end()));  // within a class, not by name
}

TEST_CASE("image folders: images of any size and format are resized and cropped") {
  const TemporaryFolder root;
  make_small(root.path());
  Image image{30, 50, {}};
  for (int i = 0; i < 30 * 50 * 3; ++i) image.pixels.push_back(uint8_t(i * 37 + i / 150 * 11));
  fs::remove(root / "test/cat/0.png");
  write_png(root / "test/cat/0.dat", image);  // the name's ending says nothing
  const Split split = read(root.path(), 16);
  const Image expected = resize_and_crop(image, 16);
  const size_t cat = split.test.labels[0] == 0 ? 0 : 1;
  CHECK(std::equal(expected.pixels.begin(), expected.pixels.end(), split.test.image(cat)));
}

TEST_CASE("resize_and_crop keeps the middle of the resized image") {
  const std::tuple<int, int, int> sizes[] = {{30, 50, 16}, {50, 30, 16}, {7, 7, 5}, {3, 20, 8},  {40, 9, 9},
                                             {5, 6, 32},   {64, 96, 32}, {1, 1, 3}, {1, 4096, 4}};
  for (const auto& [height, width, side] : sizes) {
    INFO(height << "x" << width << " to " << side);
    Image image{height, width, {}};
    for (int i = 0; i < height * width * 3; ++i) image.pixels.push_back(uint8_t(i * 37 + i / 150 * 11));
    const Image cropped = resize_and_crop(image, side);
    const int shorter = std::min(height, width);
    const int resized_height = side * height / shorter, resized_width = side * width / shorter;
    const Image whole = resize(image, resized_height, resized_width);
    const int top = (resized_height - side) / 2, left = (resized_width - side) / 2;
    CHECK(cropped.height == side);
    CHECK(cropped.width == side);
    std::vector<uint8_t> expected;
    for (int y = top; y < top + side; ++y) {
      const auto row = whole.pixels.begin() + long(y * resized_width + left) * 3;
      expected.insert(expected.end(), row, row + long(side) * 3);
    }
    CHECK(cropped.pixels == expected);
  }
}

TEST_CASE("resize_and_crop refuses sizes that cannot be") {
  const Image strip{1, 4097, std::vector<uint8_t>(4097 * 3)};
  CHECK_THROWS_AS(resize_and_crop(strip, 4), std::invalid_argument);
  CHECK_THROWS_AS(resize_and_crop(Image{}, 4), std::invalid_argument);
  CHECK_THROWS_AS(resize_and_crop(Image{1, 1, {1, 2, 3}}, 0), std::invalid_argument);
}

TEST_CASE("image folders: sub-folders and links belong to the class, hidden files to nothing") {
  const TemporaryFolder root, elsewhere;
  make_small(root.path());
  make_image(root / "train/cat/more/still more/9.png", 9);
  make_image(elsewhere / "8.png", 8);
  fs::create_directory_symlink(elsewhere.path(), root / "train/cat/linked");
  write_text(root / "train/cat/.directory", "hidden");
  write_text(root / "train/.DS_Store", "hidden");
  fs::create_directory(root / "train/.git");
  write_text(root / "README.txt", "beside train and test is no one's business");
  const Split split = read(root.path());
  CHECK(split.train.class_names == std::vector<std::string>{"cat", "dog"});
  CHECK(split.train.size() == 6);
  CHECK(std::count(split.train.labels.begin(), split.train.labels.end(), 0) == 4);
}

TEST_CASE("image folders: whatever is wrong is said in one line that names the path") {
  const TemporaryFolder temporary;
  const fs::path root = temporary / "set";
  const std::string at = root.string();
  make_small(root);

  SECTION("no test folder") {
    fs::remove_all(root / "test");
    CHECK(read_error(root) == at + "/test: no such folder; expected " + layout);
  }
  SECTION("no training folder") {
    fs::remove_all(root / "train");
    CHECK(read_error(root) == at + "/train: no such folder; expected " + layout);
  }
  SECTION("no classes") {
    fs::remove_all(root / "train/cat");
    fs::remove_all(root / "train/dog");
    CHECK(read_error(root) == at + "/train: no classes; expected " + layout);
  }
  SECTION("an empty class") {
    fs::create_directory(root / "train/emu");
    write_text(root / "train/emu/.hidden", "");
    CHECK(read_error(root) == at + "/train/emu: a class without images; expected at least one file");
  }
  SECTION("a class only in test") {
    make_image(root / "test/emu/1.png", 1);
    CHECK(read_error(root) ==
          at + "/test/emu: a class that is not in " + at + "/train; expected the same classes in both");
  }
  SECTION("a class only in train") {
    make_image(root / "train/emu/1.png", 1);
    CHECK(read_error(root) ==
          at + "/train/emu: a class that is not in " + at + "/test; expected the same classes in both");
  }
  SECTION("a file where a class should be") {
    make_image(root / "train/1.png", 1);
    CHECK(read_error(root) == at + "/train/1.png: a file where a class's folder was expected: " + layout);
  }
  SECTION("a file that is no image") {
    write_text(root / "train/cat/labels.txt", "none");
    CHECK(read_error(root) == at + "/train/cat/labels.txt: not an image that can be read; expected JPEG, PNG or BMP");
  }
  SECTION("a class whose name is no text") {
    const std::string start = at + "/train/",
                      rest = ": a class's folder whose name is no text; expected UTF-8 without control characters";
    for (const auto& [name, shown] : std::map<std::string, std::string>{{"a\nb", "a?b"},
                                                                        {"a\x7F", "a?"},
                                                                        {"\xE4", "?"},       // Latin-1
                                                                        {"\xC0\xAF", "??"},  // too long
                                                                        {"\xE0\x80\xAF", "???"},
                                                                        {"\xED\xA0\x80", "???"},  // a surrogate
                                                                        {"\xF0\x8F\xBF\xBF", "????"},
                                                                        {"\xF4\x90\x80\x80", "????"},  // beyond Unicode
                                                                        {"\xF5\x80\x80\x80", "????"},
                                                                        {"\xE2\x82", "??"},  // cut short
                                                                        {"\xE2\x82q", "??q"}}) {
      make_image(root / "train" / name / "1.png", 1);
      CHECK(read_error(root) == start + shown + rest);
      fs::remove_all(root / "train" / name);
    }
    for (const std::string name :
         {"\xC2\x80", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF", "a b"}) {
      for (const char* part : {"train", "test"}) make_image(root / part / name / "1.png", 1);
      CHECK(read(root).train.class_names.size() == 3);
      for (const char* part : {"train", "test"}) fs::remove_all(root / part / name);
    }
  }
  SECTION("a link to nothing") {
    fs::create_symlink("nowhere", root / "train/cat/link");
    CHECK(read_error(root) == at + "/train/cat/link: a link to nothing; expected an image file");
  }
  SECTION("a link that leads to itself") {
    fs::create_symlink("loop", root / "train/cat/loop");
    check_says(read_error(root), {at + "/train/cat/loop: cannot be read: "});
  }
  SECTION("a pipe, which would be waited for without end") {
    REQUIRE(mkfifo((root / "train/cat/pipe").c_str(), 0600) == 0);
    CHECK(read_error(root) == at + "/train/cat/pipe: neither a file nor a folder; expected an image file");
  }
  SECTION("an image too long to resize") {
    make_image(root / "test/dog/long.png", 1, 1, 4097);
    CHECK(read_error(root) ==
          at + "/test/dog/long.png: an image of 4097x1 pixels; expected one at most 4096 times as long as wide");
  }
  SECTION("a folder that may not be read") {
    if (geteuid() == 0) return;  // root may
    fs::permissions(root / "train/cat", fs::perms::none);
    check_says(read_error(root), {at + "/train/cat: cannot be read: "});
    fs::permissions(root / "train/cat", fs::perms::owner_all);
  }
}

TEST_CASE("image folders: of several damaged files the same one is named every time") {
  const TemporaryFolder root;
  make_part(root / "train", {{"a", 40}, {"b", 40}});
  make_part(root / "test", {{"a", 1}, {"b", 1}});
  for (int i = 5; i < 40; ++i) write_text(root / ("train/a/" + std::to_string(i) + ".png"), "broken");
  const std::string expected = error_of([&] { read(root.path(), 4, 1); });
  for (int round = 0; round < 20; ++round) CHECK(error_of([&] { read(root.path(), 4, 4); }) == expected);
}

TEST_CASE("image folders: a set that does not fit into memory is refused before a file is decoded") {
  const TemporaryFolder root;
  make_small(root.path());
  write_text(root / "train/cat/0.png", "would be an error if it were decoded");
  const std::string message = error_of([&] { read(root.path(), 1 << 20); });
  check_says(message, {root.path().string() + ": 6 images at 1048576x1048576 take 1.98e+04 GB of memory, and ",
                       " GB are free; expected fewer images or a lower resolution"});
  CHECK(available_memory() > (uint64_t{1} << 20));  // this test runs in some
  CHECK(available_memory() < (uint64_t{1} << 50));
}

TEST_CASE("image folders: reading reports its progress and can be interrupted") {
  const TemporaryFolder root;
  make_small(root.path());
  std::vector<std::string> reports;
  read_image_folder(root.path(),
                    {.resolution = 4, .threads = 1, .progress = [&](const char* what, int64_t done, int64_t total) {
                       reports.push_back(std::to_string(done) + "/" + std::to_string(total) + " " + what);
                       return true;
                     }});
  REQUIRE(!reports.empty());
  CHECK(reports.back() == "6/6 images read");
  CHECK_THROWS_AS(read_image_folder(root.path(), {.progress = [](const char*, int64_t, int64_t) { return false; }}),
                  Interrupted);
}

TEST_CASE("an image folder opens by its path, at the resolution asked for") {
  const TemporaryFolder root;
  make_small(root.path());
  OpenOptions options;
  options.resolution = 64;
  const Opened opened = open(root.path().string(), options);
  CHECK(opened.name == "images");
  CHECK(opened.message ==
        "data: image files from " + root.path().string() + ", 4 training and 2 test images of 64x64, 2 classes");
  CHECK(opened.split.train.height == 64);
  CHECK(open(root.path().string()).split.train.width == 32);
  CHECK_THROWS_AS(read_image_folder(root.path(), {.resolution = 0}), std::invalid_argument);
}
