// The matrix product on vectors (common/simd_product.h): a tile of y in registers, the weights packed. The fused passes
// rebuild a and dz block by block where a task is about to read them, and sum over what a task has just written. In
// bfloat16 (common/simd_pairs.h) there are half the bytes of every activation, and where the processor has vdpbf16ps
// twice the multiply-adds an instruction; sums are fp32, and statistics are of the values as stored.
#include "kernels/pointwise_conv/pointwise_conv.h"
#include "kernels/pointwise_conv/simd_tiles.h"

namespace kernels::cpu::SIMD_LEVEL {
namespace {

// What the product takes of an operand that lies in memory as rows of T.
template <class T>
using UnitOf = typename std::conditional<sizeof(T) == sizeof(float), float, Pair>::type;

// Of a task that keeps what it is about to read, beside what it writes, in its level 2 cache.
template <class Unit>
constexpr int64_t few_rows = on_matrix_unit<Unit> ? 64 : 48;

// Units of a task's own copy of some rows of one operand: with 48 rows, up to 1024 floats.
constexpr int64_t operand_units = 48 * (1024 + lanes);
// Of a task's copy of some rows in pairs down the columns: up to 1024 of them.
constexpr int64_t column_units = SplitProduct::block / 2 * (1024 + lanes);

// Where rows alone make so many tasks, each makes the a or dz of its own rows; else several read the same rows, which
// are made in a launch before.
constexpr int64_t fused_tasks = 16;

constexpr int64_t row_piece = 32;  // rows that a task takes of what is made before a product

// Rows of `row_units` units that fit, in whole tiles where that is possible; even.
template <class Unit>
int64_t operand_rows(int64_t row_units) {
  constexpr int64_t whole = on_matrix_unit<Unit> ? tile_height<Unit> : 2 * tile_rows;
  const int64_t rows = smaller(few_rows<Unit>, operand_units / padded(row_units));
  return rows < whole ? rows / 2 * 2 : rows / whole * whole;
}

// The fused backward pass needs dz and a for two products. Where a product C · O is small, a task takes a part of the
// rows, and of these some at a time: dz and a stay in its level 2 cache, and so does its sum of the weight gradient.
// Else the data gradient comes first, of many rows, and its tasks leave dz and a for the weight gradient.
//
// The data gradient reads dz (rows, ldz), the weight gradient reads its columns: in pairs these are other units, `down`
// (row pairs, ldd). Floats are the same, and `down` is dz.
template <class T>
struct BackwardPlan {
  typedef UnitOf<T> Unit;
  static constexpr bool pairs = unit_depth<Unit> == 2;
  bool walk;
  int64_t ldz, ldd;              // units
  int64_t rows, blocks, splits;  // walk: rows of a block, tasks
  int64_t many;                  // else: rows at a time
  int64_t row_blocks;            // of the data gradient, each with sums
  static constexpr int64_t most_product = 1 << 16, many_units = 1 << 22, walk_units = ProductTasks::most_rows * 1280;
  // Of a level 2 cache of 1 MiB, or of the 2 MiB that processors with a matrix unit have.
  static constexpr int64_t cache_units = (on_matrix_unit<Unit> ? 300 : 184) << 10;
  explicit BackwardPlan(const PointwiseConvShape& s)
      : ldz(padded(units<Unit>(s.out_channels))), ldd(padded(s.out_channels)) {
    const int64_t C = s.in_channels, O = s.out_channels;
    rows = walk_rows(C, O);
    walk = C * O <= most_product && block_units(C, rows) <= walk_units;
    if (!walk) rows = ProductTasks::most_rows * unit_depth<Unit>;
    blocks = ceil_div(s.rows, rows);
    splits = smaller(smaller(64, blocks), larger(1, SplitProduct::partial_floats / (C * O)));
    many = smaller(larger(1, many_units / block_units(C, rows)), blocks) * rows;
    row_blocks = walk ? splits : s.rows / many * data_tasks(s, many).row_blocks;
    if (!walk && s.rows % many > 0) row_blocks += data_tasks(s, s.rows % many).row_blocks;
  }
  int64_t dz_units(int64_t rows) const { return rows * ldz; }
  static int64_t deep(int64_t rows) { return round_up(units<Unit>(rows), depth_step<Unit>); }
  int64_t down_units(int64_t rows) const { return pairs ? deep(rows) * ldd : 0; }
  static int64_t a_units(int64_t C, int64_t rows) { return deep(rows) * round_up(C, tile_columns); }
  int64_t block_units(int64_t C, int64_t rows) const { return dz_units(rows) + down_units(rows) + a_units(C, rows); }
  // Rows, whole tiles, with which that cache holds the part of the weight gradient, the block that is
  // multiplied and the one that comes: z and du_z twice, dz, a, x and du_x twice.
  static int64_t walk_rows(int64_t C, int64_t O) {
    const int64_t fit = (cache_units - C * O) / (5 * O + 5 * C);
    constexpr int64_t most = on_matrix_unit<Unit> ? 144 : ProductTasks::most_rows;
    const int64_t rows = larger(12, smaller(most, fit / 12 * 12)) * unit_depth<Unit>;
    return on_matrix_unit<Unit> ? round_up(rows, row_step<Unit>) : rows;
  }
  // Of few rows, fewer for each task, so that a task can make its own dz.
  static ProductTasks data_tasks(const PointwiseConvShape& s, int64_t rows) {
    constexpr int64_t step = row_step<Unit>, most = few_rows<Unit>;
    const int64_t at_most =
        on_matrix_unit<Unit> ? most : smaller(most, larger(most / 2, ceil_div(rows, step * fused_tasks) * step));
    return ProductTasks(rows, s.in_channels, step, at_most, fused_tasks);
  }
  int64_t first_row(int64_t split) const { return blocks * split / splits * rows; }
};

// How the passes are cut into tasks, and where in the workspace things lie. The plain passes take only `packed` and
// `parts`, from the workspace's start.
template <class T>
struct Plan {
  typedef UnitOf<T> Unit;
  ProductTasks forward;
  SplitProduct weight;
  BackwardPlan<T> backward;
  int64_t packed, partials, parts;  // units, doubles, units or floats
  explicit Plan(const PointwiseConvShape& s)
      : forward(forward_tasks(s)), weight(s.out_channels, s.in_channels, s.rows), backward(s) {
    const int64_t C = s.in_channels, O = s.out_channels;
    packed = round_up(larger(packed_size(units<Unit>(C), O), packed_size(units<Unit>(O), C)), lanes);
    partials = round_up(2 * larger(backward.row_blocks * C, forward.row_blocks * O), lanes);
    const int64_t of_forward = forward.column_groups > 1 ? s.rows * padded(units<Unit>(C)) : 0;
    const int64_t of_backward = backward.walk ? backward.splits * C * O : backward.block_units(C, backward.many);
    const int64_t of_copies = larger(copied(C), copied(O)) * s.rows;
    parts = larger(larger(weight.partial_size(), of_copies), larger(of_forward, of_backward));
  }
  // Units of a row of so many channels that is copied for the plain passes.
  static int64_t copied(int64_t channels) {
    return channels % unit_depth<Unit> == 0 ? 0 : padded(units<Unit>(channels));
  }
  static ProductTasks forward_tasks(const PointwiseConvShape& s) {
    const int64_t at_most = operand_rows<Unit>(units<Unit>(s.in_channels));
    return {s.rows, s.out_channels, smaller(row_step<Unit>, at_most), at_most, fused_tasks};
  }
  size_t bytes() const { return 8 * static_cast<size_t>(partials) + 4 * static_cast<size_t>(packed + parts); }
  double* partials_of(const Context& context) const { return static_cast<double*>(context.workspace); }
  Unit* packed_of(const Context& context) const { return reinterpret_cast<Unit*>(partials_of(context) + partials); }
  Unit* parts_of(const Context& context) const { return packed_of(context) + packed; }
  float* sums_of(const Context& context) const {  // the same, as floats
    return reinterpret_cast<float*>(partials_of(context) + partials) + packed;
  }
};

// x (M, C) in units: as it lies there, or, where the last unit of a row would be half of the next row's, in `copy`.
template <class T>
Rows<UnitOf<T>> rows_of(const Context& context, int64_t M, int64_t C, const T* x, UnitOf<T>* copy) {
  const int64_t stride = Plan<T>::copied(C);
  if (stride == 0) return {reinterpret_cast<const UnitOf<T>*>(x), units<UnitOf<T>>(C)};
  parallel_pieces(context, M, row_piece, [=](int64_t begin, int64_t end) {
    for (int64_t m = begin; m < end; ++m)
      columns(C, [=](auto v, int64_t c) {
        Vector value;
        v.load(value, x + m * C + c);
        Wide::store_normal(reinterpret_cast<T*>(copy + m * stride) + c, value);
      });
  });
  return {copy, stride};
}

// y (M, columns) = x (M, depth) · B, B packed in `packed`. What x may need to be copied to follows the plan's `packed`
// units from the workspace's start.
template <class T, class Finish = decltype(unchanged)>
void multiply_rows(Context& context, const PointwiseConvShape& s, int64_t depth, int64_t columns, const T* x,
                   const UnitOf<T>* packed, T* y, const Finish& finish = unchanged) {
  auto* const copy = static_cast<UnitOf<T>*>(context.workspace) + Plan<T>(s).packed;
  const Rows<UnitOf<T>> a = rows_of(context, s.rows, depth, x, copy);
  multiply(context, s.rows, units<UnitOf<T>>(depth), columns, a.first, a.stride, packed, y, finish);
}

template <class T>
void forward(Context& context, const PointwiseConvShape& s, const T* x, const float* w, T* y) {
  auto* packed = static_cast<UnitOf<T>*>(context.workspace);
  pack(context, Order::transposed, s.in_channels, s.out_channels, w, s.in_channels, packed);
  multiply_rows(context, s, s.in_channels, s.out_channels, x, packed, y);
}

template <class T>
void backward_data(Context& context, const PointwiseConvShape& s, const T* dy, const float* w, T* dx) {
  auto* packed = static_cast<UnitOf<T>*>(context.workspace);
  pack(context, Order::rows, s.out_channels, s.in_channels, w, s.in_channels, packed);
  multiply_rows(context, s, s.out_channels, s.in_channels, dy, packed, dx);
}

void backward_weight(Context& context, const PointwiseConvShape& s, const float* x, const float* dy, float* dw) {
  const int64_t C = s.in_channels, O = s.out_channels;
  multiply_transposed<float, 1>(
      context, SplitProduct(O, C, s.rows), static_cast<float*>(context.workspace),
      [=](int64_t k, int64_t, float*) {
        return Rows<float>{dy + k * O, O};
      },
      [=](int64_t k, int64_t depth, int64_t first, int64_t columns, float* panel) {
        pack_panel(Order::rows, depth, columns, x + k * C + first, C, panel);
      },
      dw);
}

void backward_weight(Context& context, const PointwiseConvShape& s, const Bf16* x, const Bf16* dy, float* dw) {
  const int64_t C = s.in_channels, O = s.out_channels;
  multiply_transposed<Pair, column_units>(
      context, SplitProduct(O, C, s.rows), static_cast<float*>(context.workspace),
      [=](int64_t k, int64_t depth, Pair* buffer) {
        const int64_t stride = round_up(O, lanes);
        pair_rows(
            depth, O, [=](auto v, Vector& to, int64_t m, int64_t o) { v.load(to, dy + (k + m) * O + o); }, stride,
            buffer);
        transpose_blocks(depth, O, stride, buffer);
        return Rows<Pair>{buffer, stride};
      },
      [=](int64_t k, int64_t depth, int64_t first, int64_t columns, Pair* panel) {
        pair_panel(
            depth, columns, [=](auto v, Vector& to, int64_t m, int64_t c) { v.load(to, x + (k + m) * C + first + c); },
            panel);
        end_pairs(depth, tile_columns, tile_columns, panel);
      },
      dw);
}

template <class T>
size_t packed_bytes(const PointwiseConvShape& s) {
  return 4 * static_cast<size_t>(packed_size(units<UnitOf<T>>(s.in_channels), s.out_channels));
}

template <class T>
void pack_weights(Context& context, const PointwiseConvShape& s, const float* w, void* packed) {
  pack(context, Order::transposed, s.in_channels, s.out_channels, w, s.in_channels, static_cast<UnitOf<T>*>(packed));
}

template <class T>
void forward_packed(Context& context, const PointwiseConvShape& s, const T* x, const void* weights, const float* bias,
                    T* y) {
  multiply_rows(context, s, s.in_channels, s.out_channels, x, static_cast<const UnitOf<T>*>(weights), y,
                [=](int64_t first, int64_t count) { return Fold(bias + first, count); });
}

template <class T>
void forward_folded(Context& context, const PointwiseConvShape& s, const T* x, const float* w, const float* bias,
                    T* y) {
  pack_weights<T>(context, s, w, context.workspace);
  forward_packed(context, s, x, context.workspace, bias, y);
}

// panel (units of `rows`, tile_columns) = a(x) of the channels [first, first + count), the rest 0.
void activate_panel(const FusedNorm& norm, int64_t rows, int64_t first, int64_t count, int64_t C, const float* x,
                    float* panel) {
  if (count <= lanes)
    for (int64_t m = 0; m < rows; ++m) Wide::store(panel + m * tile_columns + lanes, Vector{});
  activate_rows(norm, rows, first, first + count, C, x, tile_columns, panel);
}
void activate_panel(const FusedNorm& norm, int64_t rows, int64_t first, int64_t count, int64_t C, const Bf16* x,
                    Pair* panel) {
  const FusedNorm n = norm;  // a copy: no store to `panel` can change its pointers
  pair_panel(
      rows, count,
      [=](auto v, Vector& to, int64_t m, int64_t c) {
        v.load(to, x + m * C + first + c);
        Factors(v, n, first + c).activate(to);
      },
      panel);
  end_pairs(rows, tile_columns, tile_columns, panel);
}

// dz (rows, ldz) and, of pairs, down (row pairs, ldd) from z and du (rows, O).
void make_dz(const BackwardPlan<float>& p, const FusedNorm& norm, int64_t rows, int64_t O, const float* z,
             const float* du, float* dz, float*) {
  gradient_rows(norm, rows, 0, O, O, z, du, p.ldz, dz);
}
void make_dz(const BackwardPlan<Bf16>& p, const FusedNorm& norm, int64_t rows, int64_t O, const Bf16* z, const Bf16* du,
             Pair* dz, Pair* down) {
  const FusedNorm n = norm;  // as above
  const int64_t ldz = p.ldz * 2, ldd = p.ldd;
  Bf16* const to = reinterpret_cast<Bf16*>(dz);
  for (int64_t m = 0; m < rows; m += 2)
    columns(O, [=](auto v, int64_t c) {
      const GradientFactors factors(v, n, c);
      Vector value, first, second = {}, pairs;
      v.load(value, z + m * O + c);
      v.load(first, du + m * O + c);
      factors.pass(value, first);
      if (m + 1 < rows) {
        v.load(value, z + (m + 1) * O + c);
        v.load(second, du + (m + 1) * O + c);
        factors.pass(value, second);
        Wide::store_normal(to + (m + 1) * ldz + c, second);
      }
      Wide::store_normal(to + m * ldz + c, first);
      round_normal(first, second, pairs);
      store_pairs(down + m / 2 * ldd + c, pairs);
    });
  transpose_blocks(rows, O, ldd, down);
}

template <class T>
void forward_fused(Context& context, const PointwiseConvShape& s, const T* x, const FusedNorm& norm_x, const float* w,
                   T* z, const FusedNorm& norm_z) {
  typedef UnitOf<T> Unit;
  if (s.rows < 2) fail(one_value);
  const Plan<T> plan(s);
  const int64_t C = s.in_channels, O = s.out_channels, M = s.rows, depth = units<Unit>(C), lda = padded(depth);
  double* const partials = plan.partials_of(context);
  Unit *const packed = plan.packed_of(context), *const activations = plan.parts_of(context);
  ProductTasks tasks = plan.forward;
  const bool before = tasks.column_groups > 1;  // a is made before the product
  const auto activate = [=](int64_t row, int64_t rows, Unit* to) {
    activate_rows(norm_x, rows, 0, C, C, x + row * C, lda * unit_depth<Unit>, reinterpret_cast<T*>(to));
  };
  pack(context, Order::transposed, C, O, w, C, packed);
  if (before)
    parallel_pieces(context, M, row_piece,
                    [=](int64_t begin, int64_t end) { activate(begin, end - begin, activations + begin * lda); });
  // A task takes so many blocks one after the other that it can bring the next one into the cache.
  const int64_t blocks = before ? 1 : ceil_div(tasks.row_blocks, 128);
  const int64_t part = round_up(ceil_div(M, fair_count(ceil_div(tasks.row_blocks, blocks))), tasks.step);
  const int64_t height = round_up(ceil_div(part, blocks), tasks.step);
  const bool counted = whole_tiles(z, O), streaming = counted && M * O >= least_counted;
  tasks.row_blocks = ceil_div(M, part);
  parallel_for(context, tasks.count(), [=](int64_t task) {
    const MatrixUnit matrix_unit;
    Unit* const buffer = static_cast<Unit*>(task_memory(4 * operand_units + (counted ? 4 * O : 0)));
    const int64_t from = tasks.block(task) * part, to = smaller(M, from + part);
    const int64_t begin = tasks.first_column(task), end = smaller(O, tasks.end_column(task));
    double* const sums = partials + tasks.block(task) * 2 * O;
    set_zero(sums + begin, end - begin);
    set_zero(sums + O + begin, end - begin);
    for (int64_t row = from; row < to; row += height) {
      const int64_t rows = smaller(height, to - row), next = row + rows;
      Ahead ahead;
      if (next < M && !before) {
        const int64_t coming = smaller(height, M - next);
        ahead.add(x + next * C, coming * C);
        if (!streaming) ahead.add(z + next * O, coming * O);
        ahead.spread(tiles<Unit>(rows) * panels(end - begin) * depth);
      }
      if (!before) activate(row, rows, buffer);
      const Unit* const a = before ? activations + row * lda : buffer;
      if constexpr (on_matrix_unit<Unit>)
        if (counted) {
          const CountedTiles count = {z + from * O, O, streaming, reinterpret_cast<float*>(buffer) + operand_units,
                                      sums};
          matrix_unit_columns(rows, depth, begin, end, a, lda, packed, ahead,
                              [=](int64_t i, int64_t tall, const float* tile, int64_t first) {
                                count(row - from + i, tall, tile, first);
                              });
          continue;
        }
      multiply_columns(rows, depth, begin, end, a, lda, packed, z + row * O, O, ahead);
      add_statistics(rows, begin, end, O, z + row * O, z + from * O, sums);
    }
    if (streaming) end_stream();
  });
  finish_statistics(context, {M, part}, O, z, partials, norm_z);
}

// du (rows, C), its columns [begin, end), = dz · B, masked, and sums += what mask_rows counts. x (rows, C).
template <class Unit, class T>
void multiply_masked(int64_t rows, int64_t depth, int64_t begin, int64_t end, const Unit* dz, int64_t ldz,
                     const Unit* packed, const FusedNorm& norm, const T* x, int64_t C, T* du,
                     [[maybe_unused]] bool streaming, Ahead& ahead, double* sums) {
  if constexpr (on_matrix_unit<Unit>)
    if (whole_tiles(du, C)) {
      const MaskedTiles mask = {norm, x, du, C, streaming, sums};
      return matrix_unit_columns(
          rows, depth, begin, end, dz, ldz, packed, ahead,
          [=](int64_t i, int64_t tall, const float* tile, int64_t first) { mask(i, tall, tile, first); });
    }
  multiply_columns(rows, depth, begin, end, dz, ldz, packed, du, C, ahead);
  mask_rows(norm, rows, begin, end, C, x, du, sums);
}

template <class T>
void backward_walk(Context& context, const PointwiseConvShape& s, const T* x, const FusedNorm& norm_x, const T* z,
                   const FusedNorm& norm_z, const T* du_z, T* du_x, float* dw) {
  typedef UnitOf<T> Unit;
  const Plan<T> plan(s);
  const BackwardPlan<T> p = plan.backward;
  const int64_t C = s.in_channels, O = s.out_channels, M = s.rows, depth = units<Unit>(O);
  double* const partials = plan.partials_of(context);
  const Unit* const packed = plan.packed_of(context);
  float* const parts = p.splits > 1 ? plan.sums_of(context) : dw;
  const bool streaming = whole_tiles(du_x, C) && M * C >= least_masked;
  parallel_for(context, p.splits, [=](int64_t split) {
    const MatrixUnit matrix_unit;
    Unit* const dz = static_cast<Unit*>(task_memory(4 * BackwardPlan<T>::walk_units));
    Unit* const down = p.pairs ? dz + p.dz_units(p.rows) : dz;
    Unit* const a = dz + p.dz_units(p.rows) + p.down_units(p.rows);
    float* const part = parts + split * C * O;
    double* const sums = partials + split * 2 * C;
    set_zero(sums, 2 * C);
    const int64_t begin = p.first_row(split), end = smaller(M, p.first_row(split + 1));
    for (int64_t row = begin; row < end; row += p.rows) {
      const int64_t rows = smaller(p.rows, M - row), next = row + rows, row_units = units<Unit>(rows);
      Ahead ahead;
      if (next < M) {
        const int64_t coming = smaller(p.rows, M - next);
        ahead.add(z + next * O, coming * O);
        ahead.add(du_z + next * O, coming * O);
        ahead.add(x + next * C, coming * C);
        if (!streaming) ahead.add(du_x + next * C, coming * C);
        ahead.spread(panels(C) * (tiles<Unit>(O) * row_units + tiles<Unit>(rows) * depth));
      }
      make_dz(p, norm_z, rows, O, z + row * O, du_z + row * O, dz, down);
      for (int64_t first = 0; first < C; first += tile_columns) {
        Unit* const panel = a + first * units<Unit>(p.rows);  // (row_units, tile_columns)
        const int64_t count = smaller(tile_columns, C - first);
        activate_panel(norm_x, rows, first, count, C, x + row * C, panel);
        multiply_panel<Order::transposed>(O, row_units, down, p.ldd, panel, part + first, C, count, row > begin, ahead);
      }
      multiply_masked(rows, depth, 0, C, dz, p.ldz, packed, norm_x, x + row * C, C, du_x + row * C, streaming, ahead,
                      sums);
    }
    if (streaming) end_stream();
  });
  if (p.splits > 1) add_parts(context, p.splits, C * O, parts, dw);
}

template <class T>
void backward_of_many(Context& context, const PointwiseConvShape& s, const T* x, const FusedNorm& norm_x, const T* z,
                      const FusedNorm& norm_z, const T* du_z, T* du_x, float* dw) {
  typedef UnitOf<T> Unit;
  const Plan<T> plan(s);
  const BackwardPlan<T> p = plan.backward;
  const int64_t C = s.in_channels, O = s.out_channels, many = p.many, depth = units<Unit>(O);
  const Unit* const packed = plan.packed_of(context);
  // dz (many, ldz); down: of pairs (many / 2, ldd); a: panels (units of many, tile_columns), many_a units each
  Unit* const dz = plan.parts_of(context);
  Unit* const down = p.pairs ? dz + p.dz_units(many) : dz;
  Unit* const a = dz + p.dz_units(many) + p.down_units(many);
  const int64_t many_a = units<Unit>(many) * tile_columns;
  double* partials = plan.partials_of(context);
  for (int64_t start = 0; start < s.rows; start += many) {
    const int64_t M = smaller(many, s.rows - start);
    const ProductTasks tasks = BackwardPlan<T>::data_tasks(s, M);
    const bool before = tasks.column_groups > 1;
    const auto make = [=](int64_t block, int64_t rows) {
      const int64_t row = start + block;
      make_dz(p, norm_z, rows, O, z + row * O, du_z + row * O, dz + block * p.ldz, down + units<Unit>(block) * p.ldd);
    };
    if (before) parallel_pieces(context, M, row_piece, [=](int64_t begin, int64_t end) { make(begin, end - begin); });
    parallel_for(context, tasks.count(), [=](int64_t i) {
      const MatrixUnit matrix_unit;
      const int64_t block = tasks.first_row(i), next = tasks.end_row(i), rows = next - block, row = start + block;
      const int64_t begin = tasks.first_column(i), end = smaller(C, tasks.end_column(i));
      Ahead ahead;
      if (!before) {
        ahead.add(x + row * C, rows * C);
        for (int64_t first = begin; first < end; first += tile_columns)
          ahead.add(a + first / tile_columns * many_a + units<Unit>(block) * tile_columns,
                    units<Unit>(rows) * tile_columns);
        if (next < M) {
          const int64_t coming = tasks.end_row(i + 1) - next;
          ahead.add(z + (start + next) * O, coming * O);
          ahead.add(du_z + (start + next) * O, coming * O);
          ahead.add(dz + next * p.ldz, p.dz_units(coming));
          ahead.add(du_x + (start + next) * C, coming * C);
        }
        ahead.spread(tiles<Unit>(rows) * panels(C) * depth);
        make(block, rows);
      }
      double* const sums = partials + tasks.block(i) * 2 * C;
      set_zero(sums + begin, end - begin);
      set_zero(sums + C + begin, end - begin);
      multiply_masked(rows, depth, begin, end, dz + block * p.ldz, p.ldz, packed, norm_x, x + row * C, C,
                      du_x + row * C, false, ahead, sums);
      for (int64_t first = begin; first < end; first += tile_columns)
        activate_panel(norm_x, rows, first, smaller(tile_columns, end - first), C, x + row * C,
                       a + first / tile_columns * many_a + units<Unit>(block) * tile_columns);
    });
    partials += tasks.row_blocks * 2 * C;
    // The weight gradient's tasks: up to 132 or 128 rows of it, which are whole tiles, by 4 panels, over so many units
    // at a time.
    constexpr int64_t wide = 4, most_depth = 512, step = on_matrix_unit<Unit> ? tile_height<Unit> : 1;
    constexpr int64_t most_tall = on_matrix_unit<Unit> ? 128 : 132;
    const int64_t steps = ceil_div(O, step), down_tasks = ceil_div(O, most_tall), row_units = units<Unit>(M);
    const int64_t across_tasks = ceil_div(panels(C), wide);
    parallel_for(context, down_tasks * across_tasks, [=](int64_t task) {
      const MatrixUnit matrix_unit;
      const int64_t o = task / across_tasks * steps / down_tasks * step;
      const int64_t end_o = smaller(O, (task / across_tasks + 1) * steps / down_tasks * step);
      const int64_t begin = task % across_tasks * wide, end = smaller(panels(C), begin + wide), tall = end_o - o;
      for (int64_t k = 0; k < row_units; k += most_depth)
        for (int64_t i = begin; i < end; ++i) {
          Ahead ahead;
          const int64_t next = i + 1 < end ? i + 1 : begin, next_k = i + 1 < end ? k : k + most_depth;
          if (next_k < row_units)
            ahead.panel =
                Ahead::piece(a + next * many_a + next_k * tile_columns,
                             smaller(most_depth, row_units - next_k) * tile_columns, tiles<Unit>(tall) * most_depth);
          multiply_panel<Order::transposed>(tall, smaller(most_depth, row_units - k), down + k * p.ldd + o, p.ldd,
                                            a + i * many_a + k * tile_columns, dw + o * C + i * tile_columns, C,
                                            smaller(tile_columns, C - i * tile_columns), start + k > 0, ahead);
        }
    });
  }
}

template <class T>
void backward_fused(Context& context, const PointwiseConvShape& s, const T* x, const FusedNorm& norm_x, const float* w,
                    const T* z, const FusedNorm& norm_z, const T* du_z, T* du_x, float* dw) {
  const Plan<T> plan(s);
  pack(context, Order::rows, s.out_channels, s.in_channels, w, s.in_channels, plan.packed_of(context));
  (plan.backward.walk ? backward_walk<T> : backward_of_many<T>)(context, s, x, norm_x, z, norm_z, du_z, du_x, dw);
  finish_gradients(context, s.rows, plan.backward.row_blocks, s.in_channels, plan.partials_of(context), norm_x);
}

template <class T>
constexpr PointwiseConvOf<T> row_of(const char* idea, Precision precision) {
  return {
      .name = "simd",
      .idea = idea,
      .provider = Provider::vendor,
      .supports =
          [](const PointwiseConvShape& s) {
            const bool weight_fits =
                unit_depth<UnitOf<T>> == 1 || SplitProduct::block / 2 * round_up(s.out_channels, lanes) <= column_units;
            return 2 * padded(units<UnitOf<T>>(s.in_channels)) <= operand_units && weight_fits;
          },
      .workspace = [](const PointwiseConvShape& s) { return Plan<T>(s).bytes(); },
      .forward = forward<T>,
      .backward_data = backward_data<T>,
      .backward_weight = backward_weight,
      .forward_fused = forward_fused<T>,
      .backward_fused = backward_fused<T>,
      .forward_folded = forward_folded<T>,
      .packed_bytes = packed_bytes<T>,
      .pack = pack_weights<T>,
      .forward_packed = forward_packed<T>,
      .precision = precision,
  };
}

}  // namespace

template <>
const PointwiseConv& simd_row<PointwiseConv>() {
  static constexpr PointwiseConv row =
      row_of<float>("a tile of the product in vector registers, the weights packed", Precision::fp32);
  return row;
}

template <>
const PointwiseConvOf<Bf16>& simd_row<PointwiseConvOf<Bf16>>() {
  static constexpr PointwiseConvOf<Bf16> row =
      row_of<Bf16>("two steps of the product at a time, in bfloat16", Precision::bf16);
  return row;
}

}  // namespace kernels::cpu::SIMD_LEVEL
