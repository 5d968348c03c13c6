// Idea: a block computes 32 × 32 outputs and first brings what they need, 32 steps of the sum at a time, into shared
// memory, so that each value is read from memory once for 32 uses. It should cut the traffic to a 32nd; what bounds it
// then is shared memory, two reads for one multiply-add. One kernel body serves the three passes, which differ in how
// their operands lie in memory.
#include "kernels/common/launch.h"
#include "kernels/pointwise_conv/pointwise_conv.h"

namespace kernels::KERNEL_TARGET {

constexpr int shared_tile_size = 32;

// An operand: (row, k) at data[row · row_stride + k · k_stride]; one of the strides is 1.
struct SharedTileOperand {
  const float* data;
  int64_t row_stride, k_stride;
};

// tile[k][row] = the operand's part from (row0, k0) on, zero beyond its end. Neighbouring threads read along the stride
// of 1. One column more than used, so that neither way of writing meets in a bank.
__device__ __forceinline__ void shared_tile_load(float (*tile)[shared_tile_size + 1], SharedTileOperand from,
                                                 int64_t row0, int64_t rows, int64_t k0, int64_t depth) {
  const bool along_k = from.k_stride == 1;
  const int k = along_k ? threadIdx.x : threadIdx.y, row = along_k ? threadIdx.y : threadIdx.x;
  const bool exists = row0 + row < rows && k0 + k < depth;
  tile[k][row] = exists ? from.data[(row0 + row) * from.row_stride + (k0 + k) * from.k_stride] : 0;
}

// c[m,n] = Σ_k a(m,k) · b(n,k), a thread an output
__device__ __forceinline__ void shared_tile_product(int64_t m, int64_t n, int64_t depth, SharedTileOperand a,
                                                    SharedTileOperand b, float* c) {
  __shared__ float a_tile[shared_tile_size][shared_tile_size + 1], b_tile[shared_tile_size][shared_tile_size + 1];
  const int64_t tiles_across = (n + shared_tile_size - 1) / shared_tile_size;
  const int64_t row0 = blockIdx.x / tiles_across * shared_tile_size;
  const int64_t column0 = blockIdx.x % tiles_across * shared_tile_size;
  float sum = 0;
  for (int64_t k0 = 0; k0 < depth; k0 += shared_tile_size) {
    shared_tile_load(a_tile, a, row0, m, k0, depth);
    shared_tile_load(b_tile, b, column0, n, k0, depth);
    __syncthreads();
#pragma unroll
    for (int k = 0; k < shared_tile_size; ++k) sum += a_tile[k][threadIdx.y] * b_tile[k][threadIdx.x];
    __syncthreads();
  }
  const int64_t row = row0 + threadIdx.y, column = column0 + threadIdx.x;
  if (row < m && column < n) c[row * n + column] = sum;
}

__global__ __launch_bounds__(1024) void pointwise_conv_shared_tile_forward(int64_t rows, int in, int out,
                                                                           const float* x, const float* w, float* y) {
  shared_tile_product(rows, out, in, {x, in, 1}, {w, in, 1}, y);
}

__global__ __launch_bounds__(1024) void pointwise_conv_shared_tile_backward_data(int64_t rows, int in, int out,
                                                                                 const float* dy, const float* w,
                                                                                 float* dx) {
  shared_tile_product(rows, in, out, {dy, out, 1}, {w, 1, in}, dx);
}

__global__ __launch_bounds__(1024) void pointwise_conv_shared_tile_backward_weight(int64_t rows, int in, int out,
                                                                                   const float* x, const float* dy,
                                                                                   float* dw) {
  shared_tile_product(out, in, rows, {dy, 1, out}, {x, 1, in}, dw);
}

extern const PointwiseConv pointwise_conv_shared_tile = {
    .name = "shared_tile",
    .idea = "tiles of both operands in shared memory: a value from memory serves 32 outputs",
    .provider = Provider::native,
    .supports = [](const PointwiseConvShape&) { return true; },
    .workspace = [](const PointwiseConvShape&) -> size_t { return 0; },
    .forward =
        [](Context& context, const PointwiseConvShape& s, const float* x, const float* w, float* y) {
          const int64_t tiles = ceil_div(s.rows, shared_tile_size) * ceil_div(s.out_channels, shared_tile_size);
          launch(context, pointwise_conv_shared_tile_forward, tiles, dim3(shared_tile_size, shared_tile_size), 0,
                 s.rows, s.in_channels, s.out_channels, x, w, y);
        },
    .backward_data =
        [](Context& context, const PointwiseConvShape& s, const float* dy, const float* w, float* dx) {
          const int64_t tiles = ceil_div(s.rows, shared_tile_size) * ceil_div(s.in_channels, shared_tile_size);
          launch(context, pointwise_conv_shared_tile_backward_data, tiles, dim3(shared_tile_size, shared_tile_size), 0,
                 s.rows, s.in_channels, s.out_channels, dy, w, dx);
        },
    .backward_weight =
        [](Context& context, const PointwiseConvShape& s, const float* x, const float* dy, float* dw) {
          const int64_t tiles = ceil_div(s.out_channels, shared_tile_size) * ceil_div(s.in_channels, shared_tile_size);
          launch(context, pointwise_conv_shared_tile_backward_weight, tiles, dim3(shared_tile_size, shared_tile_size),
                 0, s.rows, s.in_channels, s.out_channels, x, dy, dw);
        },
};

}  // namespace kernels::KERNEL_TARGET
