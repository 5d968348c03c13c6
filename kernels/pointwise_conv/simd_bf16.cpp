// The product of simd.cpp in bfloat16 (common/simd_pairs.h): half the bytes of every activation, and where the
// processor has vdpbf16ps twice the multiply-adds an instruction. A task brings its rows of the operand, activated or
// as they are, into a copy in pairs; what it stores is rounded, and statistics and sums are of the values as stored.
#include "kernels/common/simd_norm.h"
#include "kernels/common/simd_pairs.h"
#include "kernels/pointwise_conv/pointwise_conv.h"

namespace kernels::cpu::SIMD_LEVEL {
namespace {

constexpr int64_t most_channels = 1024, most_rows = ProductTasks::most_rows;
constexpr int64_t weight_block = 128;  // rows that the weight gradient takes at a time

// Pairs from one row of a copy to the next: an odd number of vectors (see padded()).
int64_t pitch(int64_t channels) { return padded(pairs_of(channels)); }
constexpr int64_t copy_pairs = most_rows * (most_channels / 2 + 2 * lanes);

struct Plan {
  SplitProduct weight;
  int64_t packed, partials, parts, row_blocks;  // pairs, doubles, floats
  explicit Plan(const PointwiseConvShape& s) : weight(s.out_channels, s.in_channels, s.rows, weight_block) {
    const int64_t C = s.in_channels, O = s.out_channels;
    row_blocks = ProductTasks(s.rows, O).row_blocks;  // whatever the columns
    packed = round_up(larger(packed_pairs(C, O), packed_pairs(O, C)), lanes);
    partials = round_up(2 * row_blocks * larger(C, O), lanes);
    parts = weight.splits * O * panels(C) * tile_columns;
  }
  size_t bytes() const { return 8 * static_cast<size_t>(partials) + 4 * static_cast<size_t>(packed + parts); }
  double* partials_of(const Context& context) const { return static_cast<double*>(context.workspace); }
  Pair* packed_of(const Context& context) const { return reinterpret_cast<Pair*>(partials_of(context) + partials); }
  float* parts_of(const Context& context) const { return reinterpret_cast<float*>(packed_of(context) + packed); }
};

// c (M, columns) = A (M, depth) · B, B packed. prepare(row, rows, to) writes those rows of A to `to`, rows of
// 2 · pitch(depth) elements, 0 behind the last up to a whole vector. epilogue(row, rows, begin, end, block) follows
// when c's columns [begin, end) of those rows, the block-th, are stored; `change` first sees each vector.
template <class Prepare, class Change, class Epilogue>
void multiply(const Context& context, int64_t M, int64_t depth, int64_t columns, const Pair* packed, Bf16* c,
              const Prepare& prepare, const Change& change, const Epilogue& epilogue) {
  const ProductTasks tasks(M, columns);
  parallel_for(context, tasks.count(), [=](int64_t task) {
    alignas(64) Pair a[copy_pairs];
    alignas(64) float product[most_rows * tile_columns];
    const int64_t row = tasks.row(task), rows = smaller(tasks.rows, M - row), lda = pitch(depth);
    const int64_t begin = tasks.first_column(task), end = smaller(columns, tasks.end_column(task));
    prepare(row, rows, reinterpret_cast<Bf16*>(a));
    for (int64_t first = begin; first < end; first += tile_columns) {
      multiply_pairs<Order::rows>(rows, pairs_of(depth), a, lda, packed + first * pairs_of(depth), product,
                                  tile_columns, false);
      for (int64_t m = 0; m < rows; ++m)
        kernels::cpu::SIMD_LEVEL::columns(smaller(tile_columns, end - first), [&](auto v, int64_t j) {
          Vector value;
          Wide::load(value, product + m * tile_columns + j);
          change(v, value, first + j);
          v.store(c + (row + m) * columns + first + j, value);
        });
    }
    epilogue(row, rows, begin, end, row / tasks.rows);
  });
}

constexpr auto as_it_is = [](auto, Vector&, int64_t) {};
constexpr auto nothing = [](int64_t, int64_t, int64_t, int64_t, int64_t) {};

// Rows of x (M, C) as they are.
auto copy_of(const Bf16* x, int64_t C) {
  return [=](int64_t row, int64_t rows, Bf16* to) {
    for (int64_t m = 0; m < rows; ++m)
      columns(C, [=](auto v, int64_t c) {
        Vector value;
        v.load(value, x + (row + m) * C + c);
        Wide::store(to + m * 2 * pitch(C) + c, value);
      });
  };
}

void forward(Context& context, const PointwiseConvShape& s, const Bf16* x, const float* w, Bf16* y) {
  const int64_t C = s.in_channels, O = s.out_channels;
  auto* const packed = static_cast<Pair*>(context.workspace);
  pack_pairs(context, Order::transposed, C, O, w, C, packed);
  multiply(context, s.rows, C, O, packed, y, copy_of(x, C), as_it_is, nothing);
}

void backward_data(Context& context, const PointwiseConvShape& s, const Bf16* dy, const float* w, Bf16* dx) {
  const int64_t C = s.in_channels, O = s.out_channels;
  auto* const packed = static_cast<Pair*>(context.workspace);
  pack_pairs(context, Order::rows, O, C, w, C, packed);
  multiply(context, s.rows, O, C, packed, dx, copy_of(dy, O), as_it_is, nothing);
}

// dw (O, C) = Aᵀ · B over all rows; load_a and load_b(v, vector, row, channel) give A (M, O) and B (M, C).
template <class LoadA, class LoadB>
void multiply_weight(const Context& context, const PointwiseConvShape& s, const LoadA& load_a, const LoadB& load_b,
                     float* dw) {
  const Plan plan(s);
  const SplitProduct p = plan.weight;
  const int64_t C = s.in_channels, O = s.out_channels, ldc = panels(C) * tile_columns;
  float* const parts = plan.parts_of(context);  // (splits, O, ldc)
  parallel_for(context, p.splits * p.groups, [=](int64_t task) {
    alignas(64) Pair a[weight_block / 2 * (most_channels + lanes)], panel[weight_block / 2 * tile_columns];
    const int64_t split = task / p.groups, begin = task % p.groups * p.group, from = split * p.part;
    const int64_t end = smaller(p.depth, from + p.part), lda = round_up(O, lanes);
    for (int64_t k = from; k < end; k += p.block) {
      const int64_t depth = smaller(p.block, end - k);
      pair_rows(
          depth, O, [=](auto v, Vector& to, int64_t m, int64_t c) { load_a(v, to, k + m, c); }, lda, a);
      for (int64_t i = begin; i < smaller(begin + p.group, panels(C)); ++i) {
        const int64_t first = i * tile_columns, count = smaller(tile_columns, C - first);
        if (count <= lanes)
          for (int64_t j = 0; j < pairs_of(depth) * tile_columns; ++j) panel[j] = 0;
        pair_rows(
            depth, count, [=](auto v, Vector& to, int64_t m, int64_t c) { load_b(v, to, k + m, first + c); },
            tile_columns, panel);
        multiply_pairs<Order::transposed>(O, pairs_of(depth), a, lda, panel, parts + split * O * ldc + first, ldc,
                                          k > from);
      }
    }
  });
  parallel_for(context, O, [=](int64_t o) {
    columns(C, [=](auto v, int64_t c) {
      Vector sum, next;
      Wide::load(sum, parts + o * ldc + c);
      for (int64_t split = 1; split < p.splits; ++split) {
        Wide::load(next, parts + (split * O + o) * ldc + c);
        sum += next;
      }
      v.store(dw + o * C + c, sum);
    });
  });
}

void backward_weight(Context& context, const PointwiseConvShape& s, const Bf16* x, const Bf16* dy, float* dw) {
  const int64_t C = s.in_channels, O = s.out_channels;
  multiply_weight(
      context, s, [=](auto v, Vector& to, int64_t m, int64_t c) { v.load(to, dy + m * O + c); },
      [=](auto v, Vector& to, int64_t m, int64_t c) { v.load(to, x + m * C + c); }, dw);
}

size_t packed_bytes(const PointwiseConvShape& s) {
  return 4 * static_cast<size_t>(packed_pairs(s.in_channels, s.out_channels));
}

void pack_weights(Context& context, const PointwiseConvShape& s, const float* w, void* packed) {
  pack_pairs(context, Order::transposed, s.in_channels, s.out_channels, w, s.in_channels, static_cast<Pair*>(packed));
}

void forward_packed(Context& context, const PointwiseConvShape& s, const Bf16* x, const void* weights,
                    const float* bias, Bf16* y) {
  const int64_t C = s.in_channels, O = s.out_channels;
  const auto fold = [=](auto, Vector& y, int64_t c) { Fold(bias + c, smaller(lanes, O - c))(y, 0); };
  multiply(context, s.rows, C, O, static_cast<const Pair*>(weights), y, copy_of(x, C), fold, nothing);
}

void forward_folded(Context& context, const PointwiseConvShape& s, const Bf16* x, const float* w, const float* bias,
                    Bf16* y) {
  pack_weights(context, s, w, context.workspace);
  forward_packed(context, s, x, context.workspace, bias, y);
}

void forward_fused(Context& context, const PointwiseConvShape& s, const Bf16* x, const FusedNorm& norm_x,
                   const float* w, Bf16* z, const FusedNorm& norm_z) {
  if (s.rows < 2) fail(one_value);
  const Plan plan(s);
  const int64_t C = s.in_channels, O = s.out_channels;
  double* const partials = plan.partials_of(context);
  Pair* const packed = plan.packed_of(context);
  pack_pairs(context, Order::transposed, C, O, w, C, packed);
  multiply(
      context, s.rows, C, O, packed, z,
      [=](int64_t row, int64_t rows, Bf16* to) { activate_rows(norm_x, rows, 0, C, C, x + row * C, 2 * pitch(C), to); },
      as_it_is,
      [=](int64_t row, int64_t rows, int64_t begin, int64_t end, int64_t block) {
        double* const sums = partials + block * 2 * O;
        set_zero(sums + begin, end - begin);
        set_zero(sums + O + begin, end - begin);
        add_statistics(rows, begin, end, O, z + row * O, z + row * O, sums);
      });
  finish_statistics(context, {s.rows, ProductTasks(s.rows, O).rows}, O, z, partials, norm_z);
}

void backward_fused(Context& context, const PointwiseConvShape& s, const Bf16* x, const FusedNorm& norm_x,
                    const float* w, const Bf16* z, const FusedNorm& norm_z, const Bf16* du_z, Bf16* du_x, float* dw) {
  const Plan plan(s);
  const int64_t C = s.in_channels, O = s.out_channels;
  double* const partials = plan.partials_of(context);
  Pair* const packed = plan.packed_of(context);
  multiply_weight(
      context, s,
      [=](auto v, Vector& to, int64_t m, int64_t c) {
        Vector value;
        v.load(value, z + m * O + c);
        v.load(to, du_z + m * O + c);
        GradientFactors(v, norm_z, c).pass(value, to);
      },
      [=](auto v, Vector& to, int64_t m, int64_t c) {
        v.load(to, x + m * C + c);
        Factors(v, norm_x, c).activate(to);
      },
      dw);
  pack_pairs(context, Order::rows, O, C, w, C, packed);
  multiply(
      context, s.rows, O, C, packed, du_x,
      [=](int64_t row, int64_t rows, Bf16* to) {
        gradient_rows(norm_z, rows, 0, O, O, z + row * O, du_z + row * O, 2 * pitch(O), to);
      },
      as_it_is,
      [=](int64_t row, int64_t rows, int64_t begin, int64_t end, int64_t block) {
        double* const sums = partials + block * 2 * C;
        set_zero(sums + begin, end - begin);
        set_zero(sums + C + begin, end - begin);
        mask_rows(norm_x, rows, begin, end, C, x + row * C, du_x + row * C, sums);
      });
  finish_gradients(context, s.rows, plan.row_blocks, C, partials, norm_x);
}

}  // namespace

template <>
const PointwiseConvOf<Bf16>& simd_row<PointwiseConvOf<Bf16>>() {
  static constexpr PointwiseConvOf<Bf16> row = {
      .name = "simd",
      .idea = "two steps of the product at a time, in bfloat16",
      .provider = Provider::vendor,
      .supports =
          [](const PointwiseConvShape& s) { return s.in_channels <= most_channels && s.out_channels <= most_channels; },
      .workspace = [](const PointwiseConvShape& s) { return Plan(s).bytes(); },
      .forward = forward,
      .backward_data = backward_data,
      .backward_weight = backward_weight,
      .forward_fused = forward_fused,
      .backward_fused = backward_fused,
      .forward_folded = forward_folded,
      .packed_bytes = packed_bytes,
      .pack = pack_weights,
      .forward_packed = forward_packed,
      .precision = Precision::bf16,
  };
  return row;
}

}  // namespace kernels::cpu::SIMD_LEVEL
