// For few input channels, as a network's first layer has. The three lines of x that a row of z needs are copied with a
// border of zeros, so that no loop asks where the image ends. A pixel's neighbours in a line, 3 · Cin, then stand side
// by side, and the next pixel's begin stride · Cin further on: no copy of them is made. Forward, a block of pixels and
// output channels stays in registers for all 9 · Cin products, and in the weight gradient a line's 3 · Cin weights for
// a run of pixels.
#include "kernels/common/simd_norm.h"
#include "kernels/common/simd_product.h"
#include "kernels/conv2d/conv2d.h"

namespace kernels::cpu::SIMD_LEVEL {
namespace {

constexpr int most_channels = 36;          // of x: with more, a panel of weights would leave the level 1 cache
constexpr int64_t lines_floats = 1 << 15;  // of a task's three lines
constexpr int64_t run_floats = 1 << 13;    // of the pixels of z that are finished together: a part of the level 1 cache
constexpr int64_t most_run = 64;

// A task takes rows of z (batch · P of them), and of a row one run of pixels after the other.
struct Plan {
  Conv2dShape s;
  int64_t Q, O, depth, step, pitch;  // depth: a pixel's neighbours in a line; step: from a pixel's to the next one's
  int64_t rows, rows_per_task, tasks, width, run;  // width: O, in whole vectors
  explicit Plan(const Conv2dShape& shape)
      : s(shape),
        Q(s.out_width()),
        O(s.out_channels),
        depth(3 * static_cast<int64_t>(s.in_channels)),
        step(static_cast<int64_t>(s.stride) * s.in_channels),
        pitch((static_cast<int64_t>(s.width) + 2) * s.in_channels),
        rows(static_cast<int64_t>(s.batch) * s.out_height()),
        rows_per_task(larger(ceil_div(32, Q), ceil_div(rows, 32))),
        tasks(ceil_div(rows, rows_per_task)),
        width(round_up(O, lanes)),
        run(smaller(most_run, run_floats / width)) {}
  bool fits() const { return s.in_channels <= most_channels && 3 * pitch <= lines_floats && run > 0; }
  int64_t packed() const { return packed_size(3 * depth, O); }
  int64_t part() const { return 3 * depth * width; }  // a task's share of dw
  size_t bytes() const {
    return 8 * static_cast<size_t>(2 * tasks * O) + 4 * static_cast<size_t>(larger(packed(), tasks * part()));
  }
  double* partials_of(const Context& context) const { return static_cast<double*>(context.workspace); }
  float* floats_of(const Context& context) const {
    return reinterpret_cast<float*>(partials_of(context) + 2 * tasks * O);
  }
};

// lines (3, pitch), their borders and more zero, become those of x that row `row` of z needs.
inline void read_lines(const Plan& p, const float* x, int64_t row, float* lines) {
  const int64_t H = p.s.height, W = p.s.width, I = p.s.in_channels, P = p.s.out_height();
  const int64_t top = row % P * p.s.stride - 1;
  for (int64_t r = 0; r < 3; ++r) {
    const int64_t i = top + r;
    const bool inside = i >= 0 && i < H;
    const float* const from = x + (row / P * H + (inside ? i : 0)) * W * I;
    float* const to = lines + r * p.pitch + I;
    each(0, W * I, [=](auto v, int64_t j) {
      typename decltype(v)::Value value = {};
      if (inside) v.load(value, from + j);
      v.store(to + j, value);
    });
  }
}

// body(lines, row, q, count) for the task's runs of pixels [q, q + count) of its rows of z; lines: from the run's first
// neighbour on.
template <class Body>
void each_run(const Plan& p, int64_t task, const float* x, const Body& body) {
  alignas(64) float lines[lines_floats];
  for (int64_t i = 0; i < 3 * p.pitch; ++i) lines[i] = 0;
  for (int64_t row = task * p.rows_per_task; row < smaller(p.rows, (task + 1) * p.rows_per_task); ++row) {
    read_lines(p, x, row, lines);
    for (int64_t q = 0; q < p.Q; q += p.run) body(lines + q * p.step, row, q, smaller(p.run, p.Q - q));
  }
}

// z (·, O), the pixels [q, count) in blocks of so many, and of the channels from c on so many vectors, the last one v.
template <int block, int vectors, class V, class T, class Finish>
void convolve_blocks(V v, const Plan& p, const float* lines, const float* panel, int64_t c, int64_t& q, int64_t count,
                     T* z, const Finish& finish) {
  const int64_t pitch = p.pitch, step = p.step, depth = p.depth, O = p.O;
  for (; q + block <= count; q += block) {
    Vector sum[block][vectors] = {};
    const float* w = panel;
    for (int64_t r = 0; r < 3; ++r) {
      const float* const from = lines + r * pitch + q * step;
      for (int64_t k = 0; k < depth; ++k, w += tile_columns) {
        Vector b[vectors];
        for (int j = 0; j < vectors; ++j) Wide::load(b[j], w + j * lanes);
#pragma GCC unroll 16
        for (int i = 0; i < block; ++i) {
          const float a = from[i * step + k];
          for (int j = 0; j < vectors; ++j) sum[i][j] += a * b[j];
        }
      }
    }
    T* to = z + q * O + c;
#pragma GCC unroll 16
    for (int i = 0; i < block; ++i, to += O) {
      for (int j = 0; j < vectors; ++j) finish(sum[i][j], j);
      if (vectors > 1) Wide::store(to, sum[i][0]);
      v.store(to + (vectors - 1) * lanes, sum[i][vectors - 1]);
    }
  }
}

template <int vectors, class V, class T, class Finish>
void convolve_columns(V v, const Plan& p, const float* lines, const float* panel, int64_t c, int64_t count, T* z,
                      const Finish& finish) {
  int64_t q = 0;
  convolve_blocks<lanes == 16 ? 8 : 4, vectors>(v, p, lines, panel, c, q, count, z, finish);
  convolve_blocks<1, vectors>(v, p, lines, panel, c, q, count, z, finish);
}

// z (O) of `count` pixels. finish(first, channels) makes what finishes those channels, as multiply_columns has it.
template <class T, class Finish>
void convolve_run(const Plan& p, const float* lines, const float* packed, int64_t count, T* z, const Finish& finish) {
  for (int64_t c = 0; c < p.O; c += tile_columns) {
    const float* const panel = packed + c * 3 * p.depth;
    const int64_t left = p.O - c;
    if (left >= 2 * lanes)
      convolve_columns<2>(Wide(), p, lines, panel, c, count, z, finish(c, 2 * lanes));
    else if (left > lanes)
      convolve_columns<2>(Part{left - lanes}, p, lines, panel, c, count, z, finish(c, left));
    else
      convolve_columns<1>(Part{left}, p, lines, panel, c, count, z, finish(c, left));
  }
}

// y = x * w, and after(task, count, y) on a run of pixels that has just been stored.
template <class T, class Finish, class After>
void convolve(Context& context, const Conv2dShape& s, const float* x, const float* w, T* y, const Finish& finish,
              const After& after) {
  const Plan plan(s);
  float* const packed = plan.floats_of(context);
  pack(context, Order::transposed, 3 * plan.depth, plan.O, w, 3 * plan.depth, packed);
  parallel_for(context, plan.tasks, [=](int64_t task) {
    each_run(plan, task, x, [&](const float* lines, int64_t row, int64_t q, int64_t count) {
      T* const to = y + (row * plan.Q + q) * plan.O;
      convolve_run(plan, lines, packed, count, to, finish);
      after(task, count, to);
    });
  });
}

constexpr auto nothing = [](auto...) {};

template <class T>
void forward(Context& context, const Conv2dShape& s, const float* x, const float* w, T* y) {
  convolve(context, s, x, w, y, unchanged, nothing);
}

template <class T>
void forward_folded(Context& context, const Conv2dShape& s, const float* x, const float* w, const float* bias, T* y) {
  convolve(
      context, s, x, w, y, [=](int64_t first, int64_t channels) { return Fold(bias + first, channels); }, nothing);
}

template <class T>
void forward_fused(Context& context, const Conv2dShape& s, const float* x, const float* w, T* z,
                   const FusedNorm& norm_z) {
  const Plan plan(s);
  const int64_t O = plan.O, chunk = plan.rows_per_task * plan.Q;
  if (plan.rows * plan.Q < 2) fail(one_value);
  double* const partials = plan.partials_of(context);
  convolve(context, s, x, w, z, unchanged, [=](int64_t task, int64_t count, const T* to) {
    const T* const first = z + task * chunk * O;
    double* const sums = partials + task * 2 * O;
    if (to == first) set_zero(sums, 2 * O);
    add_statistics(count, 0, O, O, to, first, sums);
  });
  finish_statistics(context, {plan.rows * plan.Q, chunk}, O, z, partials, norm_z);
}

// sum (count, width) += Σ_q line[q · step + k] · dz[q, ·], over the pixels q of a run: so many k and vectors.
template <int count, int vectors>
void weight_block(const Plan& p, int64_t pixels, const float* line, const float* dz, float* sum) {
  Vector dw[count][vectors] = {};
  for (int64_t q = 0; q < pixels; ++q) {
    Vector d[vectors];
    for (int j = 0; j < vectors; ++j) Wide::load(d[j], dz + q * p.width + j * lanes);
    for (int k = 0; k < count; ++k)
      for (int j = 0; j < vectors; ++j) dw[k][j] += line[q * p.step + k] * d[j];
  }
  for (int k = 0; k < count; ++k)
    for (int j = 0; j < vectors; ++j) {
      Vector total;
      Wide::load(total, sum + k * p.width + j * lanes);
      total += dw[k][j];
      Wide::store(sum + k * p.width + j * lanes, total);
    }
}

// sum (9 · Cin, width): all of a run's, for so many vectors of channels.
template <int vectors>
void weight_columns(const Plan& p, int64_t pixels, const float* lines, const float* dz, float* sum) {
  for (int64_t r = 0; r < 3; ++r) {
    const float* const line = lines + r * p.pitch;
    float* const to = sum + r * p.depth * p.width;
    int64_t k = 0;
    if constexpr (lanes == 16)
      for (; k + 9 <= p.depth; k += 9) weight_block<9, vectors>(p, pixels, line + k, dz, to + k * p.width);
    for (; k + 6 <= p.depth; k += 6) weight_block<6, vectors>(p, pixels, line + k, dz, to + k * p.width);
    for (; k < p.depth; k += 3) weight_block<3, vectors>(p, pixels, line + k, dz, to + k * p.width);
  }
}

// dw (O, 9 · Cin) = dzᵀ · (the neighbours of x). gradients(pixel, count, dz) fills dz (count, width).
template <class Gradients>
void multiply_gradients(Context& context, const Conv2dShape& s, const float* x, const Gradients& gradients, float* dw) {
  const Plan plan(s);
  float* const parts = plan.floats_of(context);
  parallel_for(context, plan.tasks, [=](int64_t task) {
    alignas(64) float dz[run_floats];
    float* const part = parts + task * plan.part();
    for (int64_t i = 0; i < plan.part(); ++i) part[i] = 0;
    each_run(plan, task, x, [&](const float* lines, int64_t row, int64_t q, int64_t count) {
      gradients(row * plan.Q + q, count, dz);
      int64_t c = 0;
      for (; c + 2 * lanes <= plan.width; c += 2 * lanes) weight_columns<2>(plan, count, lines, dz + c, part + c);
      if (c < plan.width) weight_columns<1>(plan, count, lines, dz + c, part + c);
    });
  });
  const int64_t K = 3 * plan.depth;
  parallel_pieces(context, K, 3, [=](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k)
      for (int64_t o = 0; o < plan.O; ++o) {
        float sum = 0;
        for (int64_t task = 0; task < plan.tasks; ++task) sum += parts[task * plan.part() + k * plan.width + o];
        dw[o * K + k] = sum;
      }
  });
}

template <class T>
void backward_weight(Context& context, const Conv2dShape& s, const float* x, const T* dy, float* dw) {
  const int64_t O = s.out_channels;
  const auto gradients = [=](int64_t pixel, int64_t count, float* dz) {
    for (int64_t m = 0; m < count; ++m)
      columns(O, [&](auto v, int64_t c) {
        Vector value;
        v.load(value, dy + (pixel + m) * O + c);
        Wide::store(dz + m * round_up(O, lanes) + c, value);
      });
  };
  multiply_gradients(context, s, x, gradients, dw);
}

template <class T>
void backward_weight_fused(Context& context, const Conv2dShape& s, const float* x, const T* z, const FusedNorm& norm_z,
                           const T* du_z, float* dw) {
  const int64_t O = s.out_channels;
  const auto gradients = [=](int64_t pixel, int64_t count, float* dz) {
    gradient_rows(norm_z, count, 0, O, O, z + pixel * O, du_z + pixel * O, round_up(O, lanes), dz);
  };
  multiply_gradients(context, s, x, gradients, dw);
}

template <class T>
constexpr Conv2dOf<T> row = {
    .name = "simd",
    .idea = "lines with a border of zeros, blocks of pixels and channels in registers; fused passes",
    .provider = Provider::vendor,
    .supports = [](const Conv2dShape& s) { return Plan(s).fits(); },
    .workspace = [](const Conv2dShape& s) { return Plan(s).bytes(); },
    .forward = forward<T>,
    .backward_data = nullptr,
    .backward_weight = backward_weight<T>,
    .forward_fused = forward_fused<T>,
    .backward_weight_fused = backward_weight_fused<T>,
    .forward_folded = forward_folded<T>,
};

}  // namespace

template <>
const Conv2d& simd_row<Conv2d>() {
  return row<float>;
}
template <>
const Conv2dOf<Bf16>& simd_row<Conv2dOf<Bf16>>() {
  return row<Bf16>;
}

}  // namespace kernels::cpu::SIMD_LEVEL
