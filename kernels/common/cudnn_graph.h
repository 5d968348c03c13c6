// cuDNN's graph API, through its C interface (<cudnn_graph.h>), for what its functions for one operation each do not
// have: a convolution, its bias and ReLU6 in one kernel. That is a convolution in inference, with the batch norm folded
// into its weights and bias.
//
// A graph is made of descriptors: tensors, those between two operations virtual (they never reach memory), and
// operations. Heuristics name the engines that could run it, the one they expect to be the fastest first; of an engine
// comes an execution plan, which is kept.
//
// Not used: its pieces for training, scale, bias and ReLU before a convolution and the sums of what comes out behind it
// (ConvBNfprop), and their way back (ConvBNwgrad, DgradDreluBNBwdWeight). They are not what forward_fused and
// backward_fused ask for:
//   - GenStats, what comes out of the first, "computes the sum and sum of squares per-channel dimension" (its
//     documentation), and has no other mode. The variance would be E[z²] - E[z]² in fp32, which cancels where the mean
//     is large against the deviation: batchnorm.h rules it out, and the tests would find it.
//   - The engines made for these graphs have no type of ours: "X, Z, W, s1, b1 must all be of FP16 data type", "only
//     ReLU activation is supported" (its documentation of specialized engines). Asked for the first of them with
//     bfloat16 arrays and ReLU6, cuDNN 9.19 does name an engine that compiles at run time; the sums are the same.
#pragma once

#include <cudnn.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/common/launch.h"

namespace kernels::KERNEL_TARGET::cudnn {

inline void check(cudnnStatus_t status, const char* what) {
  if (status != CUDNN_STATUS_SUCCESS) throw Error(std::string(what) + ": " + cudnnGetErrorString(status));
}

// A convolution with a square kernel of 1 or 3 and a padding of half of it: x (N, H, W, in), w (out, kernel, kernel,
// in / groups), y (N, P, Q, out). type: of x, w and y.
struct Shape {
  int batch, height, width, in, out, groups, stride;
  int kernel = 3;
  cudnnDataType_t type = CUDNN_DATA_FLOAT;
  int out_height() const { return (height - 1) / stride + 1; }
  int out_width() const { return (width - 1) / stride + 1; }
  std::array<int, 9> key() const { return {batch, height, width, in, out, groups, stride, kernel, type}; }
};

// Engines and algorithms that want more scratch memory than this are passed over.
constexpr size_t scratch_bytes = size_t{32} << 20;

namespace graph {

inline cudnnBackendAttributeType_t attribute_type(int64_t) { return CUDNN_TYPE_INT64; }
inline cudnnBackendAttributeType_t attribute_type(float) { return CUDNN_TYPE_FLOAT; }
inline cudnnBackendAttributeType_t attribute_type(double) { return CUDNN_TYPE_DOUBLE; }
inline cudnnBackendAttributeType_t attribute_type(bool) { return CUDNN_TYPE_BOOLEAN; }
inline cudnnBackendAttributeType_t attribute_type(char) { return CUDNN_TYPE_CHAR; }
inline cudnnBackendAttributeType_t attribute_type(void*) { return CUDNN_TYPE_VOID_PTR; }
inline cudnnBackendAttributeType_t attribute_type(cudnnHandle_t) { return CUDNN_TYPE_HANDLE; }
inline cudnnBackendAttributeType_t attribute_type(cudnnDataType_t) { return CUDNN_TYPE_DATA_TYPE; }
inline cudnnBackendAttributeType_t attribute_type(cudnnConvolutionMode_t) { return CUDNN_TYPE_CONVOLUTION_MODE; }
inline cudnnBackendAttributeType_t attribute_type(cudnnPointwiseMode_t) { return CUDNN_TYPE_POINTWISE_MODE; }
inline cudnnBackendAttributeType_t attribute_type(cudnnNanPropagation_t) { return CUDNN_TYPE_NAN_PROPOGATION; }
inline cudnnBackendAttributeType_t attribute_type(cudnnBackendHeurMode_t) { return CUDNN_TYPE_HEUR_MODE; }
inline cudnnBackendAttributeType_t attribute_type(cudnnBackendNumericalNote_t) { return CUDNN_TYPE_NUMERICAL_NOTE; }

// A descriptor that is destroyed with its owner. Its attributes are set, then it is finalized.
class Descriptor {
  cudnnBackendDescriptor_t value_ = nullptr;

 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type) {
    check(cudnnBackendCreateDescriptor(type, &value_), "cudnnBackendCreateDescriptor");
  }
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, nullptr)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~Descriptor() {
    if (value_ != nullptr) cudnnBackendDestroyDescriptor(value_);
  }
  operator cudnnBackendDescriptor_t() const { return value_; }

  template <class T>
  void set(cudnnBackendAttributeName_t attribute, std::initializer_list<T> values) {
    set(attribute, attribute_type(T{}), values.begin(), values.size());
  }
  void set(cudnnBackendAttributeName_t attribute, const std::vector<Descriptor>& descriptors) {
    const std::vector<cudnnBackendDescriptor_t> values(descriptors.begin(), descriptors.end());
    set(attribute, CUDNN_TYPE_BACKEND_DESCRIPTOR, values.data(), values.size());
  }
  void set(cudnnBackendAttributeName_t attribute, const Descriptor& descriptor) {
    set(attribute, CUDNN_TYPE_BACKEND_DESCRIPTOR, &descriptor.value_, 1);
  }
  void set(cudnnBackendAttributeName_t attribute, cudnnBackendAttributeType_t type, const void* values, size_t count) {
    check(cudnnBackendSetAttribute(value_, attribute, type, static_cast<int64_t>(count), values),
          "cudnnBackendSetAttribute");
  }

  template <class T>
  std::vector<T> get(cudnnBackendAttributeName_t attribute, int64_t most) const {
    std::vector<T> values(most);
    int64_t count = 0;
    check(cudnnBackendGetAttribute(value_, attribute, attribute_type(T{}), most, &count, values.data()),
          "cudnnBackendGetAttribute");
    values.resize(std::min(count, most));
    return values;
  }
  // Fills descriptors, made before, with those of the attribute. Returns how many.
  int64_t get(cudnnBackendAttributeName_t attribute, const std::vector<Descriptor>& descriptors) const {
    std::vector<cudnnBackendDescriptor_t> values(descriptors.begin(), descriptors.end());
    int64_t count = 0;
    check(cudnnBackendGetAttribute(value_, attribute, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                   static_cast<int64_t>(values.size()), &count, values.data()),
          "cudnnBackendGetAttribute");
    return count;
  }

  cudnnStatus_t try_finalize() { return cudnnBackendFinalize(value_); }
  void finalize() { check(try_finalize(), "cudnnBackendFinalize"); }
};

// What a graph is made for: the GPU behind a handle or, for tests without one, a GPU that is only described
// (CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, from cuDNN 9.8 on).
struct Target {
  cudnnHandle_t handle = nullptr;
  const Descriptor* properties = nullptr;

  void set(Descriptor& descriptor, cudnnBackendAttributeName_t handle_attribute) const {
    if (handle != nullptr) descriptor.set(handle_attribute, {handle});
  }
  void set_properties(Descriptor& descriptor, cudnnBackendAttributeName_t properties_attribute) const {
    if (properties != nullptr) descriptor.set(properties_attribute, *properties);
  }
};

// The arrays of a graph, by the numbers that it knows them by.
enum Array : int64_t { array_x = 1, array_w, array_bias, array_y, array_sum, array_biased };

enum class Where { memory, nowhere };  // nowhere: within the kernel

// (n, c, h, w), laid out NHWC. `alignment`: of its address, in bytes.
inline Descriptor tensor(Array array, cudnnDataType_t type, int64_t alignment, std::array<int64_t, 4> sizes,
                         Where where = Where::memory) {
  Descriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  const auto [n, c, h, w] = sizes;
  tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, {static_cast<int64_t>(array)});
  tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, {type});
  tensor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, {alignment});
  tensor.set(CUDNN_ATTR_TENSOR_DIMENSIONS, {n, c, h, w});
  tensor.set(CUDNN_ATTR_TENSOR_STRIDES, {h * w * c, int64_t{1}, w * c, c});
  tensor.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, {where == Where::nowhere});
  tensor.finalize();
  return tensor;
}

inline Descriptor convolution_operator(const Shape& s) {
  Descriptor op(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  const int64_t padding = s.kernel / 2, stride = s.stride, one = 1;
  op.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, {CUDNN_DATA_FLOAT});
  op.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, {CUDNN_CROSS_CORRELATION});
  op.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, {int64_t{2}});
  op.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, {one, one});
  op.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, {stride, stride});
  op.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, {padding, padding});
  op.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, {padding, padding});
  op.finalize();
  return op;
}

// y = x * w
inline Descriptor convolution(const Descriptor& op, const Descriptor& x, const Descriptor& w, const Descriptor& y) {
  Descriptor operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, op);
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x);
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, w);
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, y);
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, {1.0f});
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, {0.0f});
  operation.finalize();
  return operation;
}

inline Descriptor pointwise_operator(cudnnPointwiseMode_t mode) {
  Descriptor op(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  op.set(CUDNN_ATTR_POINTWISE_MODE, {mode});
  op.set(CUDNN_ATTR_POINTWISE_MATH_PREC, {CUDNN_DATA_FLOAT});
  if (mode == CUDNN_POINTWISE_RELU_FWD) {
    op.set(CUDNN_ATTR_POINTWISE_NAN_PROPAGATION, {CUDNN_PROPAGATE_NAN});
    op.set(CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, {6.0});
  }
  op.finalize();
  return op;
}

// y = op(x), or op(x, b) where there is a second array
inline Descriptor pointwise(const Descriptor& op, const Descriptor& x, const Descriptor* b, const Descriptor& y) {
  Descriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, op);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
  if (b != nullptr) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *b);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
  operation.finalize();
  return operation;
}

// What the arrays' addresses are multiples of. fp32's engine takes any; tensor cores load 16 bytes.
inline int64_t alignment(const Shape& s) { return s.type == CUDNN_DATA_FLOAT ? 4 : 16; }

// y (N, P, Q, out) = min(max(x * w + bias, 0), 6), bias (out) of fp32. Sums are fp32.
class FoldedGraph {
  std::vector<Descriptor> parts_, operations_;

  // References to the parts stay where they are: there is room for all.
  const Descriptor& keep(Descriptor part) { return parts_.emplace_back(std::move(part)); }

 public:
  Descriptor graph{CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR};

  FoldedGraph(const Shape& s, const Target& target) {
    parts_.reserve(9);
    const auto f32 = CUDNN_DATA_FLOAT;
    const int64_t bytes = alignment(s);
    const std::array<int64_t, 4> out = {s.batch, s.out, s.out_height(), s.out_width()};
    const auto& x = keep(tensor(array_x, s.type, bytes, {s.batch, s.in, s.height, s.width}));
    const auto& w = keep(tensor(array_w, s.type, bytes, {s.out, s.in / s.groups, s.kernel, s.kernel}));
    const auto& bias = keep(tensor(array_bias, f32, bytes, {1, s.out, 1, 1}));
    const auto& y = keep(tensor(array_y, s.type, bytes, out));
    const auto& sum = keep(tensor(array_sum, f32, bytes, out, Where::nowhere));
    const auto& biased = keep(tensor(array_biased, f32, bytes, out, Where::nowhere));
    operations_.push_back(convolution(keep(convolution_operator(s)), x, w, sum));
    operations_.push_back(pointwise(keep(pointwise_operator(CUDNN_POINTWISE_ADD)), sum, &bias, biased));
    operations_.push_back(pointwise(keep(pointwise_operator(CUDNN_POINTWISE_RELU_FWD)), biased, nullptr, y));
    graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operations_);
    target.set(graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE);
    graph.finalize();
  }
};

// The notes of the engine that a configuration is of.
inline std::vector<cudnnBackendNumericalNote_t> notes(const Descriptor& configuration) {
  std::vector<Descriptor> engine;
  engine.emplace_back(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  configuration.get(CUDNN_ATTR_ENGINECFG_ENGINE, engine);
  return engine[0].get<cudnnBackendNumericalNote_t>(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT);
}

// Whether an engine of that note gives the same bits in every run, sums in fp32 and, where the arrays are fp32,
// computes in it: its tensor cores would round the factors to tf32. Transforms round more than a sum of products does.
inline bool allowed(cudnnBackendNumericalNote_t note, cudnnDataType_t type) {
  switch (note) {
    case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC:
    case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION:
    case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS:
    case CUDNN_NUMERICAL_NOTE_FFT:
    case CUDNN_NUMERICAL_NOTE_WINOGRAD:
      return false;
    case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:
      return type != CUDNN_DATA_FLOAT;
    default:
      return true;
  }
}

// The configurations that cuDNN expects to be the fastest, best first. Not those of its mode "fallback", which work and
// promise no speed: what stands in where there is no plan is made of parts that were chosen for theirs.
inline std::vector<Descriptor> configurations(const FoldedGraph& graph, const Target& target) {
  std::vector<Descriptor> found;
  Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph.graph);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, {CUDNN_HEUR_MODE_A});
#if CUDNN_VERSION >= 90800
  target.set_properties(heuristics, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP);
#endif
  if (heuristics.try_finalize() != CUDNN_STATUS_SUCCESS) return found;
  const int64_t count = heuristics.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, found);
  for (int64_t i = 0; i < count; ++i) found.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  const int64_t usable = heuristics.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, found);
  while (static_cast<int64_t>(found.size()) > usable) found.pop_back();
  return found;
}

// The plan of the first configuration that is allowed, needs no more than scratch_bytes and can be made; or none.
inline std::optional<Descriptor> plan(const Shape& s, const FoldedGraph& graph, const Target& target) {
  for (const Descriptor& configuration : configurations(graph, target)) {
    const auto all = notes(configuration);
    if (!std::all_of(all.begin(), all.end(), [&](auto note) { return allowed(note, s.type); })) continue;
    Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    target.set(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE);
    plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
#if CUDNN_VERSION >= 90800
    target.set_properties(plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP);
#endif
    if (plan.try_finalize() != CUDNN_STATUS_SUCCESS) continue;
    const auto bytes = plan.get<int64_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, 1);
    if (bytes[0] <= static_cast<int64_t>(scratch_bytes)) return plan;
  }
  return std::nullopt;
}

// What is kept for a shape. A graph that cuDNN refuses has no plan: its caller does without one.
struct Folded {
  std::optional<FoldedGraph> description;
  std::optional<Descriptor> plan;

  Folded(const Shape& s, const Target& target) {
    try {
      plan = graph::plan(s, description.emplace(s, target), target);
    } catch (const Error&) {
    }
  }
};

// Puts a plan on the handle's stream. Allocates nothing of the device's. scratch: scratch_bytes.
inline void run(cudnnHandle_t handle, const Descriptor& plan, const void* x, const void* w, const float* bias, void* y,
                void* scratch) {
  const auto array = [](const void* data) { return const_cast<void*>(data); };
  Descriptor arrays(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  arrays.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS,
             {int64_t{array_x}, int64_t{array_w}, int64_t{array_bias}, int64_t{array_y}});
  arrays.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, {array(x), array(w), array(bias), y});
  arrays.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, {scratch});
  arrays.finalize();
  check(cudnnBackendExecute(handle, plan, arrays), "cudnnBackendExecute");
}

}  // namespace graph

}  // namespace kernels::KERNEL_TARGET::cudnn
