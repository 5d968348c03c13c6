#include "data/download.h"

#include "cifar_files.h"
#include "data/open.h"

#ifdef MOBILENET_DOWNLOAD
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/file.h>

#include <algorithm>
#include <iterator>

#include "http_server.h"
#endif

using namespace data;

namespace fs = std::filesystem;

TEST_CASE("the official archives are those of the sets' authors") {
  for (const Cifar which : {Cifar::cifar10, Cifar::cifar100}) {
    const Archive archive = official_archive(which);
    CHECK(archive.url == "https://www.cs.toronto.edu/~kriz/");
    CHECK(archive.folder == cifar_folder(which));
    CHECK(archive.sha256.size() == 64);
    CHECK(archive.sha256.find_first_not_of("0123456789abcdef") == std::string::npos);
  }
  CHECK(official_archive(Cifar::cifar10).file == "cifar-10-binary.tar.gz");
  CHECK(official_archive(Cifar::cifar100).file == "cifar-100-binary.tar.gz");
}

#ifndef MOBILENET_DOWNLOAD

TEST_CASE("a build without the libraries says so, and what to do by hand") {
  CHECK(download_libraries() == "");
  const std::string without =
      "this build has no libcurl, libarchive and OpenSSL (tools/install installs them); unpack it to "
      "/root/cifar-10-batches-bin";
  const Archive archive = official_archive(Cifar::cifar10);
  CHECK(error_of([&] { download(archive, "/root"); }) ==
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz: cannot be downloaded: " + without);
  CHECK(error_of([&] { unpack(archive, "/root"); }) == "/root/cifar-10-binary.tar.gz: cannot be unpacked: " + without);
}

#else

namespace {

struct Entry {
  std::string path, content;
  unsigned type = AE_IFREG;
  std::string link{}, hardlink{};
};

std::string archive_of(const std::vector<Entry>& entries) {
  std::string bytes;
  ::archive* writer = archive_write_new();
  archive_write_add_filter_gzip(writer);
  archive_write_set_format_pax_restricted(writer);
  archive_write_set_bytes_in_last_block(writer, 1);  // no zeros behind the end
  const auto append = [](::archive*, void* user, const void* chunk, size_t size) -> la_ssize_t {
    static_cast<std::string*>(user)->append(static_cast<const char*>(chunk), size);
    return la_ssize_t(size);
  };
  REQUIRE(archive_write_open(writer, &bytes, nullptr, append, nullptr) == ARCHIVE_OK);
  for (const Entry& e : entries) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, e.path.c_str());
    archive_entry_set_filetype(entry, e.type);
    archive_entry_set_perm(entry, 0000);  // what the archive says of permissions is of no interest
    archive_entry_set_size(entry, la_int64_t(e.content.size()));
    if (!e.link.empty()) archive_entry_set_symlink(entry, e.link.c_str());
    if (!e.hardlink.empty()) archive_entry_set_hardlink(entry, e.hardlink.c_str());
    REQUIRE(archive_write_header(writer, entry) == ARCHIVE_OK);
    archive_write_data(writer, e.content.data(), e.content.size());
    archive_entry_free(entry);
  }
  REQUIRE(archive_write_close(writer) == ARCHIVE_OK);
  archive_write_free(writer);
  return bytes;
}

std::string sha256(const std::string& bytes) {
  unsigned char digest[32];
  EVP_Digest(bytes.data(), bytes.size(), digest, nullptr, EVP_sha256(), nullptr);
  std::string text;
  for (const unsigned char byte : digest) {
    for (const int half : {byte >> 4, byte & 15}) text += "0123456789abcdef"[half];
  }
  return text;
}

std::string text_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Bytes that gzip cannot make smaller, so that a transfer has some length.
std::string noise(size_t size) {
  std::string bytes;
  for (uint32_t state = 1; bytes.size() < size;) bytes += char((state = state * 1664525 + 1013904223) >> 24);
  return bytes;
}

// An archive of two files on a server.
struct Served {
  std::string big = noise(300'000);
  HttpServer server;
  TemporaryFolder temporary;
  fs::path root = temporary / "data";  // made by the first download
  Archive archive;

  Served() {
    setenv("no_proxy", "127.0.0.1", 1);
    server.body = archive_of({{"set", "", AE_IFDIR}, {"set/small.txt", "hello"}, {"set/deep/big.bin", big}});
    archive = {server.url("/file"), "set.tar.gz", sha256(server.body), "set"};
  }
  fs::path part() const { return root / "set.tar.gz.part"; }
  void check_unpacked() const {
    CHECK(text_of(root / "set/small.txt") == "hello");
    CHECK(text_of(root / "set/deep/big.bin") == big);
    CHECK(text_of(root / "set.tar.gz") == server.body);
    // Nothing else is left: no .part, no folder half unpacked.
    CHECK(std::distance(fs::directory_iterator(root), fs::directory_iterator()) == 2);
  }
  std::string error() {
    return error_of([&] { download(archive, root); });
  }
  std::string by_hand() const {
    return "get " + archive.url + " by other means and put it into " + root.string() +
           ", from where it will be unpacked";
  }
};

using Requests = std::vector<std::string>;

}  // namespace

TEST_CASE("a download is checked and unpacked") {
  Served s;
  std::vector<std::string> units;
  int64_t before = 0;
  DownloadOptions options;
  options.progress = [&](const char* what, int64_t done, int64_t total) {
    if (units.empty() || units.back() != what) units.push_back(what), before = 0;
    CHECK(done >= before);
    CHECK((total == 0 || done <= total));
    before = done;
    return true;
  };
  download(s.archive, s.root, options);
  s.check_unpacked();
  CHECK(units == std::vector<std::string>{"bytes downloaded", "bytes checked", "bytes unpacked"});
  CHECK(s.server.requests() == Requests{"/file 0"});
}

TEST_CASE("a url that ends with a slash is a mirror's folder; redirections are followed; file:// is a server, too") {
  Served s;
  SECTION("folder") {
    s.archive.url = s.server.url("/");
    s.archive.file = "file";
    download(s.archive, s.root);
    CHECK(text_of(s.root / "set/small.txt") == "hello");
  }
  SECTION("redirection") {
    s.archive.url = s.server.url("/redirect");
    download(s.archive, s.root);
    s.check_unpacked();
    CHECK(s.server.requests() == Requests{"/redirect 0", "/file 0"});
  }
  SECTION("file") {
    const fs::path file = s.temporary / "mirror/set.tar.gz";
    write_text(file, s.server.body);
    s.archive.url = "file://" + file.string();
    const size_t there = GENERATE(0, 1000, 1'000'000);
    if (there > 0) write_text(s.part(), s.server.body.substr(0, there));
    download(s.archive, s.root);
    s.check_unpacked();
  }
}

TEST_CASE("a download that breaks off goes on where it ended") {
  Served s;
  s.server.cut_after = 100'000;
  const std::string message = s.error();
  check_says(message, {s.archive.url + ": ",
                       "; the first 100000 bytes are kept, and the next try goes on behind them; or " + s.by_hand()});
  CHECK(text_of(s.part()) == s.server.body.substr(0, 100'000));
  CHECK(!fs::exists(s.root / "set.tar.gz"));
  CHECK(!fs::exists(s.root / "set"));

  SECTION("the server knows ranges") {
    check_says(s.error(), {"; the first 200000 bytes are kept"});
    s.server.cut_after = size_t(-1);
    download(s.archive, s.root);
    CHECK(s.server.requests() == Requests{"/file 0", "/file 100000", "/file 200000"});
  }
  SECTION("the server ignores ranges") {
    s.server.ranges = false;
    s.server.cut_after = 50'000;
    check_says(s.error(), {"; the first 50000 bytes are kept"});
    CHECK(text_of(s.part()) == s.server.body.substr(0, 50'000));
    s.server.cut_after = size_t(-1);
    download(s.archive, s.root);
  }
  SECTION("the program was killed behind the last byte") {
    write_text(s.part(), s.server.body);
    download(s.archive, s.root);
    CHECK(s.server.requests() == Requests{"/file 0", "/file " + std::to_string(s.server.body.size())});
  }
  SECTION("what is kept is longer than the file, and something else") {
    s.server.cut_after = size_t(-1);
    write_text(s.part(), noise(s.server.body.size() + 5));
    download(s.archive, s.root);
  }
  s.check_unpacked();
}

TEST_CASE("a file with the wrong checksum is removed, and nothing of it unpacked") {
  Served s;
  s.archive.sha256 = sha256("something else");
  CHECK(s.error() == s.archive.url + ": the SHA-256 of what came is " + sha256(s.server.body) + "; expected " +
                         s.archive.sha256 + ": damaged on its way, or another file; it was removed: try again, or " +
                         s.by_hand());
  CHECK(fs::is_empty(s.root));
}

TEST_CASE("what is kept of another file is noticed, and the next try begins anew") {
  Served s;
  write_text(s.part(), noise(1000));
  check_says(s.error(), {"the SHA-256 of what came is ", "; it was removed: try again, or "});
  download(s.archive, s.root);
  s.check_unpacked();
}

TEST_CASE("a download that fails says which file to get and where to put it") {
  Served s;
  SECTION("no such file on the server") {
    s.archive.url = s.server.url("/other");
    check_says(s.error(), {s.archive.url + ": ", "404", "; or " + s.by_hand()});
  }
  SECTION("no server") {
    s.archive.url = "http://127.0.0.1:1/set.tar.gz";
    check_says(s.error(), {"http://127.0.0.1:1/set.tar.gz: ", "; or " + s.by_hand()});
  }
  SECTION("no such scheme") {
    s.archive.url = "gopher://127.0.0.1/set.tar.gz";
    check_says(s.error(), {"gopher", "; or " + s.by_hand()});
  }
  SECTION("no such file here") {
    s.archive.url = "file:///nowhere/set.tar.gz";
    check_says(s.error(), {"file:///nowhere/set.tar.gz: ", "; or " + s.by_hand()});
  }
  SECTION("a server that says nothing more") {
    s.server.cut_after = 1000;
    s.server.stall = true;
    check_says(error_of([&] { download(s.archive, s.root, {.stall_seconds = 1}); }),
               {"; the first 1000 bytes are kept", "; or " + s.by_hand()});
  }
  CHECK(!fs::exists(s.root / "set"));
  CHECK(!fs::exists(s.root / "set.tar.gz"));
}

TEST_CASE("a download can be interrupted and goes on later") {
  Served s;
  s.server.cut_after = 1000;
  s.server.stall = true;
  CHECK_THROWS_AS(
      download(s.archive, s.root, {.progress = [](const char*, int64_t done, int64_t) { return done < 1000; }}),
      Interrupted);
  CHECK(text_of(s.part()) == s.server.body.substr(0, 1000));
  s.server.stall = false;
  s.server.cut_after = size_t(-1);
  // Interrupted while unpacking, it leaves the archive and no folder.
  CHECK_THROWS_AS(
      download(s.archive, s.root,
               {.progress = [](const char* what, int64_t, int64_t) { return std::string(what) != "bytes unpacked"; }}),
      Interrupted);
  CHECK(std::distance(fs::directory_iterator(s.root), fs::directory_iterator()) == 1);
  download(s.archive, s.root);
  s.check_unpacked();
  CHECK(s.server.requests() == Requests{"/file 0", "/file 1000"});
}

TEST_CASE("two downloads of one file do not mix") {
  Served s;
  fs::create_directories(s.root);
  const int other = open(s.part().c_str(), O_RDWR | O_CREAT, 0666);
  REQUIRE(flock(other, LOCK_EX | LOCK_NB) == 0);
  CHECK(s.error() == s.part().string() + ": in use: another download of it is going on; expected one at a time");
  close(other);
  download(s.archive, s.root);
  s.check_unpacked();
}

TEST_CASE("a folder that cannot be written is an error") {
  Served s;
  write_text(s.temporary / "file", "");
  s.root = s.temporary / "file/data";
  check_says(s.error(), {s.root.string() + ": cannot be made: "});
}

TEST_CASE("an archive that the user has put there is checked and unpacked, and never removed") {
  Served s;
  write_text(s.root / "set.tar.gz", s.server.body);
  SECTION("by a download, which asks the network for nothing") {
    download(s.archive, s.root);
    s.check_unpacked();
    CHECK(s.server.requests().empty());
  }
  SECTION("by unpack") {
    unpack(s.archive, s.root);
    s.check_unpacked();
  }
  SECTION("the wrong one stays") {
    write_text(s.root / "set.tar.gz", "abc");  // the SHA-256 of which is FIPS 180-2's first example
    CHECK(error_of([&] { unpack(s.archive, s.root); }) ==
          (s.root / "set.tar.gz").string() +
              ": SHA-256 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad; expected " +
              s.archive.sha256 + ": not the archive of " + s.archive.url + ", or damaged; remove it and try again");
    CHECK(text_of(s.root / "set.tar.gz") == "abc");
  }
  SECTION("a folder that is there already is not overwritten") {
    write_text(s.root / "set/mine.txt", "mine");
    check_says(error_of([&] { unpack(s.archive, s.root); }),
               {(s.root / "set").string() + ": cannot be replaced by what ", "remove that folder first"});
    CHECK(text_of(s.root / "set/mine.txt") == "mine");
  }
}

TEST_CASE("an archive with anything but files in its folder is refused, and nothing is unpacked") {
  const TemporaryFolder root;
  const auto unpack_error = [&](const std::string& bytes) {
    const fs::path file = root / "data/set.tar.gz";
    write_text(file, bytes);
    const std::string message = error_of([&] { unpack({"", "set.tar.gz", sha256(bytes), "set"}, root / "data"); });
    // Neither in the data folder nor beside it is anything new.
    CHECK(std::distance(fs::directory_iterator(root / "data"), fs::directory_iterator()) == 1);
    CHECK(std::distance(fs::directory_iterator(root.path()), fs::directory_iterator()) == 1);
    const std::string start = file.string() + ": ";
    REQUIRE(message.substr(0, start.size()) == start);
    return message.substr(start.size());
  };
  const Entry good{"set/a", "a"};
  const std::string files_only = "; expected files in set and nothing else";
  for (const std::string path : {"../x", "set/../../x", "/tmp/x", "x", "set2/x", "set/..", "."}) {
    CHECK(unpack_error(archive_of({good, {path, "x"}})) == "holds \"" + path + "\"" + files_only);
  }
  const std::string no_file = ", which is neither file nor folder";
  CHECK(unpack_error(archive_of({good, {"set/l", "", AE_IFLNK, "/etc/passwd"}})) ==
        "holds \"set/l\"" + no_file + files_only);
  CHECK(unpack_error(archive_of({good, {"set/h", "", AE_IFREG, "", "set/a"}})) ==
        "holds \"set/h\"" + no_file + files_only);
  CHECK(unpack_error(archive_of({good, {"set/p", "", AE_IFIFO}})) == "holds \"set/p\"" + no_file + files_only);
  CHECK(unpack_error(archive_of({})) == "an archive without set; expected its files in that folder");
  CHECK(unpack_error(archive_of({good, good})) == "holds \"set/a\" twice; expected each file once");

  const std::string whole = archive_of({good, {"set/big", noise(100'000)}});
  for (const size_t size : {size_t{0}, size_t{10}, size_t{500}, size_t{50'000},
                            whole.size() - 200}) {  // the last is in the file's last bytes
    INFO(size);
    check_says(unpack_error(whole.substr(0, size)), {"expected "});
  }
  CHECK(unpack_error(noise(5000)).substr(0, 20) == "a damaged archive: U");  // "Unrecognized archive format"
}

TEST_CASE("data::open finds an archive in the data folder, and downloads where it is asked to") {
  const TemporaryFolder root;
  setenv("MOBILENET_DATA", root.path().c_str(), 1);
  write_text(root / "cifar-10-binary.tar.gz", "abc");
  const std::string wrong = (root / "cifar-10-binary.tar.gz").string() + ": SHA-256 ba7816bf";
  OpenOptions options;
  for (const bool download : {false, true}) {
    options.download = download;
    for (const char* name : {"cifar10", "auto"}) check_says(error_of([&] { open(name, options); }), {wrong});
  }
  options.url = "http://127.0.0.1:1/mirror/";
  check_says(error_of([&] { open("cifar100", options); }),
             {"http://127.0.0.1:1/mirror/cifar-100-binary.tar.gz: ", "put it into " + root.path().string()});
  for (const std::string name : {"shapes", "some/folder"}) {
    CHECK(error_of([&] { open(name, options); }) == name + ": cannot be downloaded; expected cifar10 or cifar100");
  }
  setenv("MOBILENET_DATA", (root / "empty").c_str(), 1);
  check_says(error_of([&] { open("auto", options); }), {"http://127.0.0.1:1/mirror/cifar-10-binary.tar.gz: "});
  setenv("MOBILENET_DATA", root.path().c_str(), 1);
  make_cifar100(root / "cifar-100-binary");  // what is there is not downloaded
  CHECK(open("cifar100", options).split.test.size() == 2);
  unsetenv("MOBILENET_DATA");
}

TEST_CASE("the libraries name themselves") {
  check_says(download_libraries(), {"libcurl 7", ", libarchive 3", ", OpenSSL 3"});
}

#endif
