#include "data/cifar.h"

#include <algorithm>

#include "cifar_files.h"

using namespace data;

namespace {

void check_images(const Dataset& set, int first) {
  REQUIRE(set.images.size() == set.size() * 32 * 32 * 3);
  bool same = true;
  for (size_t i = 0; i < set.size(); ++i) {
    const uint8_t* pixel = set.image(i);
    for (int y = 0; y < 32; ++y) {
      for (int x = 0; x < 32; ++x) {
        for (int c = 0; c < 3; ++c) same = same && *pixel++ == made_up_pixel(first + int(i), c, y, x);
      }
    }
  }
  CHECK(same);
}

}  // namespace

TEST_CASE("CIFAR-10 is read from the folder itself or the one of the archive, planes to pixels, files in order") {
  const TemporaryFolder root;
  const bool in_archive_folder = GENERATE(false, true);
  const auto folder = in_archive_folder ? root / "cifar-10-batches-bin" : root.path();
  make_cifar10(folder);
  CHECK(find_cifar(root.path(), Cifar::cifar10) == folder);
  CHECK(find_cifar(root.path(), Cifar::cifar100).empty());

  const Split split = read_cifar(root.path(), Cifar::cifar10);
  CHECK(split.train.labels == std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  CHECK(split.test.labels == std::vector<int32_t>{9, 0, 5});
  check_images(split.train, 0);
  check_images(split.test, 100);
  CHECK(split.train.class_names == std::vector<std::string>{"airplane", "automobile", "bird", "cat", "deer", "dog",
                                                            "frog", "horse", "ship", "truck"});
  CHECK(split.test.class_names == split.train.class_names);
}

TEST_CASE("CIFAR-100 takes the fine label") {
  const TemporaryFolder root;
  make_cifar100(root / "cifar-100-binary");
  const Split split = read_cifar(root.path(), Cifar::cifar100);
  CHECK(split.train.labels == std::vector<int32_t>{99, 0, 50, 1});
  CHECK(split.test.labels == std::vector<int32_t>{98, 2});
  check_images(split.train, 0);
  check_images(split.test, 100);
  std::vector<std::string> names = split.train.class_names;
  REQUIRE(names.size() == 100);
  CHECK(std::is_sorted(names.begin(), names.end()));
  CHECK(std::adjacent_find(names.begin(), names.end()) == names.end());
  CHECK(names[41] == "lawn_mower");
}

TEST_CASE("class names come from the set's own file") {
  const TemporaryFolder root;
  make_cifar10(root.path());
  write_text(root / "batches.meta.txt", "a\nb\r\nc\nd\ne\nf\ng\nh\ni\nj\n\n");
  CHECK(read_cifar(root.path(), Cifar::cifar10).test.class_names ==
        std::vector<std::string>{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"});
  write_text(root / "batches.meta.txt", "a\nb\n");
  check_says(error_of([&] { read_cifar(root.path(), Cifar::cifar10); }), {"batches.meta.txt", "2 class names", "10"});
}

TEST_CASE("a CIFAR file of a wrong size names itself, its size and what was expected") {
  const TemporaryFolder root;
  make_cifar10(root.path());
  std::vector<uint8_t> bytes = made_up_records(0, {1, 2}, 1);
  SECTION("cut short") {
    bytes.pop_back();
    write_bytes(root / "data_batch_3.bin", bytes);
    check_says(error_of([&] { read_cifar(root.path(), Cifar::cifar10); }), {"data_batch_3.bin", "6145 bytes", "3073"});
  }
  SECTION("a byte too long") {
    bytes.push_back(0);
    write_bytes(root / "test_batch.bin", bytes);
    check_says(error_of([&] { read_cifar(root.path(), Cifar::cifar10); }), {"test_batch.bin", "6147 bytes", "3073"});
  }
  SECTION("empty") {
    write_bytes(root / "data_batch_1.bin", {});
    check_says(error_of([&] { read_cifar(root.path(), Cifar::cifar10); }),
               {"data_batch_1.bin", "0 bytes", "3073", "at least one"});
  }
  SECTION("CIFAR-100 has records of 3074 bytes") {
    write_bytes(root / "train.bin", bytes);
    check_says(error_of([&] { read_cifar(root.path(), Cifar::cifar100); }), {"train.bin", "6146 bytes", "3074"});
  }
}

TEST_CASE("a label out of range names file, record and label") {
  const TemporaryFolder root;
  SECTION("CIFAR-10") {
    make_cifar10(root.path());
    write_bytes(root / "data_batch_2.bin", made_up_records(0, {9, 3, 10}, 1));
    check_says(error_of([&] { read_cifar(root.path(), Cifar::cifar10); }),
               {"data_batch_2.bin", "record 2", "label 10", "0 … 9"});
  }
  SECTION("CIFAR-100") {
    make_cifar100(root.path());
    write_bytes(root / "test.bin", made_up_records(0, {100}, 2));
    check_says(error_of([&] { read_cifar(root.path(), Cifar::cifar100); }),
               {"test.bin", "record 0", "label 100", "0 … 99"});
  }
}

TEST_CASE("missing CIFAR files are named") {
  const TemporaryFolder root;
  SECTION("all") {
    check_says(error_of([&] { read_cifar(root.path(), Cifar::cifar10); }),
               {root.path().string(), "no CIFAR-10", "data_batch_1.bin", "cifar-10-batches-bin"});
  }
  SECTION("one") {
    make_cifar10(root.path());
    std::filesystem::remove(root / "data_batch_4.bin");
    check_says(error_of([&] { read_cifar(root.path(), Cifar::cifar10); }),
               {root.path().string(), "data_batch_4.bin is missing"});
  }
  SECTION("a folder in place of a file") {
    make_cifar100(root.path());
    std::filesystem::remove(root / "test.bin");
    std::filesystem::create_directory(root / "test.bin");
    check_says(error_of([&] { read_cifar(root.path(), Cifar::cifar100); }), {"test.bin", "a folder"});
  }
}
