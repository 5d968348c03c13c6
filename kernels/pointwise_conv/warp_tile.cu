// Idea: a warp owns a tile of 64 × 64 outputs, 16 × 8 a thread. What its lanes read of shared memory for a step of k
// are the tile's 64 + 64 values, neighbours in neighbouring lanes, for 4096 multiply-adds; a warp of register_tile
// reads 32 + 64 for 2048. It should take a third of the pressure off shared memory. The price is 128 sums a thread: few
// threads fit on a multiprocessor, and what hides latency is that each has many independent multiply-adds.
#include <limits>

#include "kernels/common/product.h"
#include "kernels/pointwise_conv/pointwise_conv.h"

namespace kernels::KERNEL_TARGET {

// A block: 128 × 64 outputs, two warps one below the other.
constexpr int warp_tile_rows = 128, warp_tile_columns = 64, warp_tile_threads = 64;

static int64_t warp_tiles(int64_t m, int64_t n) { return ceil_div(m, warp_tile_rows) * ceil_div(n, warp_tile_columns); }

// As product_block (common/product.h).
template <Contiguous a_contiguous, Contiguous b_contiguous, bool aligned>
__device__ __forceinline__ void warp_tile_product(Operand a, Operand b, float* c, int64_t m, int n, int k_begin,
                                                  int k_end) {
  constexpr int R = warp_tile_rows, C = warp_tile_columns;
  __shared__ __align__(16) float a_tile[product_depth * R];
  __shared__ __align__(16) float b_tile[product_depth * C];
  const unsigned tiles_across = (n + C - 1u) / C;
  const int64_t row = static_cast<int64_t>(blockIdx.x / tiles_across) * R;
  const int column = static_cast<int>(blockIdx.x % tiles_across) * C;
  const int rows_left = m - row < R ? static_cast<int>(m - row) : R, columns_left = n - column;
  // The lanes: 4 × 8. A thread's rows are four times 4, 16 apart; its columns two times 4, 32 apart.
  const int warp_row = static_cast<int>(threadIdx.x / 32 * 64), lane = static_cast<int>(threadIdx.x % 32);
  const int thread_row = warp_row + lane / 8 * 4, thread_column = lane % 8 * 4;
  Float8 sums[16];
#pragma unroll
  for (int i = 0; i < 16; ++i) set_zero(sums[i]);

  TileLoader<a_contiguous, R, warp_tile_threads, aligned> load_a(a, row, k_begin);
  TileLoader<b_contiguous, C, warp_tile_threads, aligned> load_b(b, column, k_begin);
  for (int depth = k_end - k_begin; depth > 0; depth -= product_depth) {
    load_a.load(a_tile, rows_left, depth);
    load_b.load(b_tile, columns_left, depth);
    __syncthreads();
    const int steps = warp_row >= rows_left ? 0 : depth < product_depth ? depth : product_depth;
    for (int k4 = 0; k4 < steps; k4 += 4) {
#pragma unroll
      for (int k = k4; k < k4 + 4; ++k) {
        const float *a_line = a_tile + k * R, *b_line = b_tile + k * C;
        Float8 b_values;
        load(b_values, b_line + (thread_column ^ swizzle(k4)), b_line + ((thread_column + 32) ^ swizzle(k4)));
#pragma unroll
        for (int i = 0; i < 16; i += 4) {
          const float4 four = *reinterpret_cast<const float4*>(a_line + ((thread_row + i * 4) ^ swizzle(k4)));
          multiply_add(sums[i], four.x, b_values);
          multiply_add(sums[i + 1], four.y, b_values);
          multiply_add(sums[i + 2], four.z, b_values);
          multiply_add(sums[i + 3], four.w, b_values);
        }
      }
    }
    __syncthreads();
  }

#pragma unroll
  for (int i = 0; i < 16; ++i) {
    const int r = thread_row + i / 4 * 16 + i % 4, left = r < rows_left ? columns_left - thread_column : 0;
    float* to = c + (row + r) * n + column + thread_column;
    const auto& sum = sums[i].v;
    store_four<aligned>(to, left, {sum[0], sum[1], sum[2], sum[3]});
    store_four<aligned>(to + 32, left - 32, {sum[4], sum[5], sum[6], sum[7]});
  }
}

// y = x · wᵀ
template <bool aligned>
__global__ __launch_bounds__(warp_tile_threads, 4) void pointwise_conv_warp_tile_forward(int64_t rows, int in, int out,
                                                                                         const float* x, const float* w,
                                                                                         float* y) {
  warp_tile_product<Contiguous::k, Contiguous::k, aligned>({x, in}, {w, in}, y, rows, out, 0, in);
}

// dx = dy · w
template <bool aligned>
__global__ __launch_bounds__(warp_tile_threads, 4) void pointwise_conv_warp_tile_backward_data(int64_t rows, int in,
                                                                                               int out, const float* dy,
                                                                                               const float* w,
                                                                                               float* dx) {
  warp_tile_product<Contiguous::k, Contiguous::row, aligned>({dy, out}, {w, in}, dx, rows, in, 0, out);
}

// dw = dyᵀ · x, summed over rows [blockIdx.y · length, … + length) into part blockIdx.y of `parts`
template <bool aligned>
__global__ __launch_bounds__(warp_tile_threads,
                             4) void pointwise_conv_warp_tile_backward_weight(int rows, int in, int out, const float* x,
                                                                              const float* dy,
                                                                              float* parts,  // (splits, Cout, Cin)
                                                                              int length) {
  const int begin = static_cast<int>(blockIdx.y) * length, end = length < rows - begin ? begin + length : rows;
  warp_tile_product<Contiguous::row, Contiguous::row, aligned>(
      {dy, out}, {x, in}, parts + blockIdx.y * (int64_t{out} * in), out, in, begin, end);
}

// V neighbours a thread
template <int V>
__global__ __launch_bounds__(256) void pointwise_conv_warp_tile_add_parts(int64_t count, int splits,
                                                                          const float* parts,  // (splits, count)
                                                                          float* dw) {         // (count)
  add_parts<V>(count, splits, parts, dw);
}

static void forward(Context& context, const PointwiseConvShape& s, const float* x, const float* w, float* y) {
  const bool aligned = all_aligned({x, w, y}, {s.in_channels, s.out_channels});
  launch(context, aligned ? pointwise_conv_warp_tile_forward<true> : pointwise_conv_warp_tile_forward<false>,
         warp_tiles(s.rows, s.out_channels), warp_tile_threads, 0, s.rows, s.in_channels, s.out_channels, x, w, y);
}

static void backward_data(Context& context, const PointwiseConvShape& s, const float* dy, const float* w, float* dx) {
  const bool aligned = all_aligned({dy, w, dx}, {s.in_channels, s.out_channels});
  launch(context,
         aligned ? pointwise_conv_warp_tile_backward_data<true> : pointwise_conv_warp_tile_backward_data<false>,
         warp_tiles(s.rows, s.in_channels), warp_tile_threads, 0, s.rows, s.in_channels, s.out_channels, dy, w, dx);
}

static void backward_weight(Context& context, const PointwiseConvShape& s, const float* x, const float* dy, float* dw) {
  const int64_t count = int64_t{s.out_channels} * s.in_channels;
  const Split split = product_split(s.out_channels, s.in_channels, static_cast<int>(s.rows));
  float* parts = split.count == 1 ? dw : static_cast<float*>(context.workspace);
  const bool aligned = all_aligned({x, dy, parts}, {s.in_channels, s.out_channels});
  launch(context,
         aligned ? pointwise_conv_warp_tile_backward_weight<true> : pointwise_conv_warp_tile_backward_weight<false>,
         dim3(warp_tiles(s.out_channels, s.in_channels), split.count), warp_tile_threads, 0, s.rows, s.in_channels,
         s.out_channels, x, dy, parts, split.length);
  if (split.count == 1) return;
  const bool four = all_aligned({parts, dw}, {count});
  launch(context, four ? pointwise_conv_warp_tile_add_parts<4> : pointwise_conv_warp_tile_add_parts<1>,
         ceil_div(count, four ? 4 * 256 : 256), 256, 0, count, split.count, parts, dw);
}

extern const PointwiseConv pointwise_conv_warp_tile = {
    .name = "warp_tile",
    .idea = "64 × 64 outputs a warp, 16 × 8 a thread: fewer reads of shared memory",
    .provider = Provider::native,
    .supports = [](const PointwiseConvShape& s) { return s.rows <= std::numeric_limits<int>::max(); },
    .workspace = [](const PointwiseConvShape& s) -> size_t {
      return product_workspace(s.out_channels, s.in_channels, static_cast<int>(s.rows));
    },
    .forward = forward,
    .backward_data = backward_data,
    .backward_weight = backward_weight,
};

}  // namespace kernels::KERNEL_TARGET
