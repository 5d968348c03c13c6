// oneDNN, version 2 or 3, for the rows of that name: convolutions and products whose activations stay NHWC, in place.
// What was made for a shape is kept in Context::onednn.
#pragma once

#include <deque>
#include <functional>
#include <initializer_list>
#include <map>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernels/common/launch.h"

extern "C" void omp_set_num_threads(int);  // <omp.h>, which clang has in a package of its own

namespace kernels::KERNEL_TARGET::onednn {

using dnnl::memory;
using Layout = memory::format_tag;

// `folded` is forward with a bias and ReLU6.
enum Direction { forward, folded, backward_data, backward_weight };

// Primitives that run one after the other, and the arrays of the caller that they read and write.
struct Pass {
  struct Step {
    dnnl::primitive primitive;
    std::unordered_map<int, memory> arguments;
  };
  std::vector<Step> steps;
  std::vector<memory> arrays;  // bound to the caller's pointers at each run
};

// What Context::onednn points to.
struct Library {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  std::map<std::pair<std::string, std::vector<int64_t>>, Pass> passes;  // of an operation: direction, shape, threads
  std::deque<std::function<void()>> captured;                           // runs that a graph replays
};

inline Library& library(Context& context) {
  if (context.onednn == nullptr) context.onednn = std::make_shared<Library>();
  return *static_cast<Library*>(context.onednn.get());
}

// oneDNN's threads are OpenMP's: from here on as many as our own kernels have, for what this thread makes and runs.
inline int take_threads() {
  int threads = 0;
  check(cudaDeviceGetAttribute(&threads, cudaDevAttrMultiProcessorCount, 0), "cudaDeviceGetAttribute", __FILE__,
        __LINE__);
  omp_set_num_threads(threads);
  return threads;
}

inline void execute(Library& library, Pass& pass, const std::vector<void*>& pointers) {
  take_threads();
  for (size_t i = 0; i < pointers.size(); ++i) pass.arrays[i].set_data_handle(pointers[i]);
  for (const Pass::Step& step : pass.steps) step.primitive.execute(library.stream, step.arguments);
  library.stream.wait();
}

// Runs the pass of this operation, direction and shape, which make(library) builds the first time, on these arrays.
template <class Make>
void run(Context& context, const char* operation, std::vector<int64_t> direction_and_shape, Make make,
         std::initializer_list<const void*> arrays) {
  try {
    Library& library = onednn::library(context);
    direction_and_shape.push_back(take_threads());  // what oneDNN makes is for so many
    const auto key = std::make_pair(std::string(operation), std::move(direction_and_shape));
    auto found = library.passes.find(key);
    if (found == library.passes.end()) found = library.passes.emplace(key, make(library)).first;
    Pass& pass = found->second;
    std::vector<void*> pointers;  // oneDNN has no word for memory that is only read
    for (const void* array : arrays) pointers.push_back(const_cast<void*>(array));

    const auto stream = static_cast<cudaStream_t>(context.stream);
    cudaStreamCaptureStatus status;
    check(cudaStreamIsCapturing(stream, &status), "cudaStreamIsCapturing", __FILE__, __LINE__);
    if (status == cudaStreamCaptureStatusNone) {
      execute(library, pass, pointers);  // streams of the CPU run what they are given at once
    } else {
      library.captured.push_back([&library, &pass, pointers] { execute(library, pass, pointers); });
      const auto call = [](void* function) { (*static_cast<std::function<void()>*>(function))(); };
      check(cudaLaunchHostFunc(stream, call, &library.captured.back()), "cudaLaunchHostFunc", __FILE__, __LINE__);
    }
    ++context.launches;
  } catch (const dnnl::error& error) {
    throw Error(std::string("oneDNN: ") + error.what() + " (status " + std::to_string(error.status) + ")");
  }
}

// The primitive descriptor of P::primitive_desc: version 3 has no operation descriptors any more.
template <class P, class... A>
typename P::primitive_desc describe(const Library& library, const A&... arguments) {
#if DNNL_VERSION_MAJOR >= 3
  return {library.engine, arguments...};
#else
  return {typename P::desc(arguments...), library.engine};
#endif
}
template <class P, class Hint, class... A>
typename P::primitive_desc describe_backward(const Library& library, const Hint& forward, const A&... arguments) {
#if DNNL_VERSION_MAJOR >= 3
  return {library.engine, arguments..., forward};
#else
  return {typename P::desc(arguments...), library.engine, forward};
#endif
}

// The same with ReLU6 at the end.
template <class P, class... A>
typename P::primitive_desc describe_with_relu6(const Library& library, const A&... arguments) {
  dnnl::post_ops relu6;
  dnnl::primitive_attr attributes;
#if DNNL_VERSION_MAJOR >= 3
  relu6.append_eltwise(dnnl::algorithm::eltwise_clip, 0, 6);
  attributes.set_post_ops(relu6);
  return {library.engine, arguments..., attributes};
#else
  relu6.append_eltwise(1, dnnl::algorithm::eltwise_clip, 0, 6);
  attributes.set_post_ops(relu6);
  return {typename P::desc(arguments...), attributes, library.engine};
#endif
}

constexpr auto f32 = memory::data_type::f32, bf16 = memory::data_type::bf16;

// A 3×3 convolution, padding 1, with x (N, H, W, in) and y (N, P, Q, out). `filters` is their layout in the caller's
// array: Layout::ohwi, or Layout::hwigo with groups. Arrays: {x, w, y} or {x, w, b, y}, {dy, w, dx}, {x, dy, dw}.
// oneDNN lays filters out as it likes: they are copied there and back, which is nothing beside an activation.
inline Pass convolution(const Library& library, Direction direction, int64_t batch, int64_t height, int64_t width,
                        int64_t in, int64_t out, int64_t groups, int64_t stride, Layout filters) {
  const memory::dims dims =
      filters == Layout::ohwi ? memory::dims{out, in, 3, 3} : memory::dims{groups, out / groups, in / groups, 3, 3};
  const memory::desc x({batch, in, height, width}, f32, Layout::nhwc);
  const memory::desc y({batch, out, (height - 1) / stride + 1, (width - 1) / stride + 1}, f32, Layout::nhwc);
  const memory::desc ours(dims, f32, filters), any(dims, f32, Layout::any);
  const memory::dims strides = {stride, stride}, padding = {1, 1};
  const auto direct = dnnl::algorithm::convolution_direct;
  const auto array = [&](const memory::desc& desc) { return memory(desc, library.engine, nullptr); };

  if (direction == folded) {
    const memory::desc b({out}, f32, Layout::a);
    const auto desc = describe_with_relu6<dnnl::convolution_forward>(library, dnnl::prop_kind::forward_inference,
                                                                     direct, x, any, b, y, strides, padding, padding);
    const memory mx = array(x), mw = array(ours), mb = array(b), my = array(y);
    const memory theirs(desc.weights_desc(), library.engine);
    return {{{dnnl::reorder(mw, theirs), {{DNNL_ARG_FROM, mw}, {DNNL_ARG_TO, theirs}}},
             {dnnl::convolution_forward(desc),
              {{DNNL_ARG_SRC, mx}, {DNNL_ARG_WEIGHTS, theirs}, {DNNL_ARG_BIAS, mb}, {DNNL_ARG_DST, my}}}},
            {mx, mw, mb, my}};
  }
  const auto hint = describe<dnnl::convolution_forward>(library, dnnl::prop_kind::forward_training, direct, x, any, y,
                                                        strides, padding, padding);
  if (direction == backward_weight) {
    const auto desc = describe_backward<dnnl::convolution_backward_weights>(library, hint, direct, x, any, y, strides,
                                                                            padding, padding);
    const memory mx = array(x), mdy = array(y), mdw = array(ours), theirs(desc.diff_weights_desc(), library.engine);
    return {{{dnnl::convolution_backward_weights(desc),
              {{DNNL_ARG_SRC, mx}, {DNNL_ARG_DIFF_DST, mdy}, {DNNL_ARG_DIFF_WEIGHTS, theirs}}},
             {dnnl::reorder(theirs, mdw), {{DNNL_ARG_FROM, theirs}, {DNNL_ARG_TO, mdw}}}},
            {mx, mdy, mdw}};
  }
  const memory mw = array(ours);
  if (direction == backward_data) {
    const auto desc =
        describe_backward<dnnl::convolution_backward_data>(library, hint, direct, x, any, y, strides, padding, padding);
    const memory mdx = array(x), mdy = array(y), theirs(desc.weights_desc(), library.engine);
    return {{{dnnl::reorder(mw, theirs), {{DNNL_ARG_FROM, mw}, {DNNL_ARG_TO, theirs}}},
             {dnnl::convolution_backward_data(desc),
              {{DNNL_ARG_DIFF_DST, mdy}, {DNNL_ARG_WEIGHTS, theirs}, {DNNL_ARG_DIFF_SRC, mdx}}}},
            {mdy, mw, mdx}};
  }
  const memory mx = array(x), my = array(y), theirs(hint.weights_desc(), library.engine);
  return {{{dnnl::reorder(mw, theirs), {{DNNL_ARG_FROM, mw}, {DNNL_ARG_TO, theirs}}},
           {dnnl::convolution_forward(hint), {{DNNL_ARG_SRC, mx}, {DNNL_ARG_WEIGHTS, theirs}, {DNNL_ARG_DST, my}}}},
          {mx, mw, my}};
}

// y (rows, out) = x (rows, in) · wᵀ, w (out, in), and with `bias` + b (out). Arrays: {x, w, y} or {x, w, b, y},
// {dy, w, dx}, {x, dy, dw} or {x, dy, dw, db}. type: of x and y; the other arrays are float, so for bf16 w is copied as
// oneDNN likes it.
inline Pass product(const Library& library, Direction direction, int64_t rows, int64_t in, int64_t out, bool bias,
                    memory::data_type type = f32) {
  const memory::desc x({rows, in}, type, Layout::nc), y({rows, out}, type, Layout::nc),
      ours({out, in}, f32, Layout::oi);
  const memory::desc w = type == f32 ? ours : memory::desc({out, in}, type, Layout::any);
  const memory::desc b({out}, f32, Layout::a);
  const auto array = [&](const memory::desc& desc) { return memory(desc, library.engine, nullptr); };
  const memory mx = array(x), mw = array(ours), my = array(y), mb = array(b);  // or their gradients
  Pass pass;
  // The filters that a primitive reads: ours, or a copy that its first step makes.
  const auto filters = [&](const memory::desc& desc) {
    if (type == f32) return mw;
    const memory theirs(desc, library.engine);
    pass.steps.push_back({dnnl::reorder(mw, theirs), {{DNNL_ARG_FROM, mw}, {DNNL_ARG_TO, theirs}}});
    return theirs;
  };

  if (direction == folded) {
    const auto desc =
        describe_with_relu6<dnnl::inner_product_forward>(library, dnnl::prop_kind::forward_inference, x, w, b, y);
    const memory theirs = filters(desc.weights_desc());
    pass.steps.push_back({dnnl::inner_product_forward(desc),
                          {{DNNL_ARG_SRC, mx}, {DNNL_ARG_WEIGHTS, theirs}, {DNNL_ARG_BIAS, mb}, {DNNL_ARG_DST, my}}});
    pass.arrays = {mx, mw, mb, my};
    return pass;
  }
  const auto training = dnnl::prop_kind::forward_training;
  const auto hint = bias ? describe<dnnl::inner_product_forward>(library, training, x, w, b, y)
                         : describe<dnnl::inner_product_forward>(library, training, x, w, y);
  if (direction == forward) {
    const memory theirs = filters(hint.weights_desc());
    pass.steps.push_back(
        {dnnl::inner_product_forward(hint), {{DNNL_ARG_SRC, mx}, {DNNL_ARG_WEIGHTS, theirs}, {DNNL_ARG_DST, my}}});
    pass.arrays = {mx, mw, my};
    if (bias) pass.steps.back().arguments[DNNL_ARG_BIAS] = mb, pass.arrays = {mx, mw, mb, my};
  } else if (direction == backward_data) {
    const auto desc = describe_backward<dnnl::inner_product_backward_data>(library, hint, x, w, y);
    const memory theirs = filters(desc.weights_desc());
    pass.steps.push_back({dnnl::inner_product_backward_data(desc),
                          {{DNNL_ARG_DIFF_DST, my}, {DNNL_ARG_WEIGHTS, theirs}, {DNNL_ARG_DIFF_SRC, mx}}});
    pass.arrays = {my, mw, mx};
  } else {
    const auto desc = bias ? describe_backward<dnnl::inner_product_backward_weights>(library, hint, x, ours, b, y)
                           : describe_backward<dnnl::inner_product_backward_weights>(library, hint, x, ours, y);
    pass.steps.push_back({dnnl::inner_product_backward_weights(desc),
                          {{DNNL_ARG_SRC, mx}, {DNNL_ARG_DIFF_DST, my}, {DNNL_ARG_DIFF_WEIGHTS, mw}}});
    pass.arrays = {mx, my, mw};
    if (bias) pass.steps.back().arguments[DNNL_ARG_DIFF_BIAS] = mb, pass.arrays.push_back(mb);
  }
  return pass;
}

// Whether this oneDNN computes products of bfloat16 on this processor: version 2 does from AVX-512 on.
inline bool has_bf16() {
  static const bool has = [] {
    try {
      product(Library(), forward, 16, 16, 16, false, bf16);
      return true;
    } catch (const dnnl::error&) {
      return false;
    }
  }();
  return has;
}

}  // namespace kernels::KERNEL_TARGET::onednn
