#include "engine/io/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/error.h"
#include "engine/io/file.h"

namespace engine::io {
namespace {

static_assert(std::endian::native == std::endian::little,
              "files are little-endian, and so is what is copied from them");

using nlohmann::json;

constexpr size_t max_header = 100'000'000;  // bytes, the limit of the reference implementation

// Bytes an element of each type that the format knows; 0 for any other word.
size_t element_size(const std::string& dtype) {
  static const std::map<std::string, size_t> sizes = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"I16", 2}, {"U16", 2}, {"F16", 2},
      {"BF16", 2}, {"I32", 4}, {"U32", 4}, {"F32", 4},     {"F64", 8},     {"I64", 8}, {"U64", 8}};
  const auto found = sizes.find(dtype);
  return found == sizes.end() ? 0 : found->second;
}

// Bytes of an array of this type and shape; false where there is no such number.
bool byte_count(const std::string& dtype, const Shape& shape, int64_t& bytes) {
  bytes = static_cast<int64_t>(element_size(dtype));
  for (const int64_t size : shape)
    if (size < 0 || __builtin_mul_overflow(bytes, size, &bytes)) return false;
  return element_size(dtype) > 0;
}

// Text of the file for a message: short, and in one line.
std::string quoted(const std::string& text) {
  std::string shown;
  for (const char c : text.substr(0, 60)) shown += c >= ' ' && c != 127 ? c : '?';
  return "\"" + shown + (text.size() > 60 ? "…\"" : "\"");
}

// Parses the header; refuses what nlohmann::json would pass over (two values for one key) and what no header holds (an
// object in an object in an object).
json parse_header(const std::string& file, const unsigned char* begin, const unsigned char* end) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  std::string problem;
  const auto watch = [&](int depth, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.back().insert(value.get_ref<const std::string&>()).second)
      problem = "the name " + quoted(value.get_ref<const std::string&>()) + " stands twice";
    if (depth > 3) problem = "it is nested too deeply";
    return problem.empty();  // false drops the value, so that nothing large is built
  };
  try {
    json header = json::parse(begin, end, watch);
    if (problem.empty() && !header.is_object()) problem = "it is no JSON object";
    if (problem.empty()) return header;
  } catch (const json::exception& error) {
    problem = "it is no valid JSON";
    if (const auto* parse = dynamic_cast<const json::parse_error*>(&error); parse != nullptr)
      problem += fmt::format(" at its byte {}", parse->byte);
  }
  throw InputError(file, "the safetensors header is wrong: " + problem);
}

// A number from the header that must be a whole one, from 0 to what an int64_t holds.
bool whole(const json& value, int64_t& number) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > INT64_MAX) return false;
  number = value.get<int64_t>();
  return true;
}

}  // namespace

const Array* Safetensors::find(const std::string& name) const {
  const auto found = std::find_if(arrays.begin(), arrays.end(), [&](const Array& a) { return a.name == name; });
  return found == arrays.end() ? nullptr : &*found;
}

Safetensors read_safetensors(const std::filesystem::path& path) {
  const std::string file = path.string();
  const std::vector<unsigned char> bytes = read_file(path);
  if (bytes.size() < 8)
    throw InputError(
        file,
        fmt::format("has {} bytes; a safetensors file begins with 8 that give the length of its header", bytes.size()));
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | bytes[i];
  const size_t most = std::min(bytes.size() - 8, max_header);
  if (length > most)
    throw InputError(file,
                     fmt::format("gives {} bytes as the length of its header; at most {} are possible here (is it a "
                                 "whole safetensors file?)",
                                 length, most));
  const unsigned char* data = bytes.data() + 8 + length;
  const auto data_size = static_cast<int64_t>(bytes.size() - 8 - length);

  Safetensors result;
  result.path = path;
  struct Extent {
    int64_t begin, end;
    std::string name;
  };
  std::vector<Extent> extents;
  const json header = parse_header(file, bytes.data() + 8, data);
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      if (!entry.is_object()) throw InputError(file, "the header's __metadata__ must be an object of strings");
      for (const auto& [key, value] : entry.items()) {
        if (!value.is_string()) throw InputError(file, "the header's __metadata__ must be an object of strings");
        result.metadata[key] = value.get<std::string>();
      }
      continue;
    }
    const auto refuse = [&, where = quoted(name)](const std::string& message) {
      throw InputError(file, "tensor " + where + ": " + message);
    };
    if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") || !entry.contains("data_offsets"))
      refuse("its entry must be an object with dtype, shape and data_offsets");
    const json &dtype = entry["dtype"], &shape = entry["shape"], &offsets = entry["data_offsets"];
    Array array;
    array.name = name;
    if (!dtype.is_string() || element_size(dtype.get<std::string>()) == 0)
      refuse("its dtype " + quoted(dtype.dump(-1, ' ', true)) + " is none of the format's");
    array.dtype = dtype.get<std::string>();
    if (!shape.is_array()) refuse("its shape is no list");
    for (const json& size : shape)
      if (!whole(size, array.shape.emplace_back()))
        refuse("its shape holds something other than whole numbers from 0 on");
    int64_t begin = 0, end = 0, expected = 0;
    if (!offsets.is_array() || offsets.size() != 2 || !whole(offsets[0], begin) || !whole(offsets[1], end))
      refuse("its data_offsets are not two whole numbers from 0 on");
    if (begin > end || end > data_size)
      refuse(fmt::format("its data_offsets are {} and {}; the file has {} bytes of data (was it cut short?)", begin,
                         end, data_size));
    if (!byte_count(array.dtype, array.shape, expected)) refuse("its shape is too large");
    if (end - begin != expected)
      refuse(fmt::format("{} {} has {} bytes, but its data_offsets span {}", array.dtype, to_string(array.shape),
                         expected, end - begin));
    array.data.assign(data + begin, data + end);
    extents.push_back({begin, end, name});
    result.arrays.push_back(std::move(array));
  }

  std::sort(extents.begin(), extents.end(),
            [](const Extent& a, const Extent& b) { return std::tie(a.begin, a.end) < std::tie(b.begin, b.end); });
  int64_t covered = 0;
  for (const Extent& e : extents) {
    if (e.begin != covered)
      throw InputError(file, fmt::format("tensor {} begins at byte {} of the data, where {} was expected: tensors must "
                                         "neither overlap nor leave a gap",
                                         quoted(e.name), e.begin, covered));
    covered = e.end;
  }
  if (covered != data_size)
    throw InputError(file, fmt::format("has {} bytes of data, its tensors only {}", data_size, covered));
  std::sort(result.arrays.begin(), result.arrays.end(), [](const Array& a, const Array& b) { return a.name < b.name; });
  return result;
}

void write_safetensors(const std::filesystem::path& path, const Safetensors& content) {
  std::vector<const Array*> arrays;
  for (const Array& a : content.arrays) arrays.push_back(&a);
  std::sort(arrays.begin(), arrays.end(), [](const Array* a, const Array* b) {
    const size_t size_a = element_size(a->dtype), size_b = element_size(b->dtype);
    return size_a != size_b ? size_a > size_b : a->name < b->name;
  });

  json header = json::object();
  if (!content.metadata.empty()) header["__metadata__"] = content.metadata;
  size_t at = 0;
  for (const Array* a : arrays) {
    int64_t bytes = 0;
    if (!byte_count(a->dtype, a->shape, bytes) || static_cast<size_t>(bytes) != a->data.size())
      throw Error(path.string(), fmt::format("{} {} {} does not fit its {} bytes", a->name, a->dtype,
                                             to_string(a->shape), a->data.size()));
    if (header.contains(a->name)) throw Error(path.string(), "there are two tensors of the name " + a->name);
    header[a->name] = {{"dtype", a->dtype}, {"shape", a->shape}, {"data_offsets", {at, at + a->data.size()}}};
    at += a->data.size();
  }
  std::string text = header.dump(-1, ' ', false, json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  unsigned char length[8];
  for (int i = 0; i < 8; ++i) length[i] = static_cast<unsigned char>(text.size() >> (8 * i));

  std::vector<std::span<const unsigned char>> parts;
  parts.emplace_back(length);
  parts.emplace_back(reinterpret_cast<const unsigned char*>(text.data()), text.size());
  for (const Array* a : arrays) parts.emplace_back(a->data);
  write_file(path, parts);
}

}  // namespace engine::io
