// The depthwise convolution a vector of channels at a time: of its lines the three that a row of results needs lie in
// the level 1 cache, with a border of zeros so that no loop asks where the image ends. Whoever calls says how a line is
// filled and what becomes of a result, while it is in a register.
//
// A task takes rows of y in bands, and of a band one vector of channels after the other: filters, factors and sums stay
// in registers for a whole band. The band's arrays lie in the level 2 cache meanwhile: while one is computed, the
// next one's are asked for, in memory's order, which memory likes twice as much as the order that they are used in.
#pragma once

#include "kernels/common/simd_norm.h"
#include "kernels/common/simd_stream.h"
#include "kernels/depthwise_conv/depthwise_conv.h"

namespace kernels::cpu::SIMD_LEVEL {

constexpr int64_t line_floats = 1 << 16;  // of all lines of a task
constexpr int64_t band_floats = 1 << 14;  // of x: what a band should have

// How the work is cut: rows of y (batch · P of them), and channels where the rows are too few for many processors.
struct LinePlan {
  DepthwiseConvShape s;
  int64_t rows, rows_per_task, row_tasks, group, groups, tasks, band;  // band: rows of y; group: channels
  explicit LinePlan(const DepthwiseConvShape& shape) : s(shape) {
    rows = static_cast<int64_t>(s.batch) * s.out_height();
    // A task's sums take memory as some pixels do: it has so many that this does not show.
    rows_per_task = larger(ceil_div(16, s.out_width()), ceil_div(rows, 32));
    row_tasks = ceil_div(rows, rows_per_task);
    const int64_t vectors = ceil_div(s.channels, lanes);
    group = larger(smaller(vectors, 4), ceil_div(vectors, ceil_div(32, row_tasks))) * lanes;
    groups = ceil_div(s.channels, group);
    tasks = row_tasks * groups;
    band = larger(1, band_floats / (static_cast<int64_t>(s.stride) * s.width * s.channels));
  }
  int64_t line_size() const { return (s.width + 2) * lanes; }  // floats
  bool fits() const { return 4 * line_size() <= line_floats; }
};

// An image's height and width, known where a task's loops are compiled: so much shorter do they run at such a size that
// it is worth the code. 0: any image.
template <int size>
struct Square {};
constexpr Square<0> any_size;

// `value`, of which the compiler knows nothing more. At a known size it would give the address of each pixel of a row a
// variable of its own, and move them all from row to row: far more than there are registers for.
template <int size>
int64_t opaque(int64_t value) {
  if constexpr (size > 0) __asm__("" : "+r"(value));
  return value;
}

// A band: rows [begin, end) of y, and where the next one begins, be it the next task's; its own begin, if none follows
// or other tasks have other channels of the same rows.
struct Band {
  int64_t begin, end, next;
};

// body(v, c, band) for the bands of a task and its vectors of channels, from c on.
template <class Body>
void each_band(const LinePlan& p, int64_t task, const Body& body) {
  const int64_t first = task / p.groups * p.rows_per_task, last = smaller(p.rows, first + p.rows_per_task);
  const int64_t c = task % p.groups * p.group, count = smaller(p.group, p.s.channels - c);
  for (int64_t begin = first; begin < last; begin += p.band) {
    const int64_t end = smaller(last, begin + p.band);
    const Band band = {begin, end, end < p.rows && p.groups == 1 ? end : begin};
    columns(count, [&](auto v, int64_t i) { body(v, c + i, band); });
  }
}

// The columns of a band share out the next one's elements of an array (lines, width, C) in memory's order, a vector for
// a vector of their own. Where that from c on begins; line: the next band's first, lines: a band's.
inline int64_t ahead(int64_t line, int64_t lines, int64_t width, int64_t C, int64_t c) {
  return (line * C + lines * c) * width;
}
template <class T>
void ask_for(const T* next, int64_t vector) {
  __builtin_prefetch(next + vector * lanes, 0, 3);
}

// Who asks for what is filled from: who fills a line, or who computes from it. Filling goes from load to load, and
// what it asked for in a burst would hold these up where a line is long; where it is short, the addresses would take
// registers from the computation.
enum class Asks { filling, computing };

// Three lines (width + 2, lanes) of an image, the last ones that were filled.
struct LineRing {
  float *lines, *zeros;
  int64_t size;
  int slot = 0;

  LineRing(float* memory, int64_t size) : lines(memory), zeros(memory + 3 * size), size(size) {
    for (int64_t i = 0; i < 4 * size; ++i) memory[i] = 0;
  }
  template <Asks asks, class Source>
  const float* fill(int64_t line, int64_t width, Source& source) {
    float* const to = lines + slot * size;
    slot = slot == 2 ? 0 : slot + 1;
    source.template fill<asks>(line, width, to + lanes);
    if (asks == Asks::filling) source.asked(width);
    return to;
  }
};

// ---- where lines come from: column(v, c, next) is a vector of channels from c on; next: `ahead` of it. fill(line,
// width, to) fills; ask(i) asks for what comes i vectors after next, and asked(count) moves next on.

// As they lie in memory.
template <class T>
struct PlainLines {
  const T* x;  // (·, C)
  int64_t C;
  template <class V>
  struct Column {
    V v;
    const T *x, *next;
    int64_t C;
    template <Asks asks>
    void fill(int64_t line, int64_t width, float* to) {
      const T* from = x + line * width * C;
      for (int64_t j = 0; j < width; ++j, from += C, to += lanes) {
        Vector value;
        v.load(value, from);
        if (asks == Asks::filling) ask(j);
        Wide::store(to, value);
      }
    }
    void ask(int64_t i) const { ask_for(next, i); }
    void asked(int64_t count) { next += count * lanes; }
  };
  template <class V>
  Column<V> column(V v, int64_t c, int64_t next) const {
    return {v, x + c, x + next, C};
  }
};

// The activation behind x.
template <class T>
struct ActivatedLines {
  const T* x;  // (·, C)
  int64_t C;
  FusedNorm norm;
  template <class V>
  struct Column {
    V v;
    const T *x, *next;
    int64_t C;
    Factors<V> factors;
    template <Asks asks>
    void fill(int64_t line, int64_t width, float* to) {
      const T* from = x + line * width * C;
      for (int64_t j = 0; j < width; ++j, from += C, to += lanes) {
        Vector value;
        v.load(value, from);
        if (asks == Asks::filling) ask(j);
        factors.activate(value);
        Wide::store(to, value);
      }
    }
    void ask(int64_t i) const { ask_for(next, i); }
    void asked(int64_t count) { next += count * lanes; }
  };
  template <class V>
  Column<V> column(V v, int64_t c, int64_t next) const {
    return {v, x + c, x + next, C, Factors<V>(v, norm, c)};
  }
};

// dz, from z and its du.
template <class T>
struct GradientLines {
  const T *z, *du;  // (·, C)
  int64_t C;
  FusedNorm norm;
  template <class V>
  struct Column {
    V v;
    const T *z, *du, *next_z, *next_du;
    int64_t C;
    GradientFactors<V> factors;
    template <Asks asks>
    void fill(int64_t line, int64_t width, float* to) {
      const T *from_z = z + line * width * C, *from_du = du + line * width * C;
      for (int64_t j = 0; j < width; ++j, from_z += C, from_du += C, to += lanes) {
        Vector value, gradient;
        v.load(value, from_z);
        v.load(gradient, from_du);
        if (asks == Asks::filling) ask(j);
        factors.pass(value, gradient);
        Wide::store(to, gradient);
      }
    }
    void ask(int64_t i) const {
      ask_for(next_z, i);
      ask_for(next_du, i);
    }
    void asked(int64_t count) {
      next_z += count * lanes;
      next_du += count * lanes;
    }
  };
  template <class V>
  Column<V> column(V v, int64_t c, int64_t next) const {
    return {v, z + c, du + c, z + next, du + next, C, GradientFactors<V>(v, norm, c)};
  }
};

// ---- where results go: column(v, c, …).put(at, y), the pixels from number `at` of the whole array on

template <class V, class T>
void store(V v, T* p, const Vector& value, bool streaming) {
  if (streaming)
    stream(p, value);
  else
    v.store_normal(p, value);
}

// The same, and value becomes what the array keeps of it.
template <class V>
void keep(V v, float* p, Vector& value, bool streaming) {
  store(v, p, value, streaming);
}
inline void keep(Wide, Bf16* p, Vector& value, bool) {
  Half half;
  round_normal(value, half);
  __builtin_memcpy(p, &half, sizeof half);
  widen(value, half);
}
inline void keep(Part v, Bf16* p, Vector& value, bool) {
  as_stored<Bf16>(value);
  v.store(p, value);
}

template <class T>
struct StoreResults {
  T* y;  // (·, C)
  int64_t C;
  bool streaming = false;
  template <class V>
  struct Column {
    V v;
    T* y;
    int64_t C;
    bool streaming;
    template <int count>
    void put(int64_t at, Vector (&value)[count]) {
      for (int k = 0; k < count; ++k) store(v, y + (at + k) * C, value[k], streaming);
    }
    void end_row(int64_t) {}
    void end() {}
  };
  template <class V>
  Column<V> column(V v, int64_t c, bool) const {
    return {v, y + c, C, streaming};
  }
};

inline int64_t width_of(Wide) { return lanes; }
inline int64_t width_of(Part part) { return part.count; }

// Two sums of an epilogue, in double beyond the row that makes 32 pixels.
template <class V>
struct ColumnSums {
  V v;
  double *first, *second;
  Vector a, b;
  int64_t pixels;
  ColumnSums(V v, double* sums, int64_t C) : v(v), first(sums), second(sums + C), a{}, b{}, pixels(0) {}
  void end_row(int64_t count) {
    pixels += count;
    if (pixels >= column_block) end();
  }
  void end() {
    float s[lanes];
    Wide::store(s, a);
    for (int64_t i = 0; i < width_of(v); ++i) first[i] += static_cast<double>(s[i]);
    Wide::store(s, b);
    for (int64_t i = 0; i < width_of(v); ++i) second[i] += static_cast<double>(s[i]);
    a = b = Vector{};
    pixels = 0;
  }
};

// ---- forward

// y[q … q+count-1] = Σ_{r,t} lines[r][q·stride+t] · w[r,t]; lines (width + 2, lanes), weights (9, lanes).
template <int count, int stride>
void convolve_block(const float* const (&lines)[3], const float* weights, int64_t q, Vector (&y)[count]) {
  constexpr int pixels = (count - 1) * stride + 3;
  for (int k = 0; k < count; ++k) y[k] = Vector{};
#pragma GCC unroll 3
  for (int r = 0; r < 3; ++r) {
    Vector x[pixels], w[3];
    for (int j = 0; j < pixels; ++j) Wide::load(x[j], lines[r] + (q * stride + j) * lanes);
    for (int t = 0; t < 3; ++t) Wide::load(w[t], weights + (3 * r + t) * lanes);
    for (int t = 0; t < 3; ++t)
      for (int k = 0; k < count; ++k) y[k] += x[k * stride + t] * w[t];
  }
}

template <int count, int stride, class Column>
void convolve_blocks(const float* const (&lines)[3], const float* weights, int64_t& q, int64_t Q, int64_t at,
                     Column& results) {
  for (; q + count <= Q; q += count) {
    Vector y[count];
    convolve_block<count, stride>(lines, weights, q, y);
    results.put(at + q, y);
  }
}

template <class V>
void load_weights(V v, const float* w, int64_t C, float* to) {
  for (int k = 0; k < 9; ++k) {
    Vector value;
    v.load(value, w + k * C);
    Wide::store(to + k * lanes, value);
  }
}

template <int stride, int size, class Source, class Results>
void depthwise_forward_task(Square<size>, const LinePlan& p, int64_t task, const float* w, const Source& source,
                            const Results& results) {
  alignas(64) float memory[line_floats], weights[9 * lanes];
  const int64_t C = p.s.channels, H = size > 0 ? size : p.s.height, W = size > 0 ? size : p.s.width;
  const int64_t P = ceil_div(H, stride), Q = ceil_div(W, stride);
  LineRing ring(memory, p.line_size());
  each_band(p, task, [&](auto v, int64_t c, Band band) {
    load_weights(v, w + c, C, weights);
    const int64_t next = band.next / P * H + band.next % P * stride;
    auto from = source.column(v, c, ahead(next, (band.end - band.begin) * stride, W, C, c));
    auto to = results.column(v, c, band.begin == task / p.groups * p.rows_per_task);
    const auto fill = [&](int64_t line) { return ring.fill<Asks::filling>(opaque<size>(line), W, from); };
    const float* lines[3] = {};
    for (int64_t row = band.begin, n = row / P, i = row % P; row < band.end; ++row) {
      const int64_t line = n * H + i * stride;  // the middle one of the three
      const bool fresh = row == band.begin || i == 0;
      if constexpr (stride == 1) {
        lines[0] = i == 0 ? ring.zeros : fresh ? fill(line - 1) : lines[1];
        lines[1] = fresh ? fill(line) : lines[2];
      } else {
        lines[0] = i == 0 ? ring.zeros : fresh ? fill(line - 1) : lines[2];
        lines[1] = fill(line);
      }
      lines[2] = i * stride + 1 < H ? fill(line + 1) : ring.zeros;
      const int64_t at = opaque<size>(row * Q);
      int64_t q = 0;
      convolve_blocks<4, stride>(lines, weights, q, Q, at, to);
      convolve_blocks<2, stride>(lines, weights, q, Q, at, to);
      convolve_blocks<1, stride>(lines, weights, q, Q, at, to);
      to.end_row(Q);
      if (++i == P) i = 0, ++n;
    }
    to.end();
  });
}

// ---- backward: dx and dw from the same registers. At a pixel of x both need the same elements of dy.
//
// What lies below, `below.column(v, c, next)`: load(at, a) gives the activation a of pixel `at` of x, for dw;
// put(at, a, da) gets its gradient; ask(i) and asked(count): as where lines come from.

// Stride 1: the pixels j … j+count-1 of a row of x; lines: the rows i-1, i, i+1 of dy. dw[2-r,2-t] += a · dy.
template <int count, bool data, bool weight, Asks asks, class Source, class Below>
void backward_block(const float* const (&lines)[3], const float* weights, Vector (&dw)[9], int64_t j, int64_t at,
                    const Source& source, Below& below) {
  Vector a[count] = {}, da[count] = {};
  for (int k = 0; k < count; ++k) {
    if (asks == Asks::computing) source.ask(j + k);
    if (weight) below.ask(j + k);
    if (weight) below.load(at + k, a[k]);
  }
#pragma GCC unroll 3
  for (int r = 0; r < 3; ++r) {
    Vector dy[count + 2];
    for (int k = 0; k < count + 2; ++k) Wide::load(dy[k], lines[r] + (j + k) * lanes);
    for (int t = 0; t < 3; ++t) {
      const int tap = 8 - (3 * r + t);
      if (data) {
        Vector w;
        Wide::load(w, weights + tap * lanes);
        for (int k = 0; k < count; ++k) da[k] += dy[k + t] * w;
      }
      if (weight)
        for (int k = 0; k < count; ++k) dw[tap] += a[k] * dy[k + t];
    }
  }
  if (data)
    for (int k = 0; k < count; ++k) below.put(at + k, a[k], da[k]);
}

// Stride 2: the two by two pixels of x from number `at` on, of which there may be no right or no lower ones; lines: the
// rows p and p+1 of dy. No product is with a zero between dy's pixels.
template <bool right, bool lower, bool data, bool weight, Asks asks, class Source, class Below>
void backward_quad(const float* const (&lines)[2], const float* weights, Vector (&dw)[9], int64_t q, int64_t at,
                   int64_t width, const Source& source, Below& below) {
  if (asks == Asks::computing) source.ask(q);
  if (weight)
    for (int k = 0; k < 4; ++k) below.ask(4 * q + k);
  Vector dy[2][2];
  for (int r = 0; r < 2; ++r)
    for (int t = 0; t < 2; ++t) Wide::load(dy[r][t], lines[r] + (q + 1 + t) * lanes);
#pragma GCC unroll 2
  for (int i = 0; i <= lower; ++i)
#pragma GCC unroll 2
    for (int j = 0; j <= right; ++j) {
      Vector a = {}, da = {};
      if (weight) below.load(at + i * width + j, a);
#pragma GCC unroll 2
      for (int r = 0; r <= i; ++r)
#pragma GCC unroll 2
        for (int t = 0; t <= j; ++t) {
          const int tap = 3 * (1 + i - 2 * r) + 1 + j - 2 * t;
          if (data) {
            Vector w;
            Wide::load(w, weights + tap * lanes);
            da += dy[r][t] * w;
          }
          if (weight) dw[tap] += a * dy[r][t];
        }
      if (data) below.put(at + i * width + j, a, da);
    }
}

template <int count, bool data, bool weight, Asks asks, class Source, class Below>
void backward_blocks(const float* const (&lines)[3], const float* weights, Vector (&dw)[9], int64_t& j, int64_t W,
                     int64_t at, const Source& source, Below& below) {
  for (; j + count <= W; j += count)
    backward_block<count, data, weight, asks>(lines, weights, dw, j, at + j, source, below);
}

template <bool lower, bool data, bool weight, Asks asks, class Source, class Below>
void backward_quads(const float* const (&lines)[2], const float* weights, Vector (&dw)[9], int64_t W, int64_t at,
                    const Source& source, Below& below) {
  int64_t q = 0;
  for (; 2 * q + 2 <= W; ++q)
    backward_quad<true, lower, data, weight, asks>(lines, weights, dw, q, at + 2 * q, W, source, below);
  if (2 * q < W) backward_quad<false, lower, data, weight, asks>(lines, weights, dw, q, at + 2 * q, W, source, below);
}

// Backward of the rows of y of a task, and of the rows p·stride … p·stride + stride - 1 of x. dw (9, C) becomes the
// task's part of the sum.
template <int stride, bool data, bool weight, int size, class Source, class Below>
void depthwise_backward_task(Square<size>, const LinePlan& p, int64_t task, const float* w, float* part,
                             const Source& source, const Below& below) {
  alignas(64) float memory[line_floats], weights[9 * lanes];
  const int64_t C = p.s.channels, H = size > 0 ? size : p.s.height, W = size > 0 ? size : p.s.width;
  const int64_t P = ceil_div(H, stride), Q = ceil_div(W, stride);
  constexpr Asks asks = size > 0 ? Asks::filling : Asks::computing;
  LineRing ring(memory, p.line_size());
  each_band(p, task, [&](auto v, int64_t c, Band band) {
    if (data) load_weights(v, w + c, C, weights);
    const int64_t rows = band.end - band.begin, next = band.next / P * H + band.next % P * stride;
    auto from = source.column(v, c, ahead(band.next, rows, Q, C, c));
    auto to = below.column(v, c, ahead(next, rows * stride, W, C, c));
    Vector dw[9] = {};
    const auto fill = [&](int64_t line) { return ring.fill<asks>(opaque<size>(line), Q, from); };
    const float* lines[4 - stride] = {};
    for (int64_t row = band.begin, n = row / P, i = row % P; row < band.end; ++row) {
      const int64_t at = opaque<size>((n * H + i * stride) * W);
      const bool fresh = row == band.begin || i == 0;
      if constexpr (stride == 1) {
        lines[0] = i == 0 ? ring.zeros : fresh ? fill(row - 1) : lines[1];
        lines[1] = fresh ? fill(row) : lines[2];
        lines[2] = i + 1 < P ? fill(row + 1) : ring.zeros;
        int64_t j = 0;
        backward_blocks<4, data, weight, asks>(lines, weights, dw, j, W, at, from, to);
        backward_blocks<2, data, weight, asks>(lines, weights, dw, j, W, at, from, to);
        backward_blocks<1, data, weight, asks>(lines, weights, dw, j, W, at, from, to);
        to.end_row(W);
        to.asked(W);
      } else {
        lines[0] = fresh ? fill(row) : lines[1];
        lines[1] = i + 1 < P ? fill(row + 1) : ring.zeros;
        if (2 * i + 1 < H)
          backward_quads<true, data, weight, asks>(lines, weights, dw, W, at, from, to);
        else
          backward_quads<false, data, weight, asks>(lines, weights, dw, W, at, from, to);
        to.end_row(2 * W);
        to.asked(2 * W);
      }
      if (asks == Asks::computing) from.asked(Q);
      if (++i == P) i = 0, ++n;
    }
    to.end();
    if (weight)
      for (int k = 0; k < 9; ++k) {
        Vector sum = {};
        if (band.begin > task / p.groups * p.rows_per_task) v.load(sum, part + k * C + c);
        sum += dw[k];
        v.store(part + k * C + c, sum);
      }
  });
}

}  // namespace kernels::cpu::SIMD_LEVEL
