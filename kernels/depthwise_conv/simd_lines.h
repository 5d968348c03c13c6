// The depthwise convolution on lines that lie in the cache: a task takes rows of y, holds the three lines of x (and of
// dy) that a row needs, with a border of zeros so that no loop asks where the image ends, and reads every line from
// memory once. Whoever calls says how a line is filled and what becomes of a finished row.
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
    rows_per_task = larger(1, ceil_div(rows, 64));
    tasks = ceil_div(rows, rows_per_task);
    const int64_t vectors = ceil_div(s.channels, lanes), most = larger(1, line_floats_fast / (pixels() * lanes));
    const int64_t in_block = ceil_div(vectors, ceil_div(vectors, most));  // blocks of equal size
    block = in_block * lanes;
    pixel = (in_block | 1) * lanes;
  }
  // Lines: three of x, three of dy, one of zeros, one of results; 9 weights and 9 sums.
  int64_t pixels() const { return 8 * (s.width + 2) + 18; }
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

// A task's memory for a block of channels.
struct LineMemory {
  LineRing x, dy;
  float *result, *weights, *sums;
  LineMemory(float* memory, const LinePlan& p, int64_t count) {
    const int64_t size = (p.s.width + 2) * p.pixel;
    float* const zeros = memory + 6 * size;
    x = {memory, zeros, size, p.pixel, {-1, -1, -1}};
    dy = {memory + 3 * size, zeros, size, p.pixel, {-1, -1, -1}};
    result = memory + 7 * size;
    weights = memory + 8 * size;
    sums = weights + 9 * p.pixel;
    clear(zeros, size);
    clear(sums, 9 * p.pixel);
    if (count < p.block) clear(memory, 6 * size), clear(weights, 9 * p.pixel);  // the channels that nobody fills
    if (p.s.stride > 1) clear(dy.lines, 3 * size);                              // what lies between its pixels
    for (int line = 0; line < 6; ++line) {
      clear(memory + line * size, p.pixel);
      clear(memory + (line + 1) * size - p.pixel, p.pixel);
    }
  }
  static void clear(float* p, int64_t count) {
    for (int64_t i = 0; i < count; ++i) p[i] = 0;
  }
  void load_weights(const LinePlan& p, const float* w, int64_t first, int64_t count) {
    for (int k = 0; k < 9; ++k)
      for (int64_t c = 0; c < count; ++c) weights[k * p.pixel + c] = w[k * p.s.channels + first + c];
  }
};

// to[q] = Σ_{r,s} lines[r][q·stride+s] · w[r,s], flipped: w[2-r,2-s]. lines (width + 2, pixel), to (count, pixel).
template <bool flipped>
void convolve_line(const float* const (&lines)[3], const float* weights, int64_t count, int64_t stride, int64_t block,
                   int64_t pixel, float* to) {
  for (int64_t c = 0; c < block; c += lanes) {
    Vector w[9];
    for (int k = 0; k < 9; ++k) Wide::load(w[k], weights + (flipped ? 8 - k : k) * pixel + c);
    for (int64_t q = 0; q < count; ++q) {
      Vector sum = {}, x;
#pragma GCC unroll 3
      for (int r = 0; r < 3; ++r)
#pragma GCC unroll 3
        for (int t = 0; t < 3; ++t) {
          Wide::load(x, lines[r] + (q * stride + t) * pixel + c);
          sum += x * w[3 * r + t];
        }
      Wide::store(to + q * pixel + c, sum);
    }
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

// The channels [first, first + count) of a block.
struct LineBlock {
  int64_t first, count, pixel;  // pixel: floats from one to the next in a line
};

// fill(x line i of image n, block, to): pixels 0 … W-1 to `to`, block.pixel apart.
// finish(row, block, line): row `row` = n·P + p of y, (Q, block.pixel).
template <class Fill, class Finish>
void depthwise_forward_task(const LinePlan& p, int64_t task, const float* w, const Fill& fill, const Finish& finish) {
  alignas(64) float memory[line_floats];
  const int64_t P = p.s.out_height(), Q = p.s.out_width(), stride = p.s.stride;
  for (int64_t first = 0; first < p.s.channels; first += p.block) {
    const LineBlock block = {first, smaller(p.block, p.s.channels - first), p.pixel};
    LineMemory m(memory, p, block.count);
    m.load_weights(p, w, first, block.count);
    for (int64_t row = task * p.rows_per_task; row < smaller(p.rows, (task + 1) * p.rows_per_task); ++row) {
      const int64_t n = row / P, top = row % P * stride - 1;
      const float* lines[3];
      for (int r = 0; r < 3; ++r)
        lines[r] = m.x.line(n, top + r, p.s.height, [&](float* to) { fill(n, top + r, block, to); });
      convolve_line<false>(lines, m.weights, Q, stride, p.block, p.pixel, m.result);
      finish(row, block, m.result);
    }
  }
}

// Backward of the same rows of y. Of x the task owns the rows p·stride … p·stride + stride - 1.
// fill_dy(n, p, block, to): row p of dy, its pixels to `to`, stride · block.pixel apart: between them, and between
// rows, there are zeros, so that dx is a convolution of stride 1. data: finish(n, i, block, line) gets row i of dx, (W,
// block.pixel). weight: fill_x as in forward; dw (9, C) becomes the task's part of the sum.
template <bool data, bool weight, class FillDy, class FillX, class Finish>
void depthwise_backward_task(const LinePlan& p, int64_t task, const float* w, float* dw, const FillDy& fill_dy,
                             const FillX& fill_x, const Finish& finish) {
  alignas(64) float memory[line_floats];
  const int64_t H = p.s.height, P = p.s.out_height(), Q = p.s.out_width(), stride = p.s.stride;
  for (int64_t first = 0; first < p.s.channels; first += p.block) {
    const LineBlock block = {first, smaller(p.block, p.s.channels - first), p.pixel};
    LineMemory m(memory, p, block.count);
    if (data) m.load_weights(p, w, first, block.count);
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
          convolve_line<true>(lines, m.weights, p.s.width, 1, p.block, p.pixel, m.result);
          finish(n, i, block, m.result);
        }
    }
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

// Copies `pixels` pixels of a block: from (pixels, C) into a line whose pixels are `step` floats apart, and back.
inline void copy_to_line(const float* from, int64_t channels, int64_t pixels, const LineBlock& block, int64_t step,
                         float* line) {
  for (int64_t j = 0; j < pixels; ++j)
    each(0, block.count, [=](auto v, int64_t c) {
      typename decltype(v)::Value x;
      v.load(x, from + j * channels + block.first + c);
      v.store(line + j * step + c, x);
    });
}
inline void copy_from_line(const float* line, int64_t channels, int64_t pixels, const LineBlock& block, float* to) {
  for (int64_t j = 0; j < pixels; ++j)
    each(0, block.count, [=](auto v, int64_t c) {
      typename decltype(v)::Value x;
      v.load(x, line + j * block.pixel + c);
      v.store(to + j * channels + block.first + c, x);
    });
}

}  // namespace kernels::cpu::SIMD_LEVEL
