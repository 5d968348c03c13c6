// Lines of the image in the cache, a vector of channels at a time: simd_lines.h. The fused passes rebuild a and dz as
// they fill a line, and sum over results while these are in registers.
#include "kernels/depthwise_conv/simd_lines.h"

#include "kernels/common/simd_norm.h"

namespace kernels::cpu::SIMD_LEVEL {
namespace {

// With the bias and ReLU6 of inference.
struct FoldLines : StoreLines {
  const float* bias;
  template <class V>
  struct Column : StoreLines::Column<V> {
    Vector bias;
    void put(int64_t q, Vector value) {
      const Vector zero = {}, six = zero + 6;
      value += bias;
      value = value < zero ? zero : value;
      value = value > six ? six : value;
      StoreLines::Column<V>::put(q, value);
    }
  };
  template <class V>
  Column<V> column(V v, int64_t c, int64_t at) const {
    Column<V> result = {StoreLines::column(v, c, at), {}};
    v.load(result.bias, bias + block.first + c);
    return result;
  }
};

// Sums of an epilogue: (2, C) in double, up to 32 pixels of them in fp32 (common/simd_columns.h).
struct LineSums {
  double* sums;
  float* block_sums;  // (2, block.pixel)
  int64_t pixels;     // in block_sums
  void start(const LineBlock& block, float* memory) {
    block_sums = memory;
    pixels = 0;
    LineMemory::clear(block_sums, 2 * block.pixel);
  }
  void run(int64_t C, const LineBlock& block, int64_t next) {
    if (pixels + next > run_pixels) add(C, block);
    pixels += next;
  }
  void add(int64_t C, const LineBlock& block) {
    for (int k = 0; k < 2; ++k) {
      double* const to = sums + k * C + block.first;
      float* const from = block_sums + k * block.pixel;
      for (int64_t c = 0; c < block.count; ++c) to[c] += static_cast<double>(from[c]);
      for (int64_t c = 0; c < block.count; ++c) from[c] = 0;
    }
    pixels = 0;
  }
};

// Stores z and sums its differences from the task's first pixel, and their squares.
struct StatisticsOfLines : StoreLines {
  int64_t first;  // pixel
  LineSums sums;
  void start(const LineBlock& b, float* memory) {
    block = b;
    sums.start(b, memory);
  }
  void run(int64_t pixels) { sums.run(C, block, pixels); }
  void finish() { sums.add(C, block); }
  template <class V>
  struct Column : StoreLines::Column<V> {
    float* sums;
    int64_t pixel;
    bool none;  // no pixel yet
    Vector start, sum, square;
    void put(int64_t q, const Vector& value) {
      if (none) start = value, none = false;
      const Vector d = value - start;
      sum += d;
      square += d * d;
      StoreLines::Column<V>::put(q, value);
    }
    void end() {
      Wide::store(sums, sum);
      Wide::store(sums + pixel, square);
    }
  };
  template <class V>
  Column<V> column(V v, int64_t c, int64_t at) const {
    Column<V> result = {StoreLines::column(v, c, at), sums.block_sums + c, block.pixel, at == first, {}, {}, {}};
    if (!result.none) v.load(result.start, y + first * C + block.first + c);
    Wide::load(result.sum, result.sums);
    Wide::load(result.square, result.sums + block.pixel);
    return result;
  }
};

// Masks da, stores du, and sums what the norm's gradients need.
struct MaskLines : StoreLines {
  const float* x;  // (·, C)
  const FusedNorm& norm;
  LineSums sums;
  // z and its du two rows on, of which a later line of dz is made: they come into the cache while du is computed. One
  // of their pixels belongs to 2^shift of x.
  const float *coming_z, *coming_du;
  int shift;
  void start(const LineBlock& b, float* memory) {
    block = b;
    sums.start(b, memory);
  }
  void run(int64_t pixels) { sums.run(C, block, pixels); }
  void finish() { sums.add(C, block); }
  template <class V>
  struct Column : StoreLines::Column<V> {
    const float* x;
    Factors<V> factors;
    float* sums;
    int64_t pixel, at;
    int shift;
    const float *coming_z, *coming_du;
    Vector sum, product;
    void put(int64_t q, Vector value) {
      Vector z;
      const int64_t coming = ((at + q) >> shift) * this->C;
      __builtin_prefetch(coming_z + coming, 0, 2);
      __builtin_prefetch(coming_du + coming, 0, 2);
      this->v.load(z, x + q * this->C);
      factors.mask(z, value);
      sum += value;
      product += value * (z - factors.mean);
      StoreLines::Column<V>::put(q, value);
    }
    void end() {
      Wide::store(sums, sum);
      Wide::store(sums + pixel, product);
    }
  };
  template <class V>
  Column<V> column(V v, int64_t c, int64_t at) const {
    Column<V> result = {StoreLines::column(v, c, at),
                        x + at * C + block.first + c,
                        Factors<V>(v, norm, block.first + c),
                        sums.block_sums + c,
                        block.pixel,
                        at,
                        shift,
                        coming_z + block.first + c,
                        coming_du + block.first + c,
                        {},
                        {}};
    Wide::load(result.sum, result.sums);
    Wide::load(result.product, result.sums + block.pixel);
    return result;
  }
};

// Lines of a(x), and of dz from z and dz's du; arguments as of copy_to_line. The line of x behind this one is needed
// next: it comes into the cache.
void activate_to_line(const FusedNorm& norm, const float* x, int64_t C, int64_t pixels, const LineBlock& block,
                      int64_t step, float* to) {
  columns(block.count, [=, &norm](auto v, int64_t c) {
    const Factors factors(v, norm, block.first + c);
    const float* from = x + block.first + c;
    for (int64_t j = 0; j < pixels; ++j) {
      Vector value;
      v.load(value, from + j * C);
      __builtin_prefetch(from + (j + pixels) * C);
      factors.activate(value);
      Wide::store(to + j * step + c, value);
    }
  });
}
void gradient_to_line(const FusedNorm& norm, const float* z, const float* du, int64_t C, int64_t pixels,
                      const LineBlock& block, int64_t step, float* to) {
  columns(block.count, [=, &norm](auto v, int64_t c) {
    const GradientFactors factors(v, norm, block.first + c);
    const int64_t from = block.first + c;
    for (int64_t j = 0; j < pixels; ++j) {
      Vector value, gradient;
      v.load(value, z + from + j * C);
      v.load(gradient, du + from + j * C);
      factors.pass(value, gradient);
      Wide::store(to + j * step + c, gradient);
    }
  });
}

template <class Epilogue>
void forward_with(Context& context, const DepthwiseConvShape& s, const float* x, const float* w,
                  const Epilogue& epilogue) {
  const LinePlan p(s);
  parallel_for(context, p.tasks, [=](int64_t task) {
    const int64_t line = static_cast<int64_t>(s.width) * s.channels;
    depthwise_forward_task(
        p, task, w,
        [=](int64_t n, int64_t i, const LineBlock& block, float* to) {
          copy_to_line(x + (n * s.height + i) * line, s.channels, s.width, block, block.pixel, to);
        },
        epilogue);
  });
}

void forward(Context& context, const DepthwiseConvShape& s, const float* x, const float* w, float* y) {
  forward_with(context, s, x, w, StoreLines{s.channels, y, {}});
}

void forward_folded(Context& context, const DepthwiseConvShape& s, const float* x, const float* w, const float* bias,
                    float* y) {
  forward_with(context, s, x, w, FoldLines{{s.channels, y, {}}, bias});
}

template <bool data, bool weight>
void backward(Context& context, const DepthwiseConvShape& s, const float* x, const float* dy, const float* w, float* dx,
              float* parts) {
  const LinePlan p(s);
  parallel_for(context, p.tasks, [=](int64_t task) {
    const int64_t line = static_cast<int64_t>(s.width) * s.channels;
    const int64_t P = s.out_height(), Q = s.out_width();
    depthwise_backward_task<data, weight>(
        p, task, w, parts + task * 9 * s.channels,
        [=](int64_t n, int64_t row, const LineBlock& block, float* to) {
          copy_to_line(dy + (n * P + row) * Q * s.channels, s.channels, Q, block, s.stride * block.pixel, to);
        },
        [=](int64_t n, int64_t i, const LineBlock& block, float* to) {
          copy_to_line(x + (n * s.height + i) * line, s.channels, s.width, block, block.pixel, to);
        },
        StoreLines{s.channels, dx, {}});
  });
}

// In the workspace: two sums a task and channel, then the tasks' parts of dw.
size_t partial_floats(const LinePlan& p) { return 4 * static_cast<size_t>(p.tasks) * p.s.channels; }
size_t workspace(const DepthwiseConvShape& s) {
  const LinePlan p(s);
  return sizeof(float) * (partial_floats(p) + 9 * static_cast<size_t>(p.tasks) * s.channels);
}

void forward_fused(Context& context, const DepthwiseConvShape& s, const float* x, const FusedNorm& norm_x,
                   const float* w, float* z, const FusedNorm& norm_z) {
  const LinePlan p(s);
  const int64_t C = s.channels, W = s.width, H = s.height, Q = s.out_width();
  if (p.rows * Q < 2) fail(one_value);
  auto* const partials = static_cast<double*>(context.workspace);
  parallel_for(context, p.tasks, [=](int64_t task) {
    double* const sums = partials + task * 2 * C;
    set_zero(sums, 2 * C);
    depthwise_forward_task(
        p, task, w,
        [&](int64_t n, int64_t i, const LineBlock& b, float* to) {
          activate_to_line(norm_x, x + (n * H + i) * W * C, C, W, b, b.pixel, to);
        },
        StatisticsOfLines{{C, z, {}}, task * p.rows_per_task * Q, {sums, nullptr, 0}});
  });
  finish_statistics(context, {p.rows * Q, p.rows_per_task * Q}, C, z, partials, norm_z);
}

// Both gradients at once: they need the same lines of dz, and the lines of a lie beside the u that masks.
void backward_fused(Context& context, const DepthwiseConvShape& s, const float* x, const FusedNorm& norm_x,
                    const float* w, const float* z, const FusedNorm& norm_z, const float* du_z, float* du_x,
                    float* dw) {
  const LinePlan p(s);
  const int64_t C = s.channels, W = s.width, H = s.height, P = s.out_height(), Q = s.out_width();
  auto* const partials = static_cast<double*>(context.workspace);
  float* const parts = static_cast<float*>(context.workspace) + partial_floats(p);
  parallel_for(context, p.tasks, [=](int64_t task) {
    double* const sums = partials + task * 2 * C;
    set_zero(sums, 2 * C);
    depthwise_backward_task<true, true>(
        p, task, w, parts + task * 9 * C,
        [&](int64_t n, int64_t row, const LineBlock& b, float* to) {
          const int64_t at = (n * P + row) * Q * C;
          gradient_to_line(norm_z, z + at, du_z + at, C, Q, b, p.s.stride * b.pixel, to);
        },
        [&](int64_t n, int64_t i, const LineBlock& b, float* to) {
          activate_to_line(norm_x, x + (n * H + i) * W * C, C, W, b, b.pixel, to);
        },
        MaskLines{
            {C, du_x, {}}, x, norm_x, {sums, nullptr, 0}, z + 2 * Q * C, du_z + 2 * Q * C, s.stride == 2 ? 2 : 0});
  });
  finish_gradients(context, static_cast<int64_t>(s.batch) * H * W, p.tasks, C, partials, norm_x);
  add_weight_parts(context, p, parts, dw);
}

}  // namespace

template <>
const DepthwiseConv& simd_row<DepthwiseConv>() {
  static constexpr DepthwiseConv row = {
      .name = "simd",
      .idea = "lines of the image in the cache, a vector of channels at a time",
      .provider = Provider::vendor,
      .supports = [](const DepthwiseConvShape& s) { return LinePlan(s).fits(); },
      .workspace = workspace,
      .forward = forward,
      .backward_data = [](Context& context, const DepthwiseConvShape& s, const float* dy, const float* w,
                          float* dx) { backward<true, false>(context, s, nullptr, dy, w, dx, nullptr); },
      .backward_weight =
          [](Context& context, const DepthwiseConvShape& s, const float* x, const float* dy, float* dw) {
            auto* parts = static_cast<float*>(context.workspace);
            backward<false, true>(context, s, x, dy, nullptr, nullptr, parts);
            add_weight_parts(context, LinePlan(s), parts, dw);
          },
      .forward_fused = forward_fused,
      .backward_fused = backward_fused,
      .forward_folded = forward_folded,
  };
  return row;
}

}  // namespace kernels::cpu::SIMD_LEVEL
