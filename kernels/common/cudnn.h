// cuDNN for the rows of that name, NHWC: by its functions for one operation each (cudnn_cnn.h, cudnn_ops.h), in fp32,
// and by its graph API (cudnn_graph.h) where one of ours is several of its operations. What was made for a shape is
// kept in Context::cudnn: a pass's first call makes it, those after it allocate nothing of the device's and wait for
// nothing, so that they can be captured.
#pragma once

#include <cudnn.h>

#include <array>
#include <map>
#include <memory>
#include <string>

#include "kernels/common/cudnn_graph.h"

namespace kernels::KERNEL_TARGET::cudnn {

// A cuDNN object that is destroyed with its owner.
template <class T, cudnnStatus_t (*create)(T*), cudnnStatus_t (*destroy)(T)>
struct Object {
  T value = nullptr;
  Object() { check(create(&value), "cudnnCreate…"); }
  ~Object() { destroy(value); }
  Object(const Object&) = delete;
  operator T() const { return value; }
};
using Handle = Object<cudnnHandle_t, cudnnCreate, cudnnDestroy>;
using Tensor = Object<cudnnTensorDescriptor_t, cudnnCreateTensorDescriptor, cudnnDestroyTensorDescriptor>;
using Filter = Object<cudnnFilterDescriptor_t, cudnnCreateFilterDescriptor, cudnnDestroyFilterDescriptor>;
using Operator =
    Object<cudnnConvolutionDescriptor_t, cudnnCreateConvolutionDescriptor, cudnnDestroyConvolutionDescriptor>;

using Pooling = Object<cudnnPoolingDescriptor_t, cudnnCreatePoolingDescriptor, cudnnDestroyPoolingDescriptor>;
using Activation =
    Object<cudnnActivationDescriptor_t, cudnnCreateActivationDescriptor, cudnnDestroyActivationDescriptor>;

// cuDNN's sizes and strides are ints.
constexpr int64_t max_elements = INT32_MAX;

// Of a convolution in fp32.
struct Convolution {
  Tensor x, y;
  Filter w;
  Operator op;
  int forward = -1, backward_data = -1, backward_weight = -1;  // the algorithms, once chosen

  explicit Convolution(const Shape& s) {
    const auto f32 = CUDNN_DATA_FLOAT;
    const auto nhwc = CUDNN_TENSOR_NHWC;
    check(cudnnSetTensor4dDescriptor(x, nhwc, f32, s.batch, s.in, s.height, s.width), "cudnnSetTensor4dDescriptor");
    check(cudnnSetTensor4dDescriptor(y, nhwc, f32, s.batch, s.out, s.out_height(), s.out_width()),
          "cudnnSetTensor4dDescriptor");
    check(cudnnSetFilter4dDescriptor(w, f32, nhwc, s.out, s.in / s.groups, s.kernel, s.kernel),
          "cudnnSetFilter4dDescriptor");
    const int padding = s.kernel / 2;
    check(cudnnSetConvolution2dDescriptor(op, padding, padding, s.stride, s.stride, 1, 1, CUDNN_CROSS_CORRELATION, f32),
          "cudnnSetConvolution2dDescriptor");
    check(cudnnSetConvolutionGroupCount(op, s.groups), "cudnnSetConvolutionGroupCount");
    check(cudnnSetConvolutionMathType(op, CUDNN_FMA_MATH), "cudnnSetConvolutionMathType");  // fp32, not TF32
  }
};

inline void set_nhwc(const Tensor& tensor, int64_t n, int64_t c, int64_t h, int64_t w) {
  check(cudnnSetTensor4dDescriptor(tensor, CUDNN_TENSOR_NHWC, CUDNN_DATA_FLOAT, static_cast<int>(n),
                                   static_cast<int>(c), static_cast<int>(h), static_cast<int>(w)),
        "cudnnSetTensor4dDescriptor");
}

// The mean over `positions` in a column.
inline void set_average(const Pooling& pooling, int positions) {
  check(cudnnSetPooling2dDescriptor(pooling, CUDNN_POOLING_AVERAGE_COUNT_INCLUDE_PADDING, CUDNN_PROPAGATE_NAN,
                                    positions, 1, 0, 0, positions, 1),
        "cudnnSetPooling2dDescriptor");
}

inline void set_relu6(const Activation& activation) {
  check(cudnnSetActivationDescriptor(activation, CUDNN_ACTIVATION_CLIPPED_RELU, CUDNN_PROPAGATE_NAN, 6),
        "cudnnSetActivationDescriptor");
}

// What Context::cudnn points to.
struct Library {
  Handle handle;
  std::map<std::array<int, 9>, Convolution> convolutions;
  std::map<std::array<int, 9>, graph::Folded> folded;
  std::map<std::array<int64_t, 4>, Tensor> tensors;  // of (N, C, H, W)
  std::map<int, Pooling> averages;                   // of their positions
  Activation relu6;
  Library() { set_relu6(relu6); }
};

inline Library& library(Context& context) {
  if (context.cudnn == nullptr) context.cudnn = std::make_shared<Library>();
  auto& library = *static_cast<Library*>(context.cudnn.get());
  check(cudnnSetStream(library.handle, static_cast<cudaStream_t>(context.stream)), "cudnnSetStream");
  return library;
}

inline Convolution& convolution(Library& library, const Shape& s) {
  return library.convolutions.try_emplace(s.key(), s).first->second;
}

// A tensor of these sizes, laid out NHWC.
inline const Tensor& tensor(Library& library, int64_t n, int64_t c, int64_t h, int64_t w) {
  const auto [found, made] = library.tensors.try_emplace({n, c, h, w});
  if (made) set_nhwc(found->second, n, c, h, w);
  return found->second;
}

inline const Pooling& average(Library& library, int positions) {
  const auto [found, made] = library.averages.try_emplace(positions);
  if (made) set_average(found->second, positions);
  return found->second;
}

// The algorithm that cuDNN expects to be the fastest of those that give the same bits in every run, in fp32.
// `get` is one of cudnnGetConvolution…Algorithm_v7.
template <class Performance, class Get, class... Descriptors>
int choose_algorithm(const char* what, Get get, Library& library, const Descriptors&... descriptors) {
  Performance found[16];
  int count = 0;
  check(get(library.handle, descriptors..., 16, &count, found), what);
  for (int i = 0; i < count; ++i) {
    const bool fp32 = found[i].mathType == CUDNN_FMA_MATH || found[i].mathType == CUDNN_DEFAULT_MATH;
    if (found[i].status == CUDNN_STATUS_SUCCESS && found[i].determinism == CUDNN_DETERMINISTIC && fp32 &&
        found[i].memory <= scratch_bytes)
      return found[i].algo;
  }
  throw Error(std::string(what) + ": cuDNN has no deterministic fp32 algorithm for this shape");
}

// Each takes scratch memory of scratch_bytes.
inline void forward(Library& library, const Shape& s, const float* x, const float* w, float* y, void* scratch) {
  Convolution& c = convolution(library, s);
  if (c.forward < 0)
    c.forward = choose_algorithm<cudnnConvolutionFwdAlgoPerf_t>("cudnnGetConvolutionForwardAlgorithm",
                                                                cudnnGetConvolutionForwardAlgorithm_v7, library,
                                                                c.x.value, c.w.value, c.op.value, c.y.value);
  const float one = 1, zero = 0;
  check(
      cudnnConvolutionForward(library.handle, &one, c.x, x, c.w, w, c.op,
                              static_cast<cudnnConvolutionFwdAlgo_t>(c.forward), scratch, scratch_bytes, &zero, c.y, y),
      "cudnnConvolutionForward");
}

inline void backward_data(Library& library, const Shape& s, const float* dy, const float* w, float* dx, void* scratch) {
  Convolution& c = convolution(library, s);
  if (c.backward_data < 0)
    c.backward_data = choose_algorithm<cudnnConvolutionBwdDataAlgoPerf_t>(
        "cudnnGetConvolutionBackwardDataAlgorithm", cudnnGetConvolutionBackwardDataAlgorithm_v7, library, c.w.value,
        c.y.value, c.op.value, c.x.value);
  const float one = 1, zero = 0;
  check(cudnnConvolutionBackwardData(library.handle, &one, c.w, w, c.y, dy, c.op,
                                     static_cast<cudnnConvolutionBwdDataAlgo_t>(c.backward_data), scratch,
                                     scratch_bytes, &zero, c.x, dx),
        "cudnnConvolutionBackwardData");
}

inline void backward_weight(Library& library, const Shape& s, const float* x, const float* dy, float* dw,
                            void* scratch) {
  Convolution& c = convolution(library, s);
  if (c.backward_weight < 0)
    c.backward_weight = choose_algorithm<cudnnConvolutionBwdFilterAlgoPerf_t>(
        "cudnnGetConvolutionBackwardFilterAlgorithm", cudnnGetConvolutionBackwardFilterAlgorithm_v7, library, c.x.value,
        c.y.value, c.op.value, c.w.value);
  const float one = 1, zero = 0;
  check(cudnnConvolutionBackwardFilter(library.handle, &one, c.x, x, c.y, dy, c.op,
                                       static_cast<cudnnConvolutionBwdFilterAlgo_t>(c.backward_weight), scratch,
                                       scratch_bytes, &zero, c.w, dw),
        "cudnnConvolutionBackwardFilter");
}

// The plan for a convolution with bias and ReLU6, where cuDNN has one.
inline const std::optional<graph::Descriptor>& folded_plan(Library& library, const Shape& s) {
  return library.folded.try_emplace(s.key(), s, graph::Target{library.handle}).first->second.plan;
}

// y (N, P, Q, out) = min(max(x * w + bias, 0), 6): one kernel, or three calls where cuDNN has no engine for all of it.
inline void forward_folded(Library& library, const Shape& s, const float* x, const float* w, const float* bias,
                           float* y, void* scratch) {
  if (const auto& plan = folded_plan(library, s)) return graph::run(library.handle, *plan, x, w, bias, y, scratch);
  forward(library, s, x, w, y, scratch);
  Convolution& c = convolution(library, s);
  const float one = 1, zero = 0;
  check(cudnnAddTensor(library.handle, &one, tensor(library, 1, s.out, 1, 1), bias, &one, c.y, y), "cudnnAddTensor");
  check(cudnnActivationForward(library.handle, library.relu6, &one, c.y, y, &zero, c.y, y), "cudnnActivationForward");
}

}  // namespace kernels::KERNEL_TARGET::cudnn
