// The matrix product of the rows `simd`: C = A · B by tiles of C that stay in registers while the loop over the depth
// reads one vector pair of B and a column of A. B is packed, so that its reads are one stream; A is read where it is.
#pragma once

#include "kernels/common/simd.h"
#include "kernels/common/simd_amx.h"

namespace kernels::cpu::SIMD_LEVEL {

// A tile of C: with 32 registers 24 hold it, with 16 registers 12; two hold B and one the element of A.
constexpr int tile_rows = lanes == 16 ? 12 : 6;
constexpr int tile_columns = 2 * lanes;

// How A's element (i, k) is found: at a[i · stride + k], or, where A stands transposed, at a[k · stride + i]; the
// matrix unit takes a transposed A whose blocks of 16 × 16 are transposed, each in its place (transpose_blocks).
enum class Order { rows, transposed };

// Where a processor has a matrix unit, it multiplies pairs, by tiles of two registers' rows and as many columns.
template <class Unit>
constexpr bool on_matrix_unit = (has_matrix_unit && std::is_same_v<Unit, Pair>);
template <class Unit>
constexpr int64_t tile_height = on_matrix_unit<Unit> ? 2 * register_rows : tile_rows;
// Rows that blocks of rows should be a multiple of.
template <class Unit>
constexpr int64_t row_step = on_matrix_unit<Unit> ? tile_height<Unit> : 2;
// Units of the depth of which a transposed A and the panel that it meets have whole steps, 0 behind what there is.
template <class Unit>
constexpr int64_t depth_step = on_matrix_unit<Unit> ? register_columns : 1;

template <class Unit>
int64_t tiles(int64_t rows) {
  return ceil_div(rows, tile_height<Unit>);
}
inline int64_t panels(int64_t columns) { return ceil_div(columns, tile_columns); }

// What will be needed next comes into the cache while tiles are computed, since the processor's own prefetching does
// not see it coming: a part of it with each step of their loops, so that it takes all of the time that there is. Asked
// for in a burst, it would hold up what the tiles load: a core can wait for only so many lines at once.
// `panel` is read by other tasks too. The pieces are this task's own: it may write to them, and asks for them as a
// writer, so that no store waits for a line.
struct Ahead {
  struct Piece {
    const char *next = nullptr, *end = nullptr;
    int64_t pace = 0;  // bytes a step
    // The bytes of the next `steps` steps, `step` apart; where nothing is left, `else_where` and 0.
    const char* take(int64_t steps, const void* else_where, int64_t& step) {
      step = next < end ? pace : 0;
      if (step == 0) return static_cast<const char*>(else_where);
      const char* const from = next;
      next += steps * pace;
      return from;
    }
  };
  static constexpr int64_t line = 64;  // bytes
  static constexpr int most = 40;
  Piece panel, pieces[most];
  bool panel_follows = false;  // the next task begins with the panel behind this one's last
  int count = 0, at = 0;
  template <class T>
  static Piece piece(const T* first, int64_t size, int64_t steps) {
    const int64_t bytes = size * static_cast<int64_t>(sizeof(T));
    const char* const begin = reinterpret_cast<const char*>(first);
    return {begin, begin + bytes, smaller(line, ceil_div(bytes, steps))};
  }
  template <class T>
  void add(const T* first, int64_t size) {
    if (count < most) pieces[count++] = piece(first, size, 1);  // what is beyond comes when it is needed
  }
  // The tiles from here on have so many steps. The pace is an eighth more than would do: a tile asks for one piece
  // only, and what it could ask for beyond that one's end is lost.
  void spread(int64_t steps) {
    int64_t bytes = 0;
    for (int i = 0; i < count; ++i) bytes += pieces[i].end - pieces[i].next;
    for (int i = 0; i < count; ++i) pieces[i].pace = smaller(line, ceil_div(bytes * 9 / 8, steps));
  }
  Piece& own() {
    while (at + 1 < count && pieces[at].next >= pieces[at].end) ++at;
    return pieces[at];
  }
};

// Steps of a tile's loop in one. Where a matrix unit is, additions of addresses share the ports of multiply-adds.
constexpr int at_once = has_matrix_unit ? 2 : 1;

// What becomes of a tile's sums before they are stored: finish(vector, whether it is the left or the right one of a
// row).
struct Unchanged {
  void operator()(Vector&, int) const {}
};

// A step of the loop over the depth takes a unit of A and a vector of units of B: floats, or pairs of bfloat16, which
// are two elements of the depth (simd_pairs.h). A `depth` in units is so called where units are all there is.
template <class Unit>
constexpr int64_t unit_depth = std::is_same_v<Unit, Pair> ? 2 : 1;
template <class Unit>
int64_t units(int64_t depth) {
  return ceil_div(depth, unit_depth<Unit>);
}
inline void multiply_add(Vector& sum, float a, const Vector& b) { sum += a * b; }

// c (rows, tile_columns), its rows ldc apart: = or += Σ_k A(i,k) · panel[k,·], k = 0 … depth - 1 in this order; of T,
// float or Bf16. What c holds is added last: it has come by then.
template <int rows, Order order, class Unit, class T, class Finish>
void tile(int64_t depth, const Unit* a, int64_t stride, const Unit* panel, T* c, int64_t ldc, bool add, Ahead& ahead,
          const Finish& finish) {
  constexpr int64_t rows_ahead = 48;  // of a transposed A, whose rows are too far apart for the processor to foresee
  int64_t panel_step, step;
  const char* const next_panel = ahead.panel.take(depth, panel, panel_step);
  const char* const coming = ahead.own().take(depth, c, step);
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < tile_columns; j += Ahead::line / 4) __builtin_prefetch(c + i * ldc + j, 1, 2);
  // All loops over the tile are unrolled, or its sums would go through memory before and after the loop over the depth.
  Vector sum[rows][2];
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < 2; ++j) sum[i][j] = Vector{};
#pragma GCC unroll at_once
  for (int64_t k = 0; k < depth; ++k) {
    __builtin_prefetch(next_panel + k * panel_step, 0, 2);
    __builtin_prefetch(coming + k * step, 1, 2);
    // Its last element: where a tile's elements lie in two lines, the tile before has fetched the first one.
    if (order == Order::transposed) __builtin_prefetch(a + (k + rows_ahead) * stride + rows - 1, 0, 3);
    Vector b[2];
    __builtin_memcpy(b, panel + k * tile_columns, sizeof b);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      const Unit x = order == Order::rows ? a[i * stride + k] : a[k * stride + i];
      multiply_add(sum[i][0], x, b[0]);
      multiply_add(sum[i][1], x, b[1]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < 2; ++j) {
      if (add) {
        Vector before;
        Wide::load(before, c + i * ldc + j * lanes);
        sum[i][j] += before;
      }
      finish(sum[i][j], j);
      Wide::store_normal(c + i * ldc + j * lanes, sum[i][j]);
    }
}

// The same where c has fewer columns.
template <int rows, Order order, class Unit, class T, class Finish>
void part_tile(int64_t depth, const Unit* a, int64_t stride, const Unit* panel, T* c, int64_t ldc, int64_t columns,
               bool add, Ahead& ahead, const Finish& finish) {
  if (columns == tile_columns) return tile<rows, order>(depth, a, stride, panel, c, ldc, add, ahead, finish);
  T whole[rows * tile_columns] = {};
  if (add)
    for (int i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) whole[i * tile_columns + j] = c[i * ldc + j];
  tile<rows, order>(depth, a, stride, panel, whole, tile_columns, add, ahead, finish);
  for (int i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) c[i * ldc + j] = whole[i * tile_columns + j];
}

// The same for 1 … most rows.
template <Order order, int most, class Unit, class T, class Finish>
void any_tile(int64_t rows, int64_t depth, const Unit* a, int64_t stride, const Unit* panel, T* c, int64_t ldc,
              int64_t columns, bool add, Ahead& ahead, const Finish& finish) {
  if constexpr (most > 1)
    if (rows < most)
      return any_tile<order, most - 1>(rows, depth, a, stride, panel, c, ldc, columns, add, ahead, finish);
  part_tile<most, order>(depth, a, stride, panel, c, ldc, columns, add, ahead, finish);
}

// The largest divisor of a depth that a register takes.
inline int64_t register_depth(int64_t depth) {
  int64_t step = register_columns;
  while (depth % step > 0) --step;
  return step;
}

// c (rows, columns) = or += tile (rows, tile_columns), finished.
template <class T, class Finish>
void store_tile(int64_t rows, int64_t columns, const float* tile, T* c, int64_t ldc, bool add, const Finish& finish) {
  for (int64_t i = 0; i < rows; ++i, tile += tile_columns, c += ldc) {
    if constexpr (std::is_same_v<T, Bf16>)
      if (columns == tile_columns && !add) {
        Vector sum[2];
        Half halves[2];
        for (int j = 0; j < 2; ++j) {
          Wide::load(sum[j], tile + j * lanes);
          finish(sum[j], j);
        }
        round_normal(sum[0], sum[1], halves);
        __builtin_memcpy(c, halves, sizeof halves);
        continue;
      }
    kernels::cpu::SIMD_LEVEL::columns(columns, [&](auto v, int64_t j) {
      Vector sum, before = {};
      Wide::load(sum, tile + j);
      if (add) v.load(before, c + j);
      sum += before;
      finish(sum, static_cast<int>(j / lanes));
      v.store_normal(c + j, sum);
    });
  }
}

// Some rows of A times a panel on the matrix unit. store(i, rows, tile) takes rows i … of the result, in tile (rows,
// tile_columns); where `to` (rows, ldto) is given, sums of few steps go to it instead, or are added to what it holds.
//
// The level 2 cache gives less than half of what the unit could take: so some tiles read one part of a panel, as much
// as stays in the level 1 cache, one after the other, and their sums wait there.
template <Order order, class Store>
void matrix_unit_panel(int64_t rows, int64_t depth, const Pair* a, int64_t stride, const Pair* panel, float* to,
                       int64_t ldto, bool add, Ahead& ahead, const Store& store) {
  constexpr bool transposed = order == Order::transposed;
  constexpr int64_t height = tile_height<Pair>, most_tiles = 4, most_steps = 8;
  const int64_t step = transposed ? register_columns : register_depth(depth), steps = ceil_div(depth, step);
  const int64_t upper = transposed ? register_rows : smaller(register_rows, rows);
  const int64_t lower = transposed ? register_rows : larger(0, smaller(register_rows, rows - register_rows));
  shape_registers(static_cast<int>(upper), static_cast<int>(lower), static_cast<int>(step));
  const int64_t below = register_rows * (transposed ? 1 : stride), further = transposed ? step * stride : step;
  alignas(64) float tiles[most_tiles][height * tile_columns];
  for (int64_t start = 0; start < rows; start += most_tiles * height)
    for (int64_t k = 0; k < steps; k += most_steps)
      for (int64_t t = 0; t < most_tiles && start + t * height < rows; ++t) {
        // Of rows that the height does not divide, the last tile computes some a second time.
        const int64_t row = start + t * height, i = transposed || rows < height ? row : smaller(row, rows - height);
        const int64_t count = smaller(height, rows - i), now = smaller(most_steps, steps - k);
        int64_t panel_pace, pace;
        const char* const next_panel = ahead.panel.take(now * step, panel, panel_pace);
        const char* const coming = ahead.own().take(now * step, panel, pace);
        // As a reader: a writer's lines would go to the level 1 cache, which is for the tiles.
        const auto ask = [=, panel_bytes = panel_pace * step, bytes = pace * step](int64_t at) {
          for (int64_t b = at * panel_bytes; b < (at + 1) * panel_bytes; b += Ahead::line)
            __builtin_prefetch(next_panel + b, 0, 2);
          for (int64_t b = at * bytes; b < (at + 1) * bytes; b += Ahead::line) __builtin_prefetch(coming + b, 0, 2);
        };
        const Pair* const from = (transposed ? a + i : a + i * stride) + k * further;
        const Pair* const b = panel + k * step * tile_columns;
        const bool direct = to != nullptr && steps <= most_steps && count == height;
        float* const tile = direct ? to + i * ldto : tiles[steps > most_steps ? t : 0];
        const int64_t ld = direct ? ldto : tile_columns;
        const bool on_top = direct ? add : k > 0;
        if (count > register_rows)
          matrix_unit_tile<true>(now, step, from, below, stride, further, b, tile, ld, on_top, ask);
        else
          matrix_unit_tile<false>(now, step, from, below, stride, further, b, tile, ld, on_top, ask);
        if (!direct && k + now == steps) store(row, i + count - row, tile + (row - i) * tile_columns);
      }
}

// The same for any number of rows: c (rows, columns), columns ≤ tile_columns. Tiles of nearly equal heights: one of a
// few rows that were left over would read the panel for little.
template <Order order, class Unit, class T, class Finish = Unchanged>
void multiply_panel(int64_t rows, int64_t depth, const Unit* a, int64_t stride, const Unit* panel, T* c, int64_t ldc,
                    int64_t columns, bool add, Ahead& ahead, const Finish& finish = {}) {
  if constexpr (on_matrix_unit<Unit>) {
    float* to = nullptr;
    if constexpr (std::is_same_v<T, float> && std::is_same_v<Finish, Unchanged>)
      if (columns == tile_columns) to = c;
    return matrix_unit_panel<order>(rows, depth, a, stride, panel, to, ldc, add, ahead,
                                    [=](int64_t i, int64_t count, const float* tile) {
                                      store_tile(count, columns, tile, c + i * ldc, ldc, add, finish);
                                    });
  }
  const int64_t count = tiles<Unit>(rows);
  for (int64_t t = 0, i = 0, next; t < count; ++t, i = next) {
    next = rows * (t + 1) / count;
    any_tile<order, tile_rows>(next - i, depth, order == Order::rows ? a + i * stride : a + i, stride, panel,
                               c + i * ldc, ldc, columns, add, ahead, finish);
  }
}

// Places 0 … lanes - 1 of a vector.
template <int... i>
struct Places {};
template <int count, int... i>
struct AllPlaces : AllPlaces<count - 1, count - 1, i...> {};
template <int... i>
struct AllPlaces<0, i...> {
  typedef Places<i...> Type;
};

#if __has_builtin(__builtin_shufflevector)
// Of two rows of a block that are `step` apart: the odd pieces of `step` places of `upper` against the even ones of
// `lower`.
template <int step, int... i>
void exchange(Vector& upper, Vector& lower, Places<i...>) {
  const Vector a = upper, b = lower;
  upper = __builtin_shufflevector(a, b, (i & step ? i - step + lanes : i)...);
  lower = __builtin_shufflevector(a, b, (i & step ? i + lanes : i + step)...);
}
template <int step>
void transpose(Vector (&row)[lanes]) {
#pragma GCC unroll 16
  for (int i = 0; i < lanes; ++i)
    if ((i & step) == 0) exchange<step>(row[i], row[i + step], typename AllPlaces<lanes>::Type());
  if constexpr (2 * step < lanes) transpose<2 * step>(row);
}
// to (lanes, to_stride …) = the transpose of from (lanes, from_stride …).
inline void transpose_block(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
  Vector row[lanes];
#pragma GCC unroll 16
  for (int i = 0; i < lanes; ++i) Wide::load(row[i], from + i * from_stride);
  transpose<1>(row);
#pragma GCC unroll 16
  for (int i = 0; i < lanes; ++i) Wide::store(to + i * to_stride, row[i]);
}
#else
inline void transpose_block(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
  for (int i = 0; i < lanes; ++i)
    for (int k = 0; k < lanes; ++k) to[k * to_stride + i] = from[i * from_stride + k];
}
#endif

// panel (depth, tile_columns) = `columns` columns of B (depth, columns), the rest 0. B's element (k, j) is at
// b[k · stride + j], or, where B stands transposed, at b[j · stride + k].
inline void pack_panel(Order order, int64_t depth, int64_t columns, const float* b, int64_t stride, float* panel) {
  const int64_t vectors = order == Order::transposed ? columns / lanes * lanes : 0, whole = depth / lanes * lanes;
  for (int64_t start = 0; start < whole; start += lanes)
    for (int64_t j = 0; j < vectors; j += lanes)
      transpose_block(b + j * stride + start, stride, panel + start * tile_columns + j, tile_columns);
  for (int64_t k = 0; k < depth; ++k) {
    for (int64_t j = k < whole ? vectors : 0; j < columns; ++j)
      panel[k * tile_columns + j] = order == Order::rows ? b[k * stride + j] : b[j * stride + k];
    for (int64_t j = columns; j < tile_columns; ++j) panel[k * tile_columns + j] = 0;
  }
}

// How far apart the rows of a copy of A lie: an odd number of vectors, so that a tile's rows, which are read side by
// side, do not fall into the same few sets of the cache.
inline int64_t padded(int64_t columns) { return (ceil_div(columns, lanes) | 1) * lanes; }

// Units of B (depth, columns) packed: its panels one after the other.
inline int64_t packed_size(int64_t depth, int64_t columns) { return panels(columns) * depth * tile_columns; }

// As pack_panel, all panels. A task reads B in memory's order.
template <class Unit>
void pack(const Context& context, Order order, int64_t depth, int64_t columns, const float* b, int64_t stride,
          Unit* packed) {
  const int64_t count = panels(columns);
  const auto pack_part = [=](int64_t i, int64_t k, int64_t rows) {  // of panel i
    const int64_t first = i * tile_columns;
    pack_panel(order, rows, smaller(tile_columns, columns - first),
               b + (order == Order::rows ? k * stride + first : first * stride + k), stride,
               packed + (i * units<Unit>(depth) + units<Unit>(k)) * tile_columns);
  };
  if (order == Order::transposed)
    parallel_for(context, count, [=](int64_t i) { pack_part(i, 0, depth); });
  else
    parallel_pieces(context, depth, 16, [=](int64_t begin, int64_t end) {
      constexpr int64_t rows = unit_depth<Unit>;
      for (int64_t k = begin; k < end; k += rows)
        for (int64_t i = 0; i < count; ++i) pack_part(i, k, smaller(rows, end - k));
    });
}

// So many pieces, or a few more where there are many, that two or four threads have the same number of them.
inline int64_t fair_count(int64_t pieces) { return pieces < 8 ? pieces : round_up(pieces, 4); }

// How C (rows, columns) is cut into tasks: blocks of nearly equal heights, in steps of `step` rows, of which 96 rows
// keep a panel of B in the level 2 cache busy, and, where that makes fewer tasks than `wanted`, groups of panels.
// at_most is whole steps.
struct ProductTasks {
  static constexpr int64_t most_rows = 96;
  int64_t rows, columns, step, row_blocks, column_groups, group;  // step: rows; group: panels
  ProductTasks(int64_t rows, int64_t columns, int64_t step, int64_t at_most = most_rows, int64_t wanted = 64)
      : rows(rows),
        columns(columns),
        step(step),
        row_blocks(smaller(steps(), fair_count(ceil_div(steps(), at_most / step)))) {
    const int64_t groups = smaller(panels(columns), ceil_div(wanted, row_blocks));
    group = ceil_div(panels(columns), groups);
    column_groups = ceil_div(panels(columns), group);
  }
  int64_t count() const { return row_blocks * column_groups; }
  // Neighbours share their part of the larger operand, rows of A or columns of B, so that it stays in a core's caches.
  int64_t block(int64_t task) const { return columns > rows ? task % row_blocks : task / column_groups; }
  int64_t first_row(int64_t task) const { return row_of(block(task)); }
  int64_t end_row(int64_t task) const { return row_of(block(task) + 1); }
  int64_t first_column(int64_t task) const { return group_of(task) * group * tile_columns; }
  int64_t end_column(int64_t task) const { return first_column(task) + group * tile_columns; }  // or C's last, if less

 private:
  int64_t group_of(int64_t task) const { return columns > rows ? task / row_blocks : task % column_groups; }
  int64_t steps() const { return ceil_div(rows, step); }
  int64_t row_of(int64_t block) const { return smaller(rows, steps() * block / row_blocks * step); }
};

constexpr auto unchanged = [](int64_t, int64_t) { return Unchanged(); };

// body(first, columns, panel) for the columns [begin, end) of a packed B (depth, ·); begin is a panel's first. While
// `rows` rows are multiplied by a panel the next one comes.
template <class Unit, class Body>
void each_panel(int64_t rows, int64_t depth, int64_t begin, int64_t end, const Unit* packed, Ahead& ahead,
                const Body& body) {
  for (int64_t first = begin; first < end; first += tile_columns) {
    const Unit* const panel = packed + first * depth;
    if (first + tile_columns < end || ahead.panel_follows)
      ahead.panel = Ahead::piece(panel + depth * tile_columns, depth * tile_columns, tiles<Unit>(rows) * depth);
    body(first, smaller(tile_columns, end - first), panel);
  }
}

// The columns [begin, end) of c (rows, ldc) = a (rows, depth) · B, B packed, a's rows lda apart. finish(first, columns)
// makes what finishes the tiles of those columns.
template <class Unit, class T, class Finish = decltype(unchanged)>
void multiply_columns(int64_t rows, int64_t depth, int64_t begin, int64_t end, const Unit* a, int64_t lda,
                      const Unit* packed, T* c, int64_t ldc, Ahead& ahead, const Finish& finish = unchanged) {
  each_panel(rows, depth, begin, end, packed, ahead, [&](int64_t first, int64_t columns, const Unit* panel) {
    multiply_panel<Order::rows>(rows, depth, a, lda, panel, c + first, ldc, columns, false, ahead,
                                finish(first, columns));
  });
}

// The same on the matrix unit, of whole panels; store(i, rows, tile, first) takes the tile of rows i … and those
// columns.
template <class Store>
void matrix_unit_columns(int64_t rows, int64_t depth, int64_t begin, int64_t end, const Pair* a, int64_t lda,
                         const Pair* packed, Ahead& ahead, const Store& store) {
  each_panel(rows, depth, begin, end, packed, ahead, [&](int64_t first, int64_t, const Pair* panel) {
    matrix_unit_panel<Order::rows>(
        rows, depth, a, lda, panel, nullptr, 0, false, ahead,
        [=, &store](int64_t i, int64_t count, const float* tile) { store(i, count, tile, first); });
  });
}

// c (rows, columns) = a (rows, depth) · B, B packed, a's rows lda apart. finish: as multiply_columns has it.
template <class Unit, class T, class Finish = decltype(unchanged)>
void multiply(const Context& context, int64_t rows, int64_t depth, int64_t columns, const Unit* a, int64_t lda,
              const Unit* packed, T* c, const Finish& finish = unchanged) {
  const ProductTasks tasks(rows, columns, row_step<Unit>);
  parallel_for(context, tasks.count(), [=](int64_t task) {
    const MatrixUnit matrix_unit;
    const int64_t row = tasks.first_row(task), next = tasks.end_row(task);
    const int64_t begin = tasks.first_column(task), end = smaller(columns, tasks.end_column(task));
    Ahead ahead;
    ahead.panel_follows = end < columns && tasks.first_column(task + 1) == end;
    if (next < rows && tasks.column_groups == 1) {
      const int64_t coming = tasks.end_row(task + 1) - next;
      ahead.add(a + next * lda, coming * lda);
      ahead.add(c + next * columns, coming * columns);
      ahead.spread(tiles<Unit>(next - row) * panels(columns) * depth);
    }
    multiply_columns(next - row, depth, begin, end, a + row * lda, lda, packed, c + row * columns, columns, ahead,
                     finish);
  });
}

// C (m, n) = Aᵀ · B with A (depth, m), B (depth, n), where the depth is the largest of the three. It is cut into
// `splits` parts, whose sums are added in order, as many as keep their partial results small; and the columns of B into
// groups of panels. A task takes `block` rows of A and B at a time and packs its panels of B.
struct SplitProduct {
  static constexpr int64_t block = 256, partial_floats = 1 << 20;
  int64_t m, n, depth, splits, part, groups, group;  // part: rows of a split, whole blocks; group: panels
  SplitProduct(int64_t m, int64_t n, int64_t depth) : m(m), n(n), depth(depth) {
    const int64_t blocks = ceil_div(depth, block);
    const int64_t wanted = smaller(64, larger(1, partial_floats / (m * n)));
    part = ceil_div(blocks, smaller(blocks, wanted)) * block;
    splits = ceil_div(depth, part);
    group = ceil_div(panels(n), smaller(panels(n), ceil_div(32, splits)));
    groups = ceil_div(panels(n), group);
  }
  int64_t partial_size() const { return splits > 1 ? splits * m * n : 0; }  // floats
};

template <class Unit>
struct Rows {
  const Unit* first;
  int64_t stride;  // units from one to the next
};

// load_a(k, depth, buffer) returns `depth` rows of A from row k on, in units: in place, or in the buffer of
// `buffer_units`. load_b(k, depth, first, columns, panel) packs those rows of B.
template <class Unit, int64_t buffer_units, class LoadA, class LoadB>
void multiply_transposed(const Context& context, const SplitProduct& p, float* partial, const LoadA& load_a,
                         const LoadB& load_b, float* c) {
  float* const partials = p.splits > 1 ? partial : c;
  parallel_for(context, p.splits * p.groups, [=](int64_t task) {
    const int64_t split = task / p.groups, begin = task % p.groups * p.group;
    const int64_t end = smaller(p.depth, (split + 1) * p.part);
    alignas(64) Unit panel[SplitProduct::block * tile_columns], buffer[buffer_units];
    const MatrixUnit matrix_unit;
    for (int64_t k = split * p.part; k < end; k += p.block) {
      const int64_t depth = smaller(p.block, end - k);
      const Rows<Unit> a = load_a(k, depth, buffer);
      Ahead none;
      for (int64_t i = begin; i < smaller(begin + p.group, panels(p.n)); ++i) {
        const int64_t first = i * tile_columns, columns = smaller(tile_columns, p.n - first);
        load_b(k, depth, first, columns, panel);
        multiply_panel<Order::transposed>(p.m, units<Unit>(depth), a.first, a.stride, panel,
                                          partials + split * p.m * p.n + first, p.n, columns, k > split * p.part, none);
      }
    }
  });
  if (p.splits > 1) add_parts(context, p.splits, p.m * p.n, partials, c);
}

}  // namespace kernels::cpu::SIMD_LEVEL
