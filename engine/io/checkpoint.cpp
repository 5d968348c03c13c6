#include "engine/io/checkpoint.h"

#include <fmt/format.h>

#include <charconv>
#include <cstring>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "kernels/common/bf16.h"

namespace engine::io {
namespace {

const char* file_dtype(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return "F32";
    case DType::int32:
      return "I32";
    case DType::uint8:
      return "U8";
    case DType::bfloat16:
      return "BF16";
  }
  return "?";
}

// The shape in a file of what has `shape` in memory.
Shape file_shape(const Shape& shape, Layout layout) {
  switch (layout) {
    case Layout::same:
      return shape;
    case Layout::depthwise:
      return {shape.at(2), 1, 3, 3};
    case Layout::pointwise:
      return {shape.at(0), shape.at(1), 1, 1};
    case Layout::conv:
      return {shape.at(0), shape.at(3), 3, 3};
  }
  return shape;
}

// The other way round; false where no memory shape has this file shape.
bool memory_shape(const Shape& file, Layout layout, Shape& shape) {
  if (layout == Layout::same) {
    shape = file;
    return true;
  }
  if (file.size() != 4) return false;
  switch (layout) {
    case Layout::depthwise:
      shape = {3, 3, file[0]};
      break;
    case Layout::pointwise:
      shape = {file[0], file[1]};
      break;
    default:
      shape = {file[0], 3, 3, file[1]};
      break;
  }
  return file_shape(shape, layout) == file;
}

// out[b][c][r] = in[b][r][c], elements of `size` bytes.
std::vector<unsigned char> transposed(const unsigned char* in, int64_t blocks, int64_t rows, int64_t columns,
                                      size_t size) {
  std::vector<unsigned char> out(blocks * rows * columns * size);
  for (int64_t b = 0; b < blocks; ++b)
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c)
        std::memcpy(&out[((b * columns + c) * rows + r) * size], in + ((b * rows + r) * columns + c) * size, size);
  return out;
}

// From memory to file: the nine taps of a filter move behind its channels.
void taps_last(std::vector<unsigned char>& data, const Shape& shape, Layout layout, size_t size) {
  if (layout == Layout::depthwise) data = transposed(data.data(), 1, 9, shape[2], size);
  if (layout == Layout::conv) data = transposed(data.data(), shape[0], 9, shape[3], size);
}
// And back.
void taps_first(std::vector<unsigned char>& data, const Shape& shape, Layout layout, size_t size) {
  if (layout == Layout::depthwise) data = transposed(data.data(), 1, shape[2], 9, size);
  if (layout == Layout::conv) data = transposed(data.data(), shape[0], shape[3], 9, size);
}

template <class T>
std::vector<unsigned char> bytes_of(const Tensor& tensor) {
  std::vector<unsigned char> bytes(tensor.bytes());
  tensor.read<T>({reinterpret_cast<T*>(bytes.data()), static_cast<size_t>(tensor.count())});
  return bytes;
}

template <class T>
Tensor tensor_of(const std::vector<unsigned char>& bytes, const Shape& shape, DeviceType device) {
  Tensor tensor = Tensor::empty(shape, device, dtype_of<T>());
  tensor.write<T>({reinterpret_cast<const T*>(bytes.data()), static_cast<size_t>(tensor.count())});
  return tensor;
}

void append(std::vector<Array>& arrays, const std::string& prefix, const State& state) {
  for (const NamedTensor& n : state) {
    arrays.push_back(to_array(n));
    arrays.back().name = prefix + n.name;
  }
}

// The file's arrays whose names begin with `prefix`, without it. Counters of PyTorch's batch norm, which no formula
// uses, are left out.
std::vector<Array> with_prefix(const Safetensors& file, const std::string& prefix) {
  std::vector<Array> arrays;
  for (const Array& a : file.arrays)
    if (a.name.starts_with(prefix) && !a.name.ends_with("num_batches_tracked")) {
      arrays.push_back(a);
      arrays.back().name.erase(0, prefix.size());
    }
  return arrays;
}

void check(const State& state, const std::vector<Array>& arrays, const std::string& file) {
  std::vector<Signature> expected, given;
  for (const NamedTensor& n : state)
    expected.push_back({n.name, file_dtype(n.tensor.dtype()), file_shape(n.tensor.shape(), n.layout)});
  for (const Array& a : arrays) given.push_back({a.name, a.dtype, a.shape});
  check_same(expected, given, file);
}

// To be called after check.
void load(const State& state, const std::vector<Array>& arrays) {
  std::map<std::string_view, const Array*> by_name;
  for (const Array& a : arrays) by_name[a.name] = &a;
  for (const NamedTensor& n : state)
    Tensor(n.tensor).copy_from(from_array(*by_name.at(n.name), n.layout, n.tensor.device()).tensor);
}

const std::string& metadata(const Safetensors& file, const std::string& key) {
  const auto found = file.metadata.find(key);
  if (found == file.metadata.end())
    throw InputError(file.path.string(), fmt::format("is no checkpoint: its metadata has no \"{}\"", key));
  return found->second;
}

}  // namespace

Array to_array(const NamedTensor& n) {
  Array array{n.name, file_dtype(n.tensor.dtype()), file_shape(n.tensor.shape(), n.layout), {}};
  switch (n.tensor.dtype()) {
    case DType::float32:
      array.data = bytes_of<float>(n.tensor);
      break;
    case DType::int32:
      array.data = bytes_of<int32_t>(n.tensor);
      break;
    case DType::uint8:
      array.data = bytes_of<uint8_t>(n.tensor);
      break;
    case DType::bfloat16:
      array.data = bytes_of<kernels::Bf16>(n.tensor);
      break;
  }
  taps_last(array.data, n.tensor.shape(), n.layout, size_of(n.tensor.dtype()));
  return array;
}

NamedTensor from_array(const Array& array, Layout layout, DeviceType device) {
  for (const DType dtype : {DType::float32, DType::int32, DType::uint8, DType::bfloat16}) {
    if (array.dtype != file_dtype(dtype)) continue;
    Shape shape;
    if (!memory_shape(array.shape, layout, shape))
      throw InputError(array.name, fmt::format("{} is no shape of such a filter", to_string(array.shape)));
    std::vector<unsigned char> data = array.data;
    taps_first(data, shape, layout, size_of(dtype));
    switch (dtype) {
      case DType::float32:
        return {array.name, tensor_of<float>(data, shape, device), layout};
      case DType::int32:
        return {array.name, tensor_of<int32_t>(data, shape, device), layout};
      case DType::uint8:
        return {array.name, tensor_of<uint8_t>(data, shape, device), layout};
      case DType::bfloat16:
        return {array.name, tensor_of<kernels::Bf16>(data, shape, device), layout};
    }
  }
  throw InputError(array.name, fmt::format("dtype {} is none of F32, I32, U8, BF16", array.dtype));
}

void save_weights(const std::filesystem::path& path, const nn::Module& module,
                  const std::map<std::string, std::string>& metadata) {
  Safetensors file;
  file.metadata = metadata;
  append(file.arrays, "", module.state_dict());
  write_safetensors(path, file);
}

void load_weights(const Safetensors& file, nn::Module& module) {
  const State state = module.state_dict();
  const std::vector<Array> arrays = with_prefix(file, "");
  check(state, arrays, file.path.string());
  load(state, arrays);
}

void save_checkpoint(const std::filesystem::path& path, const nn::Module& module, const optim::Optimizer& optimizer,
                     const nlohmann::json& state) {
  Safetensors file;
  file.metadata = {{"optimizer", optim::to_string(optimizer.options().method)},
                   {"optimizer_steps", std::to_string(optimizer.steps())},
                   {"state", state.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)}};
  append(file.arrays, "model.", module.state_dict());
  append(file.arrays, "optimizer.", optimizer.state_dict());
  write_safetensors(path, file);
}

nlohmann::json checkpoint_state(const Safetensors& file) {
  try {
    return nlohmann::json::parse(metadata(file, "state"));
  } catch (const nlohmann::json::exception&) {
    throw InputError(file.path.string(), "is no sound checkpoint: its metadata \"state\" is no valid JSON");
  }
}

void load_checkpoint(const Safetensors& file, nn::Module& module, optim::Optimizer& optimizer) {
  const std::string path = file.path.string(), method = optim::to_string(optimizer.options().method);
  if (metadata(file, "optimizer") != method)
    throw InputError(path, fmt::format("was written by optimizer {}, not {}", metadata(file, "optimizer"), method));
  const std::string& text = metadata(file, "optimizer_steps");
  int64_t steps = -1;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), steps);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || steps < 0)
    throw InputError(path, "is no sound checkpoint: its metadata \"optimizer_steps\" is no number of steps");

  const std::vector<Array> weights = with_prefix(file, "model."), moments = with_prefix(file, "optimizer.");
  const State state = module.state_dict();
  check(state, weights, path + ", model");
  check(optimizer.state_dict(), moments, path + ", optimizer");
  load(state, weights);
  State loaded;
  for (const NamedTensor& n : optimizer.state_dict())
    for (const Array& a : moments)
      if (a.name == n.name) loaded.push_back(from_array(a, n.layout, n.tensor.device()));
  optimizer.load_state_dict(loaded, steps);
}

}  // namespace engine::io
