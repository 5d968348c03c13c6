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

#include "kernels/common/float8.h"
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

// Launches narrow or wide, the two instances of one kernel, one block a tile and part.
template <class Kernel, class... A>
void launch_product(const Context& context, Kernel narrow, Kernel wide, int64_t m, int64_t n, int parts,
                    A&&... arguments) {
  const bool is_narrow = product_columns(n) == product_narrow;
  launch(context, is_narrow ? narrow : wide, dim3(product_tiles(m, n), parts),
         is_narrow ? product_threads<product_narrow> : product_threads<product_wide>, 0, arguments...);
}

// True where 16-byte accesses may be used: all pointers and all distances between lines are multiples of 16 bytes.
inline bool all_aligned(std::initializer_list<const float*> pointers, std::initializer_list<int64_t> strides) {
  bool aligned = true;
  for (const float* p : pointers) aligned = aligned && reinterpret_cast<uintptr_t>(p) % 16 == 0;
  for (const int64_t stride : strides) aligned = aligned && stride % 4 == 0;
  return aligned;
}

// How a sum along k is split over blocks where the outputs alone are too few tiles to fill a GPU: `count` parts of
// `length`, the last one perhaps shorter. It depends on the shape only, so that every device adds in the same order.
struct Split {
  int count, length;
};
inline Split product_split(int64_t m, int64_t n, int k) {
  const int64_t wanted = std::min<int64_t>(ceil_div(256, product_tiles(m, n)), 128);
  const int64_t count = std::max<int64_t>(std::min<int64_t>(wanted, k / (8 * product_depth)), 1);
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

// Four floats from p on, of which the first `valid` exist; zero for the others. aligned: p is 16-byte aligned.
__device__ __forceinline__ float4 load_four(const float* p, int valid, bool aligned) {
  if (aligned && valid >= 4) return *reinterpret_cast<const float4*>(p);
  return {valid > 0 ? p[0] : 0, valid > 1 ? p[1] : 0, valid > 2 ? p[2] : 0, valid > 3 ? p[3] : 0};
}

// Writes the first `valid` of them.
__device__ __forceinline__ void store_four(float* p, int valid, bool aligned, float4 values) {
  if (aligned && valid >= 4) {
    *reinterpret_cast<float4*>(p) = values;
  } else {
    if (valid > 0) p[0] = values.x;
    if (valid > 1) p[1] = values.y;
    if (valid > 2) p[2] = values.z;
    if (valid > 3) p[3] = values.w;
  }
}

// Puts four neighbours in memory into a tile of R rows: those at (row, k), (row, k + 1) … or (row, k), (row + 1, k) ….
template <Contiguous contiguous, int R>
__device__ __forceinline__ void store_in_tile(float* tile, int row, int k, float4 values) {
  float* to = tile + k * R + (row ^ swizzle(k));
  if (contiguous == Contiguous::k)
    to[0] = values.x, to[R] = values.y, to[2 * R] = values.z, to[3 * R] = values.w;
  else
    *reinterpret_cast<float4*>(to) = values;
}

// Brings a tile of R rows × product_depth into shared memory, zero where it hangs over the operand's end. `from` is the
// tile's first element; `rows` and `depth` say how much of the operand is left from there.
template <Contiguous contiguous, int R, int threads>
__device__ __forceinline__ void load_tile(float* tile, Operand from, int rows, int depth, bool aligned) {
  constexpr bool along_k = contiguous == Contiguous::k;
  constexpr int width = (along_k ? product_depth : R) / 4;  // groups of four that lie side by side
  constexpr int step = threads / width;                     // the block brings so many lines at once
  constexpr int count = R * product_depth / 4 / threads;
  constexpr int batch = count < 8 ? count : 8;  // loads that are under way before the first store waits for one
  const int fast = static_cast<int>(threadIdx.x % width * 4), slow = static_cast<int>(threadIdx.x / width);
  const float* p = from.data + static_cast<int64_t>(slow) * from.stride + fast;
  if (aligned && rows >= R && depth >= product_depth) {
    float4 values[batch];
#pragma unroll
    for (int first = 0; first < count; first += batch) {
#pragma unroll
      for (int i = 0; i < batch; ++i)
        values[i] = *reinterpret_cast<const float4*>(p + static_cast<int64_t>((first + i) * step) * from.stride);
#pragma unroll
      for (int i = 0; i < batch; ++i) {
        const int line = slow + (first + i) * step;
        store_in_tile<contiguous, R>(tile, along_k ? line : fast, along_k ? fast : line, values[i]);
      }
    }
  } else {
    const int left = (along_k ? depth : rows) - fast, lines = along_k ? rows : depth;
#pragma unroll 1
    for (int line = slow; line < count * step; line += step, p += static_cast<int64_t>(step) * from.stride)
      store_in_tile<contiguous, R>(tile, along_k ? line : fast, along_k ? fast : line,
                                   load_four(p, line < lines ? left : 0, aligned));
  }
}

// The block's tile of C (blockIdx.x counts tiles, row by row of tiles), summed over k in [k_begin, k_end) in this
// order. For a block of product_threads<columns>. `aligned`: as all_aligned says of A, B and C.
template <Contiguous a_contiguous, Contiguous b_contiguous, int columns>
__device__ __forceinline__ void product_block(Operand a, Operand b, float* c, int64_t m, int n, int k_begin, int k_end,
                                              bool aligned) {
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

  a.data += a_contiguous == Contiguous::k ? row * a.stride + k_begin : static_cast<int64_t>(k_begin) * a.stride + row;
  b.data += static_cast<int64_t>(b_contiguous == Contiguous::k ? column : k_begin) * b.stride +
            (b_contiguous == Contiguous::k ? k_begin : column);
  for (int depth = k_end - k_begin; depth > 0; depth -= product_depth) {
    load_tile<a_contiguous, product_rows, threads>(a_tile, a, rows_left, depth, aligned);
    load_tile<b_contiguous, columns, threads>(b_tile, b, columns_left, depth, aligned);
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
    a.data += a_contiguous == Contiguous::k ? product_depth : static_cast<int64_t>(product_depth) * a.stride;
    b.data += b_contiguous == Contiguous::k ? product_depth : static_cast<int64_t>(product_depth) * b.stride;
  }

  float* to = c + (row + thread_row) * n + column + thread_column;
#pragma unroll
  for (int i = 0; i < 8; ++i, to += n) {
    const int left = thread_row + i < rows_left ? columns_left - thread_column : 0;
    store_four(to, left, aligned, {sums[i].v[0], sums[i].v[1], sums[i].v[2], sums[i].v[3]});
    store_four(to + columns / 2, left - columns / 2, aligned, {sums[i].v[4], sums[i].v[5], sums[i].v[6], sums[i].v[7]});
  }
}

// sum[i] = Σ_s parts[s · count + i], s ascending: the second pass of a split sum. Four neighbours a thread.
__device__ __forceinline__ void add_parts(int64_t count, int splits, const float* parts, float* sum, bool aligned) {
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * 4;
  if (first >= count) return;
  const int valid = count - first < 4 ? static_cast<int>(count - first) : 4;
  float4 total = {0, 0, 0, 0};
#pragma unroll 8
  for (int s = 0; s < splits; ++s) {
    const float4 part = load_four(parts + s * count + first, valid, aligned);
    total.x += part.x, total.y += part.y, total.z += part.z, total.w += part.w;
  }
  store_four(sum + first, valid, aligned, total);
}

}  // namespace kernels::KERNEL_TARGET
