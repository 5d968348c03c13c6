// The graph that cudnn's rows make of a convolution, its bias and ReLU6, as far as cuDNN takes it without a GPU: it is
// built, and engines and plans are asked for by the properties of a GPU that is not there. What a plan computes is
// tested on one: kernels_gpu.
#ifdef MOBILENET_CUDNN
#include "catch.h"
#include "kernels/common/cudnn_graph.h"

namespace cudnn = kernels::cuda::cudnn;
namespace graph = cudnn::graph;
using cudnn::Shape;

namespace {

constexpr cudnnDataType_t f32 = CUDNN_DATA_FLOAT, bf16 = CUDNN_DATA_BFLOAT16;

Shape depthwise(int batch, int size, int channels, int stride, cudnnDataType_t type = f32) {
  return {batch, size, size, channels, channels, channels, stride, 3, type};
}
Shape pointwise(int rows, int in, int out, cudnnDataType_t type) { return {1, rows, 1, in, out, 1, 1, 1, type}; }

// The first layer and the depthwise layers of MobileNetV1 at 32×32 and 224×224, and shapes that divide by nothing.
std::vector<Shape> fp32_shapes() {
  std::vector<Shape> shapes = {{128, 32, 32, 3, 32, 1, 1}, {8, 224, 224, 3, 32, 1, 2}, {3, 5, 6, 7, 9, 1, 2},
                               {1, 1, 1, 1, 1, 1, 1},      depthwise(3, 5, 7, 2),      depthwise(1, 1, 5, 2)};
  for (const int batch : {1, 128})
    for (const int first : {32, 112})
      for (int size = first, channels = 32; channels <= 1024; size = (size + 1) / 2, channels *= 2)
        for (const int stride : {1, 2}) shapes.push_back(depthwise(batch, size, channels, stride));
  return shapes;
}

std::string words(const Shape& s) {
  return "batch " + std::to_string(s.batch) + ", " + std::to_string(s.height) + "×" + std::to_string(s.width) + ", " +
         std::to_string(s.in) + " to " + std::to_string(s.out) + " channels, stride " + std::to_string(s.stride);
}

#if CUDNN_VERSION >= 90800
// What cuDNN wants to know of a GPU, in the form in which it writes down one that is there. `values`: compute
// capability times 100, multiprocessors, shared memory that a block may have, level 2 cache, memory.
std::string properties(const char* name, const std::array<int64_t, 5>& values) {
  const auto [capability, multiprocessors, shared, cache, memory] = values;
  const std::vector<std::pair<const char*, int64_t>> numbers = {{"cudaDeviceId", 0},
                                                                {"deviceVer", capability},
                                                                {"driverVer", 13000},
                                                                {"totalGlobalMem", memory},
                                                                {"regsPerBlock", 65536},
                                                                {"multiProcessorCount", multiprocessors},
                                                                {"smClockRateKHz", 1980000},
                                                                {"memClockRateKHz", 2619000},
                                                                {"l2CacheSize", cache},
                                                                {"warpSize", 32},
                                                                {"maxSharedMemoryPerBlock", 49152},
                                                                {"maxSharedMemoryPerBlockOptin", shared},
                                                                {"reservedSharedMemoryPerBlock", 1024},
                                                                {"maxRegistersPerSM", 65536},
                                                                {"maxCtasPerSM", 32},
                                                                {"maxThreadsPerBlock", 1024},
                                                                {"maxThreadsPerSM", 2048},
                                                                {"pciDeviceId", 0},
                                                                {"isTccDriver", 0},
                                                                {"supportCoopLaunch", 1}};
  std::string json = "{\"maxGridSize\": [2147483647, 65535, 65535], \"maxBlockSize\": [1024, 1024, 64]";
  for (const auto& [key, value] : numbers) json += ", \"" + std::string(key) + "\": " + std::to_string(value);
  return json + ", \"deviceName\": \"" + name + "\"}";
}
const std::string h100 = properties("NVIDIA H100 80GB HBM3", {900, 132, 232448, 52428800, 85029158912});
const std::string a100 = properties("NVIDIA A100-SXM4-40GB", {800, 108, 166912, 41943040, 42949672960});

// None, with a warning, where this cuDNN writes GPUs down in another way.
std::optional<graph::Descriptor> described(const std::string& json) {
  graph::Descriptor gpu(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  gpu.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, json.data(), json.size());
  if (gpu.try_finalize() == CUDNN_STATUS_SUCCESS) return gpu;
  char message[256] = "";
  cudnnGetLastErrorString(message, sizeof message);
  WARN("cuDNN " << cudnnGetVersion() << " does not take the description of a GPU: " << message);
  return std::nullopt;
}
#endif

}  // namespace

TEST_CASE("cuDNN takes the graph of a convolution, its bias and ReLU6", "[vendor]") {
  auto shapes = fp32_shapes();
  for (const int rows : {1, 129, 128 * 32 * 32}) shapes.push_back(pointwise(rows, 64, 128, bf16));
  for (const Shape& s : shapes) {
    INFO(words(s));
    CHECK_NOTHROW(graph::FoldedGraph(s, {}));
  }
  // What it does not take has no plan, and is left to three calls.
  CHECK_THROWS_AS(graph::FoldedGraph({0, 4, 4, 6, 6, 1, 1}, {}), kernels::Error);
  const graph::Folded refused({0, 4, 4, 6, 6, 1, 1}, {});
  CHECK((!refused.description && !refused.plan));
}

TEST_CASE("the graph's tensors lie NHWC", "[vendor]") {
  using Numbers = std::vector<int64_t>;
  const auto image = graph::tensor(graph::array_x, bf16, 16, {2, 5, 3, 4});
  CHECK(image.get<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS, 4) == Numbers{2, 5, 3, 4});
  CHECK(image.get<int64_t>(CUDNN_ATTR_TENSOR_STRIDES, 4) == Numbers{60, 1, 20, 5});
  CHECK(image.get<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE, 1)[0] == bf16);
  const auto filters = graph::tensor(graph::array_w, f32, 4, {7, 1, 3, 3});  // a channel's in one piece
  CHECK(filters.get<int64_t>(CUDNN_ATTR_TENSOR_STRIDES, 4) == Numbers{9, 1, 3, 1});
}

TEST_CASE("engines that round fp32's factors, or sum in no fixed order, are passed over", "[vendor]") {
  CHECK(!graph::allowed(CUDNN_NUMERICAL_NOTE_TENSOR_CORE, f32));
  CHECK(graph::allowed(CUDNN_NUMERICAL_NOTE_TENSOR_CORE, bf16));
  for (const auto type : {f32, bf16})
    for (const auto note : {CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC, CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS,
                            CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION})
      CHECK(!graph::allowed(note, type));
}

#if CUDNN_VERSION >= 90800
TEST_CASE("cuDNN has an fp32 engine for the first and the depthwise layers, on GPUs that are described", "[vendor]") {
  for (const std::string& json : {h100, a100}) {
    const auto gpu = described(json);
    if (!gpu) return;
    for (const Shape& s : fp32_shapes()) {
      INFO(words(s));
      const graph::Folded folded(s, {.handle = nullptr, .properties = &*gpu});
      REQUIRE(folded.plan);
      const auto bytes = folded.plan->get<int64_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, 1);
      CHECK(bytes[0] <= static_cast<int64_t>(cudnn::scratch_bytes));
    }
  }
}

// Engines for tensor cores are compiled when a plan is made, which needs a GPU's driver.
TEST_CASE("without an engine there is no plan, and no error", "[vendor]") {
  const auto gpu = described(h100);
  if (!gpu) return;
  const graph::Folded folded(pointwise(129, 64, 128, bf16), {.handle = nullptr, .properties = &*gpu});
  CHECK(folded.description.has_value());
}
#endif
#endif
