// For few input channels: the matrix product on vectors (common/simd_product.h), of z's pixels and their 9 · Cin
// neighbours, which are gathered where a task is about to read them. The passes that a network's first layer takes. z
// of bfloat16 is rounded from a block of floats in the cache.
#include "kernels/common/simd_norm.h"
#include "kernels/common/simd_product.h"
#include "kernels/conv2d/conv2d.h"

namespace kernels::cpu::SIMD_LEVEL {
namespace {

constexpr int64_t operand_floats = 1 << 15;  // of a task's own copies: as the level 1 cache

int64_t depth_of(const Conv2dShape& s) { return 9 * static_cast<int64_t>(s.in_channels); }

struct Plan {
  int64_t pixels;
  ProductTasks forward;
  SplitProduct weight;       // of (O, 9·Cin)
  int64_t packed, partials;  // floats, doubles
  explicit Plan(const Conv2dShape& s)
      : pixels(static_cast<int64_t>(s.batch) * s.out_height() * s.out_width()),
        forward(pixels, s.out_channels),
        weight(s.out_channels, depth_of(s), pixels,
               larger(1, smaller(SplitProduct::most_block, operand_floats / padded(s.out_channels)))) {
    packed = packed_size(depth_of(s), s.out_channels);
    partials = 2 * forward.row_blocks * s.out_channels;
  }
  size_t bytes() const {
    return 8 * static_cast<size_t>(partials) + 4 * static_cast<size_t>(larger(packed, weight.partial_size()));
  }
  double* partials_of(const Context& context) const { return static_cast<double*>(context.workspace); }
  float* packed_of(const Context& context) const { return reinterpret_cast<float*>(partials_of(context) + partials); }
};

template <class T>
bool supports(const Conv2dShape& s) {
  const int64_t rows = sizeof(T) < sizeof(float) ? ProductTasks::most_rows : 1;  // of a block of floats
  return depth_of(s) * ProductTasks::most_rows <= operand_floats && rows * padded(s.out_channels) <= operand_floats;
}

// to (rows, stride): of the pixels of z from `row` on, element [first, first + count) of the 9 · Cin neighbours in x.
// channels: Cin, or 0 for any: a constant makes copies of a known length.
template <int channels>
void gather_of(const Conv2dShape& s, const float* x, int64_t row, int64_t rows, int64_t first, int64_t count,
               int64_t stride, float* to) {
  const int64_t I = channels > 0 ? channels : s.in_channels, three = 3 * I;
  const int64_t P = s.out_height(), Q = s.out_width(), H = s.height, width = s.width * I, step = s.stride;
  int64_t q = row % Q, p = row / Q % P, n = row / (Q * P);
  for (int64_t m = 0; m < rows; ++m, to += stride) {
    const int64_t left = (q * step - 1) * I;  // of the first neighbour in its line
    for (int64_t r = 0; r < 3; ++r) {
      const int64_t i = p * step + r - 1;
      const float* line = x + (n * H + i) * width;
      if (channels > 0 && count == 3 * three && i >= 0 && i < H && left >= 0 && left + three <= width) {
        for (int64_t k = 0; k < three; ++k) to[r * three + k] = line[left + k];
        continue;
      }
      const int64_t begin = larger(first, r * three), end = smaller(first + count, (r + 1) * three);
      const bool outside = i < 0 || i >= H;
      for (int64_t k = begin; k < end; ++k) {
        const int64_t j = left + k - r * three;
        to[k - first] = outside || j < 0 || j >= width ? 0 : line[j];
      }
    }
    if (++q == Q) q = 0, ++p;
    if (p == P) p = 0, ++n;
  }
}
void gather(const Conv2dShape& s, const float* x, int64_t row, int64_t rows, int64_t first, int64_t count,
            int64_t stride, float* to) {
  (s.in_channels == 3 ? gather_of<3> : gather_of<0>)(s, x, row, rows, first, count, stride, to);
}

// The channels [begin, end) of `rows` rows (·, C), stored.
inline void store_rows(int64_t, int64_t, int64_t, int64_t, const float*, float*) {}  // they are there
inline void store_rows(int64_t rows, int64_t begin, int64_t end, int64_t C, const float* from, Bf16* to) {
  for (int64_t m = 0; m < rows; ++m)
    each(begin, end, [=](auto v, int64_t c) {
      typename decltype(v)::Value value;
      v.load(value, from + m * C + c);
      v.store(to + m * C + c, value);
    });
}

// y = x * w: before(rows, begin, end, y) on the rows and channels that a task has just computed, as floats, and
// after(task, rows, begin, end, y) when they are stored.
template <class T, class Before, class After>
void convolve(Context& context, const Conv2dShape& s, const float* x, const float* w, T* y, Before before,
              After after) {
  const Plan plan(s);
  const int64_t K = depth_of(s), O = s.out_channels;
  float* const packed = plan.packed_of(context);
  const ProductTasks tasks = plan.forward;
  pack(context, Order::transposed, K, O, w, K, packed);
  parallel_for(context, tasks.count(), [=](int64_t task) {
    constexpr bool in_place = sizeof(T) == sizeof(float);
    alignas(64) float a[operand_floats], block[in_place ? 1 : operand_floats];
    const int64_t row = tasks.row(task), rows = smaller(tasks.rows, plan.pixels - row);
    const int64_t begin = tasks.first_column(task), end = smaller(O, tasks.end_column(task));
    T* const to = y + row * O;
    float* result;
    if constexpr (in_place)
      result = to;
    else
      result = block;
    gather(s, x, row, rows, 0, K, K, a);
    Ahead none;
    multiply_columns(rows, K, begin, end, a, K, packed, result, O, none);
    before(rows, begin, end, result);
    store_rows(rows, begin, end, O, result, to);
    after(task, rows, begin, end, to);
  });
}

constexpr auto nothing = [](auto...) {};

template <class T>
void forward(Context& context, const Conv2dShape& s, const float* x, const float* w, T* y) {
  convolve(context, s, x, w, y, nothing, nothing);
}

template <class T>
void forward_folded(Context& context, const Conv2dShape& s, const float* x, const float* w, const float* bias, T* y) {
  const int64_t O = s.out_channels;
  convolve(
      context, s, x, w, y,
      [=](int64_t rows, int64_t begin, int64_t end, float* to) { fold_rows(bias, rows, begin, end, O, to); }, nothing);
}

template <class T>
void forward_fused(Context& context, const Conv2dShape& s, const float* x, const float* w, T* z,
                   const FusedNorm& norm_z) {
  const Plan plan(s);
  const int64_t O = s.out_channels, groups = plan.forward.column_groups;
  if (plan.pixels < 2) fail(one_value);
  double* const partials = plan.partials_of(context);
  convolve(context, s, x, w, z, nothing, [=](int64_t task, int64_t rows, int64_t begin, int64_t end, const T* to) {
    double* const sums = partials + task / groups * 2 * O;
    set_zero(sums + begin, end - begin);
    set_zero(sums + O + begin, end - begin);
    add_statistics(rows, begin, end, O, to, to, sums);
  });
  finish_statistics(context, {plan.pixels, plan.forward.rows}, O, z, partials, norm_z);
}

// dw = dyᵀ · (the neighbours of x). gradients(k, depth, buffer): so many rows of dy from row k on, in place or in the
// buffer of buffer_floats.
template <int buffer_floats, class Gradients>
void multiply_gradients(Context& context, const Conv2dShape& s, const float* x, const Gradients& gradients, float* dw) {
  const Plan plan(s);
  multiply_transposed<buffer_floats>(
      context, plan.weight, plan.packed_of(context), gradients,
      [=](int64_t k, int64_t depth, int64_t first, int64_t columns, float* panel) {
        for (int64_t i = 0; columns < tile_columns && i < depth * tile_columns; ++i) panel[i] = 0;
        gather(s, x, k, depth, first, columns, tile_columns, panel);
      },
      dw);
}

inline void backward_weight(Context& context, const Conv2dShape& s, const float* x, const float* dy, float* dw) {
  const int64_t O = s.out_channels;
  const auto gradients = [=](int64_t k, int64_t, float*) { return Rows{dy + k * O, O}; };
  multiply_gradients<1>(context, s, x, gradients, dw);
}
inline void backward_weight(Context& context, const Conv2dShape& s, const float* x, const Bf16* dy, float* dw) {
  const int64_t O = s.out_channels;
  const auto gradients = [=](int64_t k, int64_t depth, float* a) {
    for (int64_t m = 0; m < depth; ++m)
      columns(O, [&](auto v, int64_t c) {
        Vector value;
        v.load(value, dy + (k + m) * O + c);
        Wide::store(a + m * padded(O) + c, value);
      });
    return Rows{a, padded(O)};
  };
  multiply_gradients<operand_floats>(context, s, x, gradients, dw);
}

template <class T>
void backward_weight_fused(Context& context, const Conv2dShape& s, const float* x, const T* z, const FusedNorm& norm_z,
                           const T* du_z, float* dw) {
  const int64_t O = s.out_channels;
  const auto gradients = [=](int64_t k, int64_t depth, float* a) {
    gradient_rows(norm_z, depth, 0, O, O, z + k * O, du_z + k * O, padded(O), a);
    return Rows{a, padded(O)};
  };
  multiply_gradients<operand_floats>(context, s, x, gradients, dw);
}

template <class T>
constexpr Conv2dOf<T> row = {
    .name = "simd",
    .idea = "the neighbours gathered block by block, then a product on vectors; fused passes",
    .provider = Provider::vendor,
    .supports = supports<T>,
    .workspace = [](const Conv2dShape& s) { return Plan(s).bytes(); },
    .forward = forward<T>,
    .backward_data = nullptr,
    .backward_weight = backward_weight,
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
