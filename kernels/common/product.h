// The fp32 matrix product of the operations that are one (pointwise convolution, linear):
//
//   C[m,n] = Σ_k A(m,k) · B(n,k)      A: M × K,  B: N × K,  C: (M, N)
//
// A block computes a tile of 128 × 64 outputs (× 32 where N is small), a thread 8 × 8 of them, in registers. It walks
// along k in steps of 32: all threads load both operands' parts into shared memory, 16 bytes a load, then each
// multiplies its own 8 rows of A by its own 8 rows of B. A value that came from memory is used 64 or 128 times, one
// that came from shared memory 8 times.
//
// The operations wrap product_block in kernels of their own.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <type_traits>

#include "kernels/common/float8.h"
#include "kernels/common/floats.h"
#include "kernels/common/launch.h"

namespace kernels::KERNEL_TARGET {

// Where element (row, k) of an operand lies: next to (row, k + 1), or next to (row + 1, k).
enum class Contiguous { k, row };

// An operand in memory: (row, k) at data[row · stride + k] or, with Contiguous::row, at data[k · stride + row].
struct Operand {
  const float* data;
  int stride;
};

// The tile: M × N × K. N is the template parameter `columns`.
constexpr int product_rows = 128, product_wide = 64, product_narrow = 32, product_depth = 32;
template <int columns>
constexpr int product_threads = product_rows / 8 * columns / 8;
// Blocks at once on a multiprocessor, whose registers (64 sums a thread and as many for the rest) or shared memory they
// then fill.
template <int columns>
constexpr int product_blocks = columns == product_wide ? 4 : 6;

constexpr int product_columns(int64_t n) { return n <= product_narrow ? product_narrow : product_wide; }
inline int64_t product_tiles(int64_t m, int64_t n) {
  return ceil_div(m, product_rows) * ceil_div(n, product_columns(n));
}

// Whether 16-byte accesses may be used: all pointers and all distances between lines are multiples of 16 bytes.
inline bool all_aligned(std::initializer_list<const void*> pointers, std::initializer_list<int64_t> strides) {
  for (const int64_t stride : strides)
    if (stride % 4 != 0) return false;
  return all_aligned(pointers);
}

// Calls with(columns, aligned), both known to the compiler, to launch one of a kernel's four instances.
template <class With>
void choose_product(int64_t n, bool aligned, With with) {
  using Narrow = std::integral_constant<int, product_narrow>;
  using Wide = std::integral_constant<int, product_wide>;
  if (product_columns(n) == product_narrow)
    aligned ? with(Narrow(), std::true_type()) : with(Narrow(), std::false_type());
  else
    aligned ? with(Wide(), std::true_type()) : with(Wide(), std::false_type());
}

// How a sum along k is split over blocks where the outputs alone are too few tiles to fill a GPU: `count` parts of
// `length`, the last one perhaps shorter. It depends on the shape only, so that every device adds in the same order.
struct Split {
  int count, length;
};
inline Split product_split(int64_t m, int64_t n, int k) {
  const int64_t wanted = std::min<int64_t>(ceil_div(256, product_tiles(m, n)), 128);
  const int64_t count = std::max<int64_t>(std::min<int64_t>(wanted, k / (4 * product_depth)), 1);
  const int64_t length = ceil_div(ceil_div(k, count), product_depth) * product_depth;
  return {static_cast<int>(ceil_div(k, length)), static_cast<int>(length)};
}

// Bytes for the parts of such a sum; none where there is one part, which can go straight to C.
inline size_t product_workspace(int64_t m, int64_t n, int k) {
  const Split split = product_split(m, n, k);
  return split.count == 1 ? 0 : split.count * m * n * sizeof(float);
}

// In shared memory k is the slow index: (row, k) of a tile of R rows lies at k · R + (row ^ swizzle(k)). The swizzle
// moves groups of four rows, so 16-byte accesses stay whole; with it, neither the stores of eight threads that hold
// four k each of one row, nor the loads of a warp meet in a bank.
__device__ constexpr int swizzle(int k) { return k & 28; }

// Four floats from p on, of which the first `valid` exist; zero for the others. Aligned lines are whole groups of four.
// (`aligned` is known to the compiler because g++ 12 merges the two loads of a choice at run time into an aligned one.)
template <bool aligned>
__device__ __forceinline__ float4 load_four(const float* p, int valid) {
  if constexpr (aligned) {
    if (valid > 0) return *reinterpret_cast<const float4*>(p);
    return {0, 0, 0, 0};
  } else {
    return {valid > 0 ? p[0] : 0, valid > 1 ? p[1] : 0, valid > 2 ? p[2] : 0, valid > 3 ? p[3] : 0};
  }
}

// Writes the first `valid` of them.
template <bool aligned>
__device__ __forceinline__ void store_four(float* p, int valid, float4 values) {
  if constexpr (aligned) {
    if (valid > 0) *reinterpret_cast<float4*>(p) = values;
  } else {
    if (valid > 0) p[0] = values.x;
    if (valid > 1) p[1] = values.y;
    if (valid > 2) p[2] = values.z;
    if (valid > 3) p[3] = values.w;
  }
}

// Brings one operand's tiles of R rows × product_depth into shared memory, one after the other along k. In memory a
// tile is lines of neighbours, along k or along the rows; neighbouring threads take neighbouring groups of four of a
// line.
template <Contiguous contiguous, int R, int threads, bool aligned>
struct TileLoader {
  static constexpr bool along_k = contiguous == Contiguous::k;
  static constexpr int groups = (along_k ? product_depth : R) / 4;  // in a line
  static constexpr int lines = along_k ? R : product_depth;
  static constexpr int step = threads / groups;                      // lines that the block loads at once
  static constexpr int batch = lines / step < 8 ? lines / step : 8;  // loads before the first store waits for one

  const float* from;  // this thread's first group of the next tile
  int stride;

  __device__ static __forceinline__ int line() { return threadIdx.x / groups; }
  __device__ static __forceinline__ int place() { return threadIdx.x % groups * 4; }

  // The first tile begins at (row, k).
  __device__ __forceinline__ TileLoader(Operand operand, int64_t row, int64_t k) : stride(operand.stride) {
    from = operand.data + ((along_k ? row : k) + line()) * stride + (along_k ? k : row) + place();
  }

  // Loads a tile and moves on to the next. `rows` and `depth` say how much of the operand is left from the tile's
  // start; beyond is zero.
  __device__ __forceinline__ void load(float* tile, int rows, int depth) {
    if (aligned && rows >= R && depth >= product_depth) {
      float4 values[batch];
#pragma unroll
      for (int first = 0; first < lines; first += batch * step) {
#pragma unroll
        for (int i = 0; i < batch; ++i)
          values[i] = *reinterpret_cast<const float4*>(from + static_cast<int64_t>(first + i * step) * stride);
#pragma unroll
        for (int i = 0; i < batch; ++i) store(tile, line() + first + i * step, values[i]);
      }
    } else {
      const int left = (along_k ? depth : rows) - place(), lines_left = along_k ? rows : depth;
      const float* p = from;
#pragma unroll 1
      for (int i = line(); i < lines; i += step, p += static_cast<int64_t>(step) * stride)
        store(tile, i, load_four<aligned>(p, i < lines_left ? left : 0));
    }
    from += along_k ? product_depth : static_cast<int64_t>(product_depth) * stride;
  }

  // A group goes to one row, at k, k + 1, …, or to one k, at row, row + 1, ….
  __device__ static __forceinline__ void store(float* tile, int line, float4 values) {
    const int row = along_k ? line : place(), k = along_k ? place() : line;
    float* to = tile + k * R + (row ^ swizzle(k));
    if (along_k)
      to[0] = values.x, to[R] = values.y, to[2 * R] = values.z, to[3 * R] = values.w;
    else
      *reinterpret_cast<float4*>(to) = values;
  }
};

// The block's tile of C (blockIdx.x counts tiles, row by row of tiles), summed over k in [k_begin, k_end) in this
// order. For a block of product_threads<columns>. `aligned`: as all_aligned says of A, B and C.
template <Contiguous a_contiguous, Contiguous b_contiguous, int columns, bool aligned>
__device__ __forceinline__ void product_block(Operand a, Operand b, float* c, int64_t m, int n, int k_begin,
                                              int k_end) {
  __shared__ __align__(16) float a_tile[product_depth * product_rows];
  __shared__ __align__(16) float b_tile[product_depth * columns];
  constexpr int threads = product_threads<columns>;
  const unsigned tiles_across = (n + columns - 1u) / columns;
  const int64_t row = static_cast<int64_t>(blockIdx.x / tiles_across) * product_rows;
  const int column = static_cast<int>(blockIdx.x % tiles_across) * columns;
  const int rows_left = m - row < product_rows ? static_cast<int>(m - row) : product_rows, columns_left = n - column;
  // A thread's rows are 8 neighbours; its columns two times 4, half a tile apart, so that neighbouring threads read
  // neighbouring 16 bytes from b_tile and write such to C.
  const int thread_row = static_cast<int>(threadIdx.x / (columns / 8) * 8);
  const int thread_column = static_cast<int>(threadIdx.x % (columns / 8) * 4);
  Float8 sums[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) set_zero(sums[i]);

  TileLoader<a_contiguous, product_rows, threads, aligned> load_a(a, row, k_begin);
  TileLoader<b_contiguous, columns, threads, aligned> load_b(b, column, k_begin);
  for (int depth = k_end - k_begin; depth > 0; depth -= product_depth) {
    load_a.load(a_tile, rows_left, depth);
    load_b.load(b_tile, columns_left, depth);
    __syncthreads();
    // What lies beyond the end is zero. Threads with no row to compute have nothing to multiply.
    const int steps = thread_row >= rows_left ? 0 : depth < product_depth ? depth : product_depth;
    for (int k4 = 0; k4 < steps; k4 += 4) {
      const float* a_low = a_tile + k4 * product_rows + (thread_row ^ swizzle(k4));
      const float* a_high = a_tile + k4 * product_rows + ((thread_row + 4) ^ swizzle(k4));
      const float* b_low = b_tile + k4 * columns + (thread_column ^ swizzle(k4));
      const float* b_high = b_tile + k4 * columns + ((thread_column + columns / 2) ^ swizzle(k4));
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        Float8 b_values;
        load(b_values, b_low + k * columns, b_high + k * columns);
        const float4 low = *reinterpret_cast<const float4*>(a_low + k * product_rows);
        const float4 high = *reinterpret_cast<const float4*>(a_high + k * product_rows);
        multiply_add(sums[0], low.x, b_values);
        multiply_add(sums[1], low.y, b_values);
        multiply_add(sums[2], low.z, b_values);
        multiply_add(sums[3], low.w, b_values);
        multiply_add(sums[4], high.x, b_values);
        multiply_add(sums[5], high.y, b_values);
        multiply_add(sums[6], high.z, b_values);
        multiply_add(sums[7], high.w, b_values);
      }
    }
    __syncthreads();
  }

  float* to = c + (row + thread_row) * n + column + thread_column;
#pragma unroll
  for (int i = 0; i < 8; ++i, to += n) {
    const int left = thread_row + i < rows_left ? columns_left - thread_column : 0;
    const auto& sum = sums[i].v;
    store_four<aligned>(to, left, {sum[0], sum[1], sum[2], sum[3]});
    store_four<aligned>(to + columns / 2, left - columns / 2, {sum[4], sum[5], sum[6], sum[7]});
  }
}

// sum[i] = Σ_s parts[s · count + i], s ascending: the second pass of a split sum. V neighbours a thread, 1 or 4.
template <int V>
__device__ __forceinline__ void add_parts(int64_t count, int splits, const float* parts, float* sum) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * V;
  if (i >= count) return;
  Floats<V> total = Floats<V>::zero();
#pragma unroll 8
  for (int s = 0; s < splits; ++s) total.add(Floats<V>::load(parts + s * count + i));
  total.store(sum + i);
}

}  // namespace kernels::KERNEL_TARGET
