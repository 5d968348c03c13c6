// The depthwise convolution on lines that lie in the cache: a task takes rows of y, holds the three lines of x (and of
// dy) that a row needs, with a border of zeros so that no loop asks where the image ends, and reads every line from
// memory once. Whoever calls says how a line is filled and what becomes of a result, while it is in a register.
#pragma once

#include "kernels/common/simd.h"
#include "kernels/depthwise_conv/depthwise_conv.h"

namespace kernels::cpu::SIMD_LEVEL {

constexpr int64_t line_floats = 1 << 16;       // of all lines of a task
constexpr int64_t line_floats_fast = 1 << 15;  // what we would rather not exceed: part of the level 2 cache

// How the work is cut: rows of y (batch · P of them) into tasks, channels into blocks of whole vectors. Neighbouring
// pixels of a line lie `pixel` floats apart, an odd number of vectors: at a power of two they would fall into the same
// few sets of the cache.
struct LinePlan {
  DepthwiseConvShape s;
  int64_t rows, rows_per_task, tasks, block, pixel;
  explicit LinePlan(const DepthwiseConvShape& shape) : s(shape) {
    rows = static_cast<int64_t>(s.batch) * s.out_height();
    // A task's sums take memory as some pixels do: it has so many that this does not show.
    rows_per_task = larger(ceil_div(32, s.out_width()), ceil_div(rows, 64));
    tasks = ceil_div(rows, rows_per_task);
    const int64_t vectors = ceil_div(s.channels, lanes), most = larger(1, line_floats_fast / (pixels() * lanes));
    const int64_t in_block = ceil_div(vectors, ceil_div(vectors, most));  // blocks of equal size
    block = in_block * lanes;
    pixel = (in_block | 1) * lanes;
  }
  // Lines: three of x, three of dy, one of zeros; 9 weights and 9 sums, 2 sums of an epilogue.
  int64_t pixels() const { return 7 * (s.width + 2) + 20; }
  bool fits() const { return pixels() * pixel <= line_floats; }
};

// Three lines (width + 2, pixel) of an image, of which two neighbours stay when the next one is needed.
struct LineRing {
  float* lines;
  const float* zeros;
  int64_t size, pixel;  // floats of a line, and of a pixel
  int64_t held[3];      // which lines these are; -1: none yet

  // Line i of image n, where there is one (fill(to) makes it, if it is not here), else zeros. `to`: pixel 0.
  template <class Fill>
  const float* line(int64_t n, int64_t i, int64_t height, const Fill& fill) {
    if (i < 0 || i >= height) return zeros;
    const int64_t slot = i % 3, name = n * height + i;
    if (held[slot] != name) {
      fill(lines + slot * size + pixel);
      held[slot] = name;
    }
    return lines + slot * size;
  }
};

// The channels [first, first + count) of a block.
struct LineBlock {
  int64_t first, count, pixel;  // pixel: floats from one to the next in a line
};

// A task's memory for a block of channels.
struct LineMemory {
  LineRing x, dy;
  float *weights, *sums, *epilogue;  // (9, pixel), (9, pixel), (2, pixel)
  LineMemory(float* memory, const LinePlan& p) {
    const int64_t size = (p.s.width + 2) * p.pixel;
    float* const zeros = memory + 6 * size;
    x = {memory, zeros, size, p.pixel, {-1, -1, -1}};
    dy = {memory + 3 * size, zeros, size, p.pixel, {-1, -1, -1}};
    weights = memory + 7 * size;
    sums = weights + 9 * p.pixel;
    epilogue = sums + 9 * p.pixel;
    clear(zeros, size);
    clear(sums, 9 * p.pixel);
    if (p.s.stride > 1) clear(dy.lines, 3 * size);  // what lies between its pixels
    for (int line = 0; line < 6; ++line) {
      clear(memory + line * size, p.pixel);
      clear(memory + (line + 1) * size - p.pixel, p.pixel);
    }
  }
  static void clear(float* p, int64_t count) {
    for (int64_t i = 0; i < count; ++i) p[i] = 0;
  }
  void load_weights(const LinePlan& p, const float* w, const LineBlock& block) {
    for (int k = 0; k < 9; ++k)
      columns(block.count, [&](auto v, int64_t c) {
        Vector x;
        v.load(x, w + k * p.s.channels + block.first + c);
        Wide::store(weights + k * p.pixel + c, x);
      });
  }
};

// What becomes of results. They come a vector of channels at a time, in runs of pixels:
//   start(block, sums)          for each block; sums (2, block.pixel)
//   run(pixels)                 so many pixels follow, at most 32
//   column(v, c, at)            the pixels from number `at` of the whole array on, the channels block.first + c …: an
//                               object whose put(q, y) gets pixel at + q, and end(), which comes last
//   finish()                    the block has no more
// This one stores.
struct StoreLines {
  int64_t C;
  float* y;  // (·, C)
  LineBlock block;
  void start(const LineBlock& b, float*) { block = b; }
  void run(int64_t) {}
  void finish() {}
  template <class V>
  struct Column {
    V v;
    float* y;
    int64_t C;
    void put(int64_t q, const Vector& value) { v.store(y + q * C, value); }
    void end() {}
  };
  template <class V>
  Column<V> column(V v, int64_t c, int64_t at) const {
    return {v, y + at * C + block.first + c, C};
  }
};

constexpr int64_t run_pixels = 32;

// y[at + q] = Σ_{r,s} lines[r][q·stride+s] · w[r,s], flipped: w[2-r,2-s], for q < count; y goes to the epilogue.
// lines (width + 2, pixel).
template <bool flipped, class Epilogue>
void convolve_line(const float* const (&lines)[3], const float* weights, int64_t count, int64_t stride,
                   const LineBlock& block, int64_t at, Epilogue& epilogue) {
  const int64_t pixel = block.pixel;
  for (int64_t start = 0; start < count; start += run_pixels) {
    const int64_t run = smaller(run_pixels, count - start);
    epilogue.run(run);
    columns(block.count, [&](auto v, int64_t c) {
      Vector w[9];
      for (int k = 0; k < 9; ++k) Wide::load(w[k], weights + (flipped ? 8 - k : k) * pixel + c);
      const float* x[3];
      for (int r = 0; r < 3; ++r) x[r] = lines[r] + start * stride * pixel + c;
      auto column = epilogue.column(v, c, at + start);
      for (int64_t q = 0; q < run; ++q) {
        Vector sum = {}, value;
#pragma GCC unroll 3
        for (int r = 0; r < 3; ++r)
#pragma GCC unroll 3
          for (int t = 0; t < 3; ++t) {
            Wide::load(value, x[r] + (q * stride + t) * pixel);
            sum += value * w[3 * r + t];
          }
        column.put(q, sum);
      }
      column.end();
    });
  }
}

// sums[r,s] += Σ_q lines[r][q·stride+s] · dy[q·stride+1]
inline void correlate_line(const float* const (&lines)[3], const float* dy, int64_t count, int64_t stride,
                           int64_t block, int64_t pixel, float* sums) {
  for (int64_t c = 0; c < block; c += lanes) {
    Vector sum[9];
    for (int k = 0; k < 9; ++k) Wide::load(sum[k], sums + k * pixel + c);
    for (int64_t q = 0; q < count; ++q) {
      Vector g, x;
      Wide::load(g, dy + (q * stride + 1) * pixel + c);
#pragma GCC unroll 3
      for (int r = 0; r < 3; ++r)
#pragma GCC unroll 3
        for (int t = 0; t < 3; ++t) {
          Wide::load(x, lines[r] + (q * stride + t) * pixel + c);
          sum[3 * r + t] += x * g;
        }
    }
    for (int k = 0; k < 9; ++k) Wide::store(sums + k * pixel + c, sum[k]);
  }
}

// fill(x line i of image n, block, to): pixels 0 … W-1 to `to`, block.pixel apart, whole vectors.
// epilogue: gets y (N·P·Q, C).
template <class Fill, class Epilogue>
void depthwise_forward_task(const LinePlan& p, int64_t task, const float* w, const Fill& fill, Epilogue epilogue) {
  alignas(64) float memory[line_floats];
  const int64_t P = p.s.out_height(), Q = p.s.out_width(), stride = p.s.stride;
  for (int64_t first = 0; first < p.s.channels; first += p.block) {
    const LineBlock block = {first, smaller(p.block, p.s.channels - first), p.pixel};
    LineMemory m(memory, p);
    m.load_weights(p, w, block);
    epilogue.start(block, m.epilogue);
    for (int64_t row = task * p.rows_per_task; row < smaller(p.rows, (task + 1) * p.rows_per_task); ++row) {
      const int64_t n = row / P, top = row % P * stride - 1;
      const float* lines[3];
      for (int r = 0; r < 3; ++r)
        lines[r] = m.x.line(n, top + r, p.s.height, [&](float* to) { fill(n, top + r, block, to); });
      convolve_line<false>(lines, m.weights, Q, stride, block, row * Q, epilogue);
    }
    epilogue.finish();
  }
}

// Backward of the same rows of y. Of x the task owns the rows p·stride … p·stride + stride - 1.
// fill_dy(n, p, block, to): row p of dy, its pixels to `to`, stride · block.pixel apart: between them, and between
// rows, there are zeros, so that dx is a convolution of stride 1. data: the epilogue gets dx (N·H·W, C). weight: fill_x
// as in forward; dw (9, C) becomes the task's part of the sum.
template <bool data, bool weight, class FillDy, class FillX, class Epilogue>
void depthwise_backward_task(const LinePlan& p, int64_t task, const float* w, float* dw, const FillDy& fill_dy,
                             const FillX& fill_x, Epilogue epilogue) {
  alignas(64) float memory[line_floats];
  const int64_t H = p.s.height, W = p.s.width, P = p.s.out_height(), Q = p.s.out_width(), stride = p.s.stride;
  for (int64_t first = 0; first < p.s.channels; first += p.block) {
    const LineBlock block = {first, smaller(p.block, p.s.channels - first), p.pixel};
    LineMemory m(memory, p);
    if (data) {
      m.load_weights(p, w, block);
      epilogue.start(block, m.epilogue);
    }
    const auto dy_line = [&](int64_t n, int64_t i) {
      if (i % stride != 0) return m.dy.zeros;
      return m.dy.line(n, i, H, [&](float* to) { fill_dy(n, i / stride, block, to); });
    };
    for (int64_t row = task * p.rows_per_task; row < smaller(p.rows, (task + 1) * p.rows_per_task); ++row) {
      const int64_t n = row / P, at = row % P * stride;
      if (weight) {
        const float* lines[3];
        for (int r = 0; r < 3; ++r)
          lines[r] = m.x.line(n, at + r - 1, H, [&](float* to) { fill_x(n, at + r - 1, block, to); });
        correlate_line(lines, dy_line(n, at), Q, stride, p.block, p.pixel, m.sums);
      }
      if (data)
        for (int64_t i = at; i < smaller(at + stride, H); ++i) {
          const float* lines[3];
          for (int r = 0; r < 3; ++r) lines[r] = dy_line(n, i + r - 1);
          convolve_line<true>(lines, m.weights, W, 1, block, (n * H + i) * W, epilogue);
        }
    }
    if (data) epilogue.finish();
    if (weight)
      for (int k = 0; k < 9; ++k)
        for (int64_t c = 0; c < block.count; ++c) dw[k * p.s.channels + first + c] = m.sums[k * p.pixel + c];
  }
}

// dw (9, C) = the sum of the tasks' parts, in order.
inline void add_weight_parts(const Context& context, const LinePlan& p, const float* parts, float* dw) {
  const int64_t count = 9 * static_cast<int64_t>(p.s.channels), tasks = p.tasks;
  parallel_pieces(context, count, 1024, [=](int64_t begin, int64_t end) {
    each(begin, end, [=](auto v, int64_t i) {
      typename decltype(v)::Value sum = {}, part;
      for (int64_t task = 0; task < tasks; ++task) {
        v.load(part, parts + task * count + i);
        sum += part;
      }
      v.store(dw + i, sum);
    });
  });
}

// Fills a line from `pixels` pixels of x (·, C): to[j] = x[j], `step` floats apart.
inline void copy_to_line(const float* x, int64_t C, int64_t pixels, const LineBlock& block, int64_t step, float* to) {
  columns(block.count, [=](auto v, int64_t c) {
    const float* from = x + block.first + c;
    for (int64_t j = 0; j < pixels; ++j) {
      Vector value;
      v.load(value, from + j * C);
      Wide::store(to + j * step + c, value);
    }
  });
}

}  // namespace kernels::cpu::SIMD_LEVEL
