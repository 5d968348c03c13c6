#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>

#include "engine/io/file.h"
#include "engine/io/safetensors.h"
#include "support.h"

using namespace engine::io;
using engine::InputError;

namespace {

std::vector<unsigned char> floats(const std::vector<float>& values) {
  std::vector<unsigned char> bytes(values.size() * 4);
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

std::string text_of(const std::filesystem::path& path) {
  const auto bytes = read_file(path);
  return {bytes.begin(), bytes.end()};
}

// The header's length, the header, and so many bytes of data.
std::string file_of(const std::string& header, size_t data_bytes, uint64_t length) {
  std::string text(8, '\0');
  for (int i = 0; i < 8; ++i) text[i] = static_cast<char>(length >> (8 * i));
  return text + header + std::string(data_bytes, 'x');
}
std::string file_of(const std::string& header, size_t data_bytes) { return file_of(header, data_bytes, header.size()); }

size_t entries(const std::filesystem::path& folder) {
  return std::distance(std::filesystem::directory_iterator(folder), {});
}

}  // namespace

TEST_CASE("the format, byte for byte", "[safetensors]") {
  const test::Folder folder;
  Safetensors content;
  content.metadata = {{"z", "1"}, {"a", "\"quoted\""}};
  content.arrays = {{"small", "U8", {3}, {1, 2, 3}},
                    {"b", "F32", {1, 2}, floats({1, -2})},
                    {"a", "F32", {}, floats({0.5f})},
                    {"empty", "F32", {0, 4}, {}}};
  write_safetensors(folder / "x", content);
  const std::string header = R"({"__metadata__":{"a":"\"quoted\"","z":"1"},)"
                             R"("a":{"data_offsets":[0,4],"dtype":"F32","shape":[]},)"
                             R"("b":{"data_offsets":[4,12],"dtype":"F32","shape":[1,2]},)"
                             R"("empty":{"data_offsets":[12,12],"dtype":"F32","shape":[0,4]},)"
                             R"("small":{"data_offsets":[12,15],"dtype":"U8","shape":[3]}})";
  const std::string padding((8 - header.size() % 8) % 8, ' ');
  const std::string data("\0\0\0\x3f\0\0\x80\x3f\0\0\0\xc0\1\2\3", 15);
  std::string expected = file_of(header + padding, 0) + data;
  CHECK(text_of(folder / "x") == expected);

  const Safetensors back = read_safetensors(folder / "x");
  CHECK(back.metadata == content.metadata);
  REQUIRE(back.arrays.size() == 4);
  CHECK(back.arrays[0].name == "a");
  REQUIRE(back.find("b") != nullptr);
  CHECK(back.find("b")->shape == engine::Shape{1, 2});
  CHECK(back.find("b")->data == floats({1, -2}));
  CHECK(back.find("small")->data == std::vector<unsigned char>{1, 2, 3});
  CHECK(back.find("c") == nullptr);
  write_safetensors(folder / "y", back);  // in another order than before, and the same bytes
  CHECK(text_of(folder / "y") == expected);
  CHECK(entries(folder.path) == 2);  // nothing is left beside them
}

TEST_CASE("types of the format that the engine does not compute with are read all the same", "[safetensors]") {
  const test::Folder folder;
  const std::string header = R"({"n":{"dtype":"I64","shape":[],"data_offsets":[4,12]},)"
                             R"("h":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}})";
  write_file(folder / "x", file_of(header, 12));
  const Safetensors file = read_safetensors(folder / "x");
  CHECK(file.find("n")->dtype == "I64");
  CHECK(file.find("h")->data.size() == 4);
}

TEST_CASE("a hostile or damaged file is refused in one line with the reason", "[safetensors]") {
  const test::Folder folder;
  const auto tensor = [](const std::string& name, const std::string& entry) {
    return "{\"" + name + "\":" + entry + "}";
  };
  const auto f32 = [](const std::string& shape, const std::string& offsets) {
    return R"({"dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
  };
  const std::string good = f32("[2]", "[0,8]");
  write_file(folder / "good", file_of(tensor("t", good), 8));
  CHECK(read_safetensors(folder / "good").arrays.size() == 1);

  struct {
    std::string content;
    const char* expected;
  } const cases[] = {
      {"", "has 0 bytes"},
      {"1234567", "has 7 bytes"},
      {file_of("", 0, 0), "no valid JSON"},
      {file_of("{}", 0, 3), "at most 2 are possible"},
      {file_of("{}", 0, 100'000'001), "at most 2 are possible"},
      {file_of("{}", 0, UINT64_MAX), "18446744073709551615 bytes as the length"},
      {file_of("{}", 0, uint64_t{1} << 63), "as the length of its header"},
      {file_of("{", 0), "no valid JSON"},
      {file_of("[]", 0), "no JSON object"},
      {file_of("7", 0), "no JSON object"},
      {file_of("{\"\xff\":1}", 0), "no valid JSON"},
      {file_of("{} {}", 0), "no valid JSON"},
      {file_of(std::string(100'000, '['), 0), "header is wrong"},
      {file_of(tensor("t", R"({"a":{"b":{"c":{}}}})"), 0), "nested too deeply"},
      {file_of("{\"t\":" + good + ",\"t\":" + good + "}", 8), "\"t\" stands twice"},
      {file_of(tensor("t", R"({"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]})"), 8),
       "\"dtype\" stands twice"},
      {file_of(tensor("t", "7"), 0), "must be an object with dtype"},
      {file_of(tensor("t", "[]"), 0), "must be an object with dtype"},
      {file_of(tensor("t", R"({"dtype":"F32","shape":[2]})"), 8), "must be an object with dtype"},
      {file_of(tensor("t", R"({"dtype":"F31","shape":[2],"data_offsets":[0,8]})"), 8), "none of the format's"},
      {file_of(tensor("t", R"({"dtype":32,"shape":[2],"data_offsets":[0,8]})"), 8), "none of the format's"},
      {file_of(tensor("t", f32("2", "[0,8]")), 8), "shape is no list"},
      {file_of(tensor("t", f32("[-2]", "[0,8]")), 8), "whole numbers"},
      {file_of(tensor("t", f32("[2.0]", "[0,8]")), 8), "whole numbers"},
      {file_of(tensor("t", f32("[\"2\"]", "[0,8]")), 8), "whole numbers"},
      {file_of(tensor("t", f32("[18446744073709551615]", "[0,8]")), 8), "whole numbers"},
      {file_of(tensor("t", f32("[99999999999999999999]", "[0,8]")), 8), "whole numbers"},
      {file_of(tensor("t", f32("[4611686018427387904,4]", "[0,0]")), 0), "too large"},
      {file_of(tensor("t", f32("[4294967296,4294967296]", "[0,0]")), 0), "too large"},
      {file_of(tensor("t", f32("[2]", "8")), 8), "data_offsets are not"},
      {file_of(tensor("t", f32("[2]", "[8]")), 8), "data_offsets are not"},
      {file_of(tensor("t", f32("[2]", "[0,8,8]")), 8), "data_offsets are not"},
      {file_of(tensor("t", f32("[2]", "[-8,0]")), 8), "data_offsets are not"},
      {file_of(tensor("t", f32("[2]", "[8,0]")), 8), "data_offsets are 8 and 0"},
      {file_of(tensor("t", f32("[2]", "[0,9223372036854775807]")), 8), "8 bytes of data (was it cut short?)"},
      {file_of(tensor("t", f32("[2]", "[18446744073709551608,18446744073709551615]")), 8), "data_offsets are not"},
      {file_of(tensor("t", good), 7), "cut short"},
      {file_of(tensor("t", good), 9), "9 bytes of data, its tensors only 8"},
      {file_of(tensor("t", f32("[3]", "[0,8]")), 8), "F32 (3) has 12 bytes, but its data_offsets span 8"},
      {file_of("{\"t\":" + good + ",\"u\":" + f32("[2]", "[4,12]") + "}", 12),
       "\"u\" begins at byte 4 of the data, where 8"},
      {file_of("{\"t\":" + good + ",\"u\":" + good + "}", 8), "neither overlap nor leave a gap"},
      {file_of("{\"t\":" + good + ",\"u\":" + f32("[2]", "[12,20]") + "}", 20),
       "begins at byte 12 of the data, where 8"},
      {file_of(R"({"__metadata__":7})", 0), "object of strings"},
      {file_of(R"({"__metadata__":null})", 0), "object of strings"},
      {file_of(R"({"__metadata__":{"a":1}})", 0), "object of strings"},
      {file_of(R"({"__metadata__":{"a":{"b":"c"}}})", 0), "object of strings"},
      {file_of(tensor("new\\nline", "7"), 0), "tensor \"new?line\""},
  };
  for (const auto& c : cases) {
    write_file(folder / "bad", c.content);
    const std::string message = test::message_of<InputError>([&] { read_safetensors(folder / "bad"); });
    test::check_message(message, {(folder / "bad").c_str(), c.expected});
    CHECK(message.find('\n') == std::string::npos);
  }
}

TEST_CASE("every truncation is refused, and every changed byte is refused or read", "[safetensors]") {
  const test::Folder folder;
  Safetensors content;
  content.metadata = {{"k", "v"}};
  content.arrays = {{"a", "F32", {3}, floats({1, 2, 3})}, {"b", "U8", {2}, {7, 8}}};
  write_safetensors(folder / "x", content);
  const std::string whole = text_of(folder / "x");
  for (size_t n = 0; n < whole.size(); ++n) {
    write_file(folder / "y", whole.substr(0, n));
    CHECK_THROWS_AS(read_safetensors(folder / "y"), InputError);
  }
  test::Random random{1};
  for (int i = 0; i < 1000; ++i) {
    std::string changed = whole;
    for (int j = 0; j < 1 + i % 3; ++j) changed[random.bits() % whole.size()] = static_cast<char>(random.bits());
    write_file(folder / "y", changed);
    try {
      int64_t bytes = 0;
      for (const Array& a : read_safetensors(folder / "y").arrays) bytes += static_cast<int64_t>(a.data.size());
      CHECK(bytes == 14);
    } catch (const InputError&) {
    }
  }
}

TEST_CASE("files that cannot be read or written", "[file]") {
  const test::Folder folder;
  test::check_message(test::message_of<InputError>([&] { read_file(folder / "none"); }), {"none", "No such file"});
  test::check_message(test::message_of<InputError>([&] { read_file(folder.path); }), {"no regular file"});
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  test::check_message(test::message_of<InputError>([&] { read_file(folder / "pipe"); }), {"no regular file"});
  test::check_message(test::message_of<InputError>([&] { write_file(folder / "none" / "x", "text"); }),
                      {"none/x", "cannot be written", "No such file"});
  write_file(folder / "file", "text");
  test::check_message(test::message_of<InputError>([&] { write_file(folder / "file" / "x", "text"); }), {"file/x"});
  Safetensors twice;
  twice.arrays = {{"a", "U8", {1}, {1}}, {"a", "U8", {1}, {1}}};
  test::check_message(test::message_of([&] { write_safetensors(folder / "x", twice); }), {"two tensors", "a"});
  twice.arrays = {{"a", "F32", {1}, {1}}};
  test::check_message(test::message_of([&] { write_safetensors(folder / "x", twice); }), {"F32 (1)", "1 bytes"});
}

TEST_CASE("a write that fails half-way leaves the old file and nothing beside it", "[file]") {
  const test::Folder folder;
  write_file(folder / "x", "old");
  struct rlimit before;
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small = {10'000, before.rlim_max};  // as a full disk: the first bytes still fit
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  std::string message;
  bool input = false;
  try {
    write_file(folder / "x", std::string(100'000, 'n'));
  } catch (const InputError&) {
    input = true;
  } catch (const engine::Error& error) {
    message = error.what();
  }
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  CHECK_FALSE(input);  // a failure at run time, not a wrong argument
  test::check_message(message, {"could not be written", "x", "File too large"});
  CHECK(text_of(folder / "x") == "old");
  CHECK(entries(folder.path) == 1);
  write_file(folder / "x", "new");
  CHECK(text_of(folder / "x") == "new");
}
