// The matrix product on vectors (common/simd_product.h): a tile of y in registers, the weights packed. The fused passes
// rebuild a and dz block by block where a task is about to read them, and sum over what a task has just written.
#include "kernels/common/simd_norm.h"
#include "kernels/common/simd_product.h"
#include "kernels/pointwise_conv/pointwise_conv.h"

namespace kernels::cpu::SIMD_LEVEL {
namespace {

// Of a task that keeps what it is about to read, beside what it writes, in its level 2 cache.
constexpr int64_t few_rows = 48;

// Floats of a task's own copy of some rows of one operand: with 48 rows, up to 1024 channels.
constexpr int64_t operand_floats = few_rows * (1024 + lanes);

// Where rows alone make so many tasks, each makes the a or dz of its own rows; else several read the same rows, which
// are made in a launch before.
constexpr int64_t fused_tasks = 16;

// Rows of `channels` channels that fit, in whole tiles where that is possible.
int64_t operand_rows(int64_t channels) {
  const int64_t rows = smaller(few_rows, operand_floats / padded(channels));
  return rows < tile_rows ? rows : rows / tile_rows * tile_rows;
}

// The fused backward pass needs dz and a for two products. Where a product C · O is small, a task takes a part of the
// rows, and of these 96 at a time: dz and a stay in its level 2 cache, and so does its sum of the weight gradient. Else
// the data gradient comes first, of many rows, and its tasks leave dz and a for the weight gradient.
struct BackwardPlan {
  static constexpr int64_t data_rows = few_rows;  // of a task of the data gradient, which makes its dz
  bool walk;
  int64_t rows, blocks, splits;  // walk: rows of a block, tasks
  int64_t many;                  // else: rows at a time
  int64_t row_blocks;            // of the data gradient, each with sums
  int64_t dz, a;                 // else: floats
  static constexpr int64_t most_product = 1 << 16, many_floats = 1 << 22, walk_floats = ProductTasks::most_rows * 1280;
  explicit BackwardPlan(const PointwiseConvShape& s) : rows(ProductTasks::most_rows) {
    const int64_t C = s.in_channels, O = s.out_channels;
    const int64_t block_floats = rows * (padded(O) + round_up(C, tile_columns));
    walk = C * O <= most_product && block_floats <= walk_floats;
    blocks = ceil_div(s.rows, rows);
    splits = smaller(smaller(64, blocks), larger(1, SplitProduct::partial_floats / (C * O)));
    many = smaller(larger(1, many_floats / block_floats), blocks) * rows;
    row_blocks = walk ? splits : s.rows / many * data_tasks(s, many).row_blocks;
    if (!walk && s.rows % many > 0) row_blocks += data_tasks(s, s.rows % many).row_blocks;
    dz = walk ? 0 : many * padded(O);
    a = walk ? 0 : many * round_up(C, tile_columns);
  }
  static ProductTasks data_tasks(const PointwiseConvShape& s, int64_t rows) {
    return ProductTasks(rows, s.in_channels, data_rows, fused_tasks);
  }
  int64_t first_row(int64_t split) const { return blocks * split / splits * rows; }
};

// How the passes are cut into tasks, and where in the workspace things lie. The plain passes take only `packed` and
// `parts`, each from the workspace's start.
struct Plan {
  ProductTasks forward;
  SplitProduct weight;
  BackwardPlan backward;
  int64_t packed, partials, parts;  // floats, doubles, floats
  explicit Plan(const PointwiseConvShape& s)
      : forward(s.rows, s.out_channels, operand_rows(s.in_channels), fused_tasks),
        weight(s.out_channels, s.in_channels, s.rows),
        backward(s) {
    const int64_t C = s.in_channels, O = s.out_channels;
    packed = round_up(larger(packed_size(C, O), packed_size(O, C)), lanes);
    partials = round_up(2 * larger(backward.row_blocks * C, forward.row_blocks * O), lanes);
    const int64_t of_forward = forward.column_groups > 1 ? s.rows * padded(C) : 0;
    const int64_t of_walk = backward.walk ? backward.splits * C * O : 0;
    parts = larger(larger(weight.partial_size(), of_forward), larger(of_walk, backward.dz + backward.a));
  }
  size_t bytes() const { return 8 * static_cast<size_t>(partials) + 4 * static_cast<size_t>(packed + parts); }
  double* partials_of(const Context& context) const { return static_cast<double*>(context.workspace); }
  float* packed_of(const Context& context) const { return reinterpret_cast<float*>(partials_of(context) + partials); }
  float* parts_of(const Context& context) const { return packed_of(context) + packed; }
};

void forward(Context& context, const PointwiseConvShape& s, const float* x, const float* w, float* y) {
  auto* packed = static_cast<float*>(context.workspace);
  pack(context, Order::transposed, s.in_channels, s.out_channels, w, s.in_channels, packed);
  multiply(context, s.rows, s.in_channels, s.out_channels, x, packed, y);
}

void backward_data(Context& context, const PointwiseConvShape& s, const float* dy, const float* w, float* dx) {
  auto* packed = static_cast<float*>(context.workspace);
  pack(context, Order::rows, s.out_channels, s.in_channels, w, s.in_channels, packed);
  multiply(context, s.rows, s.out_channels, s.in_channels, dy, packed, dx);
}

void backward_weight(Context& context, const PointwiseConvShape& s, const float* x, const float* dy, float* dw) {
  const int64_t C = s.in_channels, O = s.out_channels;
  multiply_transposed<1>(
      context, Plan(s).weight, static_cast<float*>(context.workspace),
      [=](int64_t k, int64_t, float*) {
        return Rows{dy + k * O, O};
      },
      [=](int64_t k, int64_t depth, int64_t first, int64_t columns, float* panel) {
        pack_panel(Order::rows, depth, columns, x + k * C + first, C, panel);
      },
      dw);
}

size_t packed_bytes(const PointwiseConvShape& s) { return 4 * packed_size(s.in_channels, s.out_channels); }

void pack_weights(Context& context, const PointwiseConvShape& s, const float* w, void* packed) {
  pack(context, Order::transposed, s.in_channels, s.out_channels, w, s.in_channels, static_cast<float*>(packed));
}

void forward_packed(Context& context, const PointwiseConvShape& s, const float* x, const void* weights,
                    const float* bias, float* y) {
  multiply(context, s.rows, s.in_channels, s.out_channels, x, static_cast<const float*>(weights), y,
           [=](int64_t first, int64_t count) { return Fold(bias + first, count); });
}

void forward_folded(Context& context, const PointwiseConvShape& s, const float* x, const float* w, const float* bias,
                    float* y) {
  pack_weights(context, s, w, context.workspace);
  forward_packed(context, s, x, context.workspace, bias, y);
}

constexpr int64_t row_piece = 32;  // rows that a task takes of what is made before a product

// panel (rows, tile_columns) = a(x) of the channels [first, first + count), the rest 0.
void activate_panel(const FusedNorm& norm, int64_t rows, int64_t first, int64_t count, int64_t C, const float* x,
                    float* panel) {
  if (count <= lanes)
    for (int64_t m = 0; m < rows; ++m) Wide::store(panel + m * tile_columns + lanes, Vector{});
  activate_rows(norm, rows, first, first + count, C, x, tile_columns, panel);
}

void forward_fused(Context& context, const PointwiseConvShape& s, const float* x, const FusedNorm& norm_x,
                   const float* w, float* z, const FusedNorm& norm_z) {
  if (s.rows < 2) fail(one_value);
  const Plan plan(s);
  const int64_t C = s.in_channels, O = s.out_channels, M = s.rows, lda = padded(C);
  double* const partials = plan.partials_of(context);
  float *const packed = plan.packed_of(context), *const activations = plan.parts_of(context);
  const ProductTasks tasks = plan.forward;
  const bool before = tasks.column_groups > 1;  // a is made before the product
  pack(context, Order::transposed, C, O, w, C, packed);
  if (before)
    parallel_pieces(context, M, row_piece, [=](int64_t begin, int64_t end) {
      activate_rows(norm_x, end - begin, 0, C, C, x + begin * C, lda, activations + begin * lda);
    });
  // A task takes so many blocks one after the other that it can bring the next one into the cache.
  const int64_t blocks = before ? 1 : ceil_div(tasks.row_blocks, 128);
  const int64_t part = ceil_div(M, fair_count(ceil_div(tasks.row_blocks, blocks))), height = ceil_div(part, blocks);
  parallel_for(context, ceil_div(M, part) * tasks.column_groups, [=](int64_t task) {
    alignas(64) float buffer[operand_floats];
    const int64_t from = task / tasks.column_groups * part, to = smaller(M, from + part);
    const int64_t begin = tasks.first_column(task), end = smaller(O, tasks.end_column(task));
    double* const sums = partials + task / tasks.column_groups * 2 * O;
    set_zero(sums + begin, end - begin);
    set_zero(sums + O + begin, end - begin);
    for (int64_t row = from; row < to; row += height) {
      const int64_t rows = smaller(height, to - row), next = row + rows;
      Ahead ahead;
      if (next < M && !before) {
        const int64_t coming = smaller(height, M - next);
        ahead.add(x + next * C, coming * C);
        ahead.add(z + next * O, coming * O);
        ahead.spread(tiles(rows) * panels(end - begin) * C);
      }
      if (!before) activate_rows(norm_x, rows, 0, C, C, x + row * C, lda, buffer);
      multiply_columns(rows, C, begin, end, before ? activations + row * lda : buffer, lda, packed, z + row * O, O,
                       ahead);
      add_statistics(rows, begin, end, O, z + row * O, z + from * O, sums);
    }
  });
  finish_statistics(context, {M, part}, O, z, partials, norm_z);
}

void backward_walk(Context& context, const PointwiseConvShape& s, const float* x, const FusedNorm& norm_x,
                   const float* z, const FusedNorm& norm_z, const float* du_z, float* du_x, float* dw) {
  const Plan plan(s);
  const BackwardPlan p = plan.backward;
  const int64_t C = s.in_channels, O = s.out_channels, M = s.rows, ldz = padded(O);
  double* const partials = plan.partials_of(context);
  const float* const packed = plan.packed_of(context);
  float* const parts = p.splits > 1 ? plan.parts_of(context) : dw;
  parallel_for(context, p.splits, [=](int64_t split) {
    alignas(64) float dz[BackwardPlan::walk_floats];
    float *const a = dz + p.rows * ldz, *const part = parts + split * C * O;  // a: panels (rows, tile_columns)
    double* const sums = partials + split * 2 * C;
    set_zero(sums, 2 * C);
    const int64_t begin = p.first_row(split), end = smaller(M, p.first_row(split + 1));
    for (int64_t row = begin; row < end; row += p.rows) {
      const int64_t rows = smaller(p.rows, M - row), next = row + rows;
      Ahead ahead;
      if (next < M) {
        const int64_t coming = smaller(p.rows, M - next);
        ahead.add(z + next * O, coming * O);
        ahead.add(du_z + next * O, coming * O);
        ahead.add(x + next * C, coming * C);
        ahead.add(du_x + next * C, coming * C);
        ahead.spread(panels(C) * (tiles(O) * rows + tiles(rows) * O));
      }
      gradient_rows(norm_z, rows, 0, O, O, z + row * O, du_z + row * O, ldz, dz);
      for (int64_t first = 0; first < C; first += tile_columns) {
        float* const panel = a + first * p.rows;
        const int64_t count = smaller(tile_columns, C - first);
        activate_panel(norm_x, rows, first, count, C, x + row * C, panel);
        multiply_panel<Order::transposed>(O, rows, dz, ldz, panel, part + first, C, count, row > begin, ahead);
      }
      multiply_columns(rows, O, 0, C, dz, ldz, packed, du_x + row * C, C, ahead);
      mask_rows(norm_x, rows, 0, C, C, x + row * C, du_x + row * C, sums);
    }
  });
  if (p.splits > 1) add_parts(context, p.splits, C * O, parts, dw);
}

void backward_of_many(Context& context, const PointwiseConvShape& s, const float* x, const FusedNorm& norm_x,
                      const float* z, const FusedNorm& norm_z, const float* du_z, float* du_x, float* dw) {
  const Plan plan(s);
  const int64_t C = s.in_channels, O = s.out_channels, ldz = padded(O), many = plan.backward.many;
  const float* const packed = plan.packed_of(context);
  // dz (many, ldz); a: panels (many, tile_columns)
  float *const dz = plan.parts_of(context), *const a = dz + plan.backward.dz;
  double* partials = plan.partials_of(context);
  for (int64_t start = 0; start < s.rows; start += many) {
    const int64_t M = smaller(many, s.rows - start);
    const ProductTasks tasks = BackwardPlan::data_tasks(s, M);
    const bool before = tasks.column_groups > 1;
    if (before)
      parallel_pieces(context, M, row_piece, [=](int64_t begin, int64_t end) {
        const int64_t row = start + begin;
        gradient_rows(norm_z, end - begin, 0, O, O, z + row * O, du_z + row * O, ldz, dz + begin * ldz);
      });
    parallel_for(context, tasks.count(), [=](int64_t i) {
      const int64_t block = tasks.row(i), rows = smaller(tasks.rows, M - block), row = start + block;
      const int64_t begin = tasks.first_column(i), end = smaller(C, tasks.end_column(i)), next = block + rows;
      Ahead ahead;
      if (!before) {
        ahead.add(x + row * C, rows * C);
        if (next < M) {
          const int64_t coming = smaller(tasks.rows, M - next);
          ahead.add(z + (start + next) * O, coming * O);
          ahead.add(du_z + (start + next) * O, coming * O);
          ahead.add(dz + next * ldz, coming * ldz);
          ahead.add(du_x + (start + next) * C, coming * C);
        }
        ahead.spread(tiles(rows) * panels(C) * O);
        gradient_rows(norm_z, rows, 0, O, O, z + row * O, du_z + row * O, ldz, dz + block * ldz);
      }
      multiply_columns(rows, O, begin, end, dz + block * ldz, ldz, packed, du_x + row * C, C, ahead);
      double* const sums = partials + i / tasks.column_groups * 2 * C;
      set_zero(sums + begin, end - begin);
      set_zero(sums + C + begin, end - begin);
      mask_rows(norm_x, rows, begin, end, C, x + row * C, du_x + row * C, sums);
      for (int64_t first = begin; first < end; first += tile_columns)
        activate_panel(norm_x, rows, first, smaller(tile_columns, end - first), C, x + row * C,
                       a + first * many + block * tile_columns);
    });
    partials += tasks.row_blocks * 2 * C;
    // The weight gradient's tasks: up to 132 rows of it, which are whole tiles, by 4 panels.
    constexpr int64_t wide = 4 * tile_columns, depth = 512;
    const int64_t down = ceil_div(O, 132), across = ceil_div(C, wide);
    parallel_for(context, down * across, [=](int64_t task) {
      const int64_t o = task / across * O / down, tall = (task / across + 1) * O / down - o,
                    begin = task % across * wide, end = smaller(C, begin + wide);
      for (int64_t k = 0; k < M; k += depth)
        for (int64_t first = begin; first < end; first += tile_columns) {
          Ahead ahead;
          const bool last = first + tile_columns >= end;
          const int64_t next_k = last ? k + depth : k, next_first = last ? begin : first + tile_columns;
          if (next_k < M) {
            const int64_t floats = smaller(depth, M - next_k) * tile_columns;
            ahead.panel = Ahead::piece(a + next_first * many + next_k * tile_columns, floats, tiles(tall) * depth);
          }
          multiply_panel<Order::transposed>(tall, smaller(depth, M - k), dz + k * ldz + o, ldz,
                                            a + first * many + k * tile_columns, dw + o * C + first, C,
                                            smaller(tile_columns, C - first), start + k > 0, ahead);
        }
    });
  }
}

void backward_fused(Context& context, const PointwiseConvShape& s, const float* x, const FusedNorm& norm_x,
                    const float* w, const float* z, const FusedNorm& norm_z, const float* du_z, float* du_x,
                    float* dw) {
  const Plan plan(s);
  pack(context, Order::rows, s.out_channels, s.in_channels, w, s.in_channels, plan.packed_of(context));
  (plan.backward.walk ? backward_walk : backward_of_many)(context, s, x, norm_x, z, norm_z, du_z, du_x, dw);
  finish_gradients(context, s.rows, plan.backward.row_blocks, s.in_channels, plan.partials_of(context), norm_x);
}

}  // namespace

template <>
const PointwiseConv& simd_row<PointwiseConv>() {
  static constexpr PointwiseConv row = {
      .name = "simd",
      .idea = "a tile of the product in vector registers, the weights packed",
      .provider = Provider::vendor,
      .supports = [](const PointwiseConvShape& s) { return padded(s.in_channels) <= operand_floats; },
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
  };
  return row;
}

}  // namespace kernels::cpu::SIMD_LEVEL
