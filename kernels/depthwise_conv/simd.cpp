// Lines of the image in the cache, a vector of channels at a time: simd_lines.h. The fused passes rebuild a and dz as
// they fill a line, and sum over results while these are in registers.
#include "kernels/depthwise_conv/simd_lines.h"

namespace kernels::cpu::SIMD_LEVEL {
namespace {

// With the bias and ReLU6 of inference.
template <class T>
struct FoldResults : StoreResults<T> {
  const float* bias;
  template <class V>
  struct Column : StoreResults<T>::template Column<V> {
    Fold fold;
    template <int count>
    void put(int64_t at, Vector (&value)[count]) {
      for (int k = 0; k < count; ++k) fold(value[k], 0);
      StoreResults<T>::template Column<V>::put(at, value);
    }
  };
  template <class V>
  Column<V> column(V v, int64_t c, bool first) const {
    return {StoreResults<T>::column(v, c, first), Fold(bias + c, width_of(v))};
  }
};

// Stores z and sums its differences from the task's first pixel, and their squares.
template <class T>
struct StatisticsOfResults : StoreResults<T> {
  int64_t first;  // pixel
  double* sums;   // (2, C)
  template <class V>
  struct Column : StoreResults<T>::template Column<V> {
    bool none;  // no pixel yet
    Vector start;
    ColumnSums<V> sums;
    template <int count>
    void put(int64_t at, Vector (&value)[count]) {
      for (int k = 0; k < count; ++k) keep(this->v, this->y + (at + k) * this->C, value[k], this->streaming);
      if (none) start = value[0], none = false;
      Vector first = {}, second = {};
      for (int k = 0; k < count; ++k) {
        const Vector d = value[k] - start;
        first += d;
        second += d * d;
      }
      sums.a += first;  // once: each addition waits for the one before
      sums.b += second;
    }
    void end_row(int64_t pixels) { sums.end_row(pixels); }
    void end() { sums.end(); }
  };
  template <class V>
  Column<V> column(V v, int64_t c, bool at_first) const {
    Column<V> result = {StoreResults<T>::column(v, c, at_first), at_first, {}, {v, sums + c, this->C}};
    if (!at_first) v.load(result.start, this->y + first * this->C + c);
    return result;
  }
};

// Plain passes: x and dx as they are.
template <class T>
struct PlainBelow {
  const T* x;  // (·, C), or null
  T* dx;       // (·, C), or null
  int64_t C;
  template <class V>
  struct Column {
    V v;
    const T* x;
    const T* next;
    T* dx;
    int64_t C;
    void load(int64_t at, Vector& a) { v.load(a, x + at * C); }
    void ask(int64_t i) const { ask_for(next, i); }
    void asked(int64_t count) { next += count * lanes; }
    void put(int64_t at, const Vector&, const Vector& da) const { v.store(dx + at * C, da); }
    void end_row(int64_t) {}
    void end() {}
  };
  template <class V>
  Column<V> column(V v, int64_t c, int64_t next) const {
    return {v, x + c, x + next, dx + c, C};
  }
};

// Fused: the activation behind x; da is masked, stored as du, and summed up for the norm's gradients.
template <class T>
struct FusedBelow {
  const T* x;  // (·, C)
  T* du;       // (·, C)
  int64_t C;
  bool streaming;  // du
  FusedNorm norm;
  double* sums;  // (2, C)
  template <class V>
  struct Column {
    V v;
    const T* x;
    const T* next;
    T* du;
    int64_t C;
    bool streaming;
    Factors<V> factors;
    ColumnSums<V> sums;
    void load(int64_t at, Vector& a) {
      v.load(a, x + at * C);
      factors.activate(a);
    }
    void ask(int64_t i) const { ask_for(next, i); }
    void asked(int64_t count) { next += count * lanes; }
    void put(int64_t at, const Vector& a, Vector g) {
      const Vector zero = {}, six = zero + 6;
      g = a > zero ? g : zero;  // a lies strictly within ReLU6's corners where u does
      g = a < six ? g : zero;
      keep(v, du + at * C, g, streaming);
      Vector z;
      v.load(z, x + at * C);
      sums.a += g;
      sums.b += g * (z - factors.mean);
    }
    void end_row(int64_t pixels) { sums.end_row(pixels); }
    void end() { sums.end(); }
  };
  template <class V>
  Column<V> column(V v, int64_t c, int64_t next) const {
    return {v, x + c, x + next, du + c, C, streaming, Factors<V>(v, norm, c), {v, sums + c, C}};
  }
};

// body(size) with what is known of the image's size: the squares that most of MobileNet's layers have at 32x32, whose
// loops then have known lengths. The passes of training and inference ask for it; it would make the others larger only.
template <class Body>
void with_size(const DepthwiseConvShape& s, const Body& body) {
  if (s.height == 2 && s.width == 2) return body(Square<2>());
  if (s.height == 4 && s.width == 4) return body(Square<4>());
  if (s.height == 8 && s.width == 8) return body(Square<8>());
  body(any_size);
}

template <class Size, class Source, class Results>
void forward_task(Size size, const LinePlan& p, int64_t task, const float* w, const Source& source,
                  const Results& results) {
  if (p.s.stride == 1)
    depthwise_forward_task<1>(size, p, task, w, source, results);
  else
    depthwise_forward_task<2>(size, p, task, w, source, results);
}

template <bool data, bool weight, class Size, class Source, class Below>
void backward_task(Size size, const LinePlan& p, int64_t task, const float* w, float* part, const Source& source,
                   const Below& below) {
  if (p.s.stride == 1)
    depthwise_backward_task<1, data, weight>(size, p, task, w, part, source, below);
  else
    depthwise_backward_task<2, data, weight>(size, p, task, w, part, source, below);
}

template <class T>
void forward(Context& context, const DepthwiseConvShape& s, const T* x, const float* w, T* y) {
  const LinePlan p(s);
  parallel_for(context, p.tasks, [=](int64_t task) {
    forward_task(any_size, p, task, w, PlainLines<T>{x, s.channels}, StoreResults<T>{y, s.channels});
  });
}

template <class T>
void forward_folded(Context& context, const DepthwiseConvShape& s, const T* x, const float* w, const float* bias,
                    T* y) {
  const LinePlan p(s);
  with_size(s, [&](auto size) {
    parallel_for(context, p.tasks, [=](int64_t task) {
      forward_task(size, p, task, w, PlainLines<T>{x, s.channels}, FoldResults<T>{{y, s.channels}, bias});
    });
  });
}

// In the workspace: two sums a task and channel, then the tasks' parts of dw.
size_t partial_floats(const LinePlan& p) { return 4 * static_cast<size_t>(p.row_tasks) * p.s.channels; }
size_t workspace(const DepthwiseConvShape& s) {
  const LinePlan p(s);
  return sizeof(float) * (partial_floats(p) + 9 * static_cast<size_t>(p.row_tasks) * s.channels);
}

// A task's sums (2, C) of all; it sets its channels' to zero.
double* task_sums(const LinePlan& p, int64_t task, double* partials) {
  double* const sums = partials + task / p.groups * 2 * p.s.channels;
  const int64_t c = task % p.groups * p.group, count = smaller(p.group, p.s.channels - c);
  set_zero(sums + c, count);
  set_zero(sums + p.s.channels + c, count);
  return sums;
}

template <class T>
void backward_data(Context& context, const DepthwiseConvShape& s, const T* dy, const float* w, T* dx) {
  const LinePlan p(s);
  parallel_for(context, p.tasks, [=](int64_t task) {
    backward_task<true, false>(any_size, p, task, w, nullptr, PlainLines<T>{dy, s.channels},
                               PlainBelow<T>{dx, dx, s.channels});
  });
}

template <class T>
void backward_weight(Context& context, const DepthwiseConvShape& s, const T* x, const T* dy, float* dw) {
  const LinePlan p(s);
  auto* const parts = static_cast<float*>(context.workspace);
  parallel_for(context, p.tasks, [=](int64_t task) {
    backward_task<false, true>(any_size, p, task, nullptr, parts + task / p.groups * 9 * s.channels,
                               PlainLines<T>{dy, s.channels}, PlainBelow<T>{x, nullptr, s.channels});
  });
  add_parts(context, p.row_tasks, 9 * int64_t{s.channels}, parts, dw);
}

template <class T>
void forward_fused(Context& context, const DepthwiseConvShape& s, const T* x, const FusedNorm& norm_x, const float* w,
                   T* z, const FusedNorm& norm_z) {
  const LinePlan p(s);
  const int64_t C = s.channels, Q = s.out_width(), chunk = p.rows_per_task * Q;
  if (p.rows * Q < 2) fail(one_value);
  const bool streaming = streams(z, p.rows * Q * C, C);
  auto* const partials = static_cast<double*>(context.workspace);
  with_size(s, [&](auto size) {
    parallel_for(context, p.tasks, [=](int64_t task) {
      forward_task(size, p, task, w, ActivatedLines<T>{x, C, norm_x},
                   StatisticsOfResults<T>{{z, C, streaming}, task / p.groups * chunk, task_sums(p, task, partials)});
      end_stream();
    });
  });
  finish_statistics(context, {p.rows * Q, chunk}, C, z, partials, norm_z);
}

template <class T>
void backward_fused(Context& context, const DepthwiseConvShape& s, const T* x, const FusedNorm& norm_x, const float* w,
                    const T* z, const FusedNorm& norm_z, const T* du_z, T* du_x, float* dw) {
  const LinePlan p(s);
  const int64_t C = s.channels, pixels = static_cast<int64_t>(s.batch) * s.height * s.width;
  const bool streaming = streams(du_x, pixels * C, C);
  auto* const partials = static_cast<double*>(context.workspace);
  float* const parts = static_cast<float*>(context.workspace) + partial_floats(p);
  with_size(s, [&](auto size) {
    parallel_for(context, p.tasks, [=](int64_t task) {
      backward_task<true, true>(size, p, task, w, parts + task / p.groups * 9 * C, GradientLines<T>{z, du_z, C, norm_z},
                                FusedBelow<T>{x, du_x, C, streaming, norm_x, task_sums(p, task, partials)});
      end_stream();
    });
  });
  finish_gradients(context, pixels, p.row_tasks, C, partials, norm_x);
  add_parts(context, p.row_tasks, 9 * C, parts, dw);
}

template <class T>
constexpr DepthwiseConvOf<T> row = {
    .name = "simd",
    .idea = "lines of the image in the cache, a vector of channels at a time",
    .provider = Provider::vendor,
    .supports = [](const DepthwiseConvShape& s) { return LinePlan(s).fits(); },
    .workspace = workspace,
    .forward = forward,
    .backward_data = backward_data,
    .backward_weight = backward_weight,
    .forward_fused = forward_fused,
    .backward_fused = backward_fused,
    .forward_folded = forward_folded,
};

}  // namespace

template <>
const DepthwiseConv& simd_row<DepthwiseConv>() {
  return row<float>;
}
template <>
const DepthwiseConvOf<Bf16>& simd_row<DepthwiseConvOf<Bf16>>() {
  return row<Bf16>;
}

}  // namespace kernels::cpu::SIMD_LEVEL
