// Idea: the pointwise convolution's product (kernels/common/product.h): tiles in shared memory, 8 × 8 outputs a thread
// in registers. It should win as soon as there are many classes. A classifier has few rows and few outputs, so the
// forward sum over the inputs is split over blocks as the weight gradient's is, and the pass that adds the parts also
// adds the bias.
#include "kernels/common/product.h"
#include "kernels/linear/tail.h"

namespace kernels::KERNEL_TARGET {

// parts[s] = x · wᵀ, summed over the s-th `length` inputs, s = blockIdx.y
template <int columns, bool aligned>
__global__ __launch_bounds__(product_threads<columns>, product_blocks<columns>) void linear_register_tile_forward(
    int rows, int in, int out, const float* x, const float* w,
    float* parts,  // (splits, M, Out)
    int length) {
  const int begin = static_cast<int>(blockIdx.y) * length, end = length < in - begin ? begin + length : in;
  product_block<Contiguous::k, Contiguous::k, columns, aligned>(
      {x, in}, {w, in}, parts + blockIdx.y * (int64_t{rows} * out), rows, out, begin, end);
}

// y[m,o] = b[o] + Σ_s parts[s,m,o], s ascending. One thread an output.
__global__ __launch_bounds__(256) void linear_register_tile_add_bias(int rows, int out, int splits,
                                                                     const float* parts,  // (splits, M, Out)
                                                                     const float* b, float* y) {
  const int64_t element = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t count = static_cast<int64_t>(rows) * out;
  if (element >= count) return;
  float sum = b[element % out];
#pragma unroll 8
  for (int s = 0; s < splits; ++s) sum += parts[s * count + element];
  y[element] = sum;
}

// dx = dy · w
template <int columns, bool aligned>
__global__ __launch_bounds__(product_threads<columns>, product_blocks<columns>) void linear_register_tile_backward_data(
    int rows, int in, int out, const float* dy, const float* w, float* dx) {
  product_block<Contiguous::k, Contiguous::row, columns, aligned>({dy, out}, {w, in}, dx, rows, in, 0, out);
}

// parts[s] = dyᵀ · x, summed over the s-th `length` rows, s = blockIdx.y
template <int columns, bool aligned>
__global__ __launch_bounds__(
    product_threads<columns>,
    product_blocks<columns>) void linear_register_tile_backward_weight(int rows, int in, int out, const float* x,
                                                                       const float* dy,
                                                                       float* parts,  // (splits, Out, In)
                                                                       int length) {
  const int begin = static_cast<int>(blockIdx.y) * length, end = length < rows - begin ? begin + length : rows;
  product_block<Contiguous::row, Contiguous::row, columns, aligned>(
      {dy, out}, {x, in}, parts + blockIdx.y * (int64_t{out} * in), out, in, begin, end);
}

// V neighbours a thread
template <int V>
__global__ __launch_bounds__(256) void linear_register_tile_add_parts(int64_t count, int splits,
                                                                      const float* parts,  // (splits, count)
                                                                      float* dw) {         // (count)
  add_parts<V>(count, splits, parts, dw);
}

// db[o] = Σ_m dy[m,o]: 32 neighbouring outputs a block, each summed by 8 threads, whose sums are added in order.
__global__ __launch_bounds__(256) void linear_register_tile_backward_bias(int rows, int out, const float* dy,
                                                                          float* db) {
  __shared__ float sums[8][32];
  const int64_t o = static_cast<int64_t>(blockIdx.x) * 32 + threadIdx.x;
  float sum = 0;
  if (o < out)
    for (int64_t m = threadIdx.y; m < rows; m += 8) sum += dy[m * out + o];
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y > 0 || o >= out) return;
  for (int i = 1; i < 8; ++i) sum += sums[i][threadIdx.x];
  db[o] = sum;
}

void linear_add_bias(Context& context, const LinearShape& s, int splits, const float* parts, const float* b, float* y) {
  launch(context, linear_register_tile_add_bias, ceil_div(int64_t{s.rows} * s.out_features, 256), 256, 0, s.rows,
         s.out_features, splits, parts, b, y);
}
void linear_add_parts(Context& context, const LinearShape& s, int splits, const float* parts, float* dw) {
  const int64_t count = int64_t{s.out_features} * s.in_features;
  const bool four = all_aligned({parts, dw}, {count});
  launch(context, four ? linear_register_tile_add_parts<4> : linear_register_tile_add_parts<1>,
         ceil_div(count, four ? 4 * 256 : 256), 256, 0, count, splits, parts, dw);
}
void linear_backward_bias(Context& context, const LinearShape& s, const float* dy, float* db) {
  launch(context, linear_register_tile_backward_bias, ceil_div(s.out_features, 32), dim3(32, 8), 0, s.rows,
         s.out_features, dy, db);
}

static void forward(Context& context, const LinearShape& s, const float* x, const float* w, const float* b, float* y) {
  const Split split = product_split(s.rows, s.out_features, s.in_features);
  // With one part the bias is added in place.
  float* parts = split.count == 1 ? y : static_cast<float*>(context.workspace);
  choose_product(s.out_features, all_aligned({x, w, parts}, {s.in_features, s.out_features}),
                 [&](auto columns, auto aligned) {
                   launch(context, linear_register_tile_forward<columns, aligned>,
                          dim3(product_tiles(s.rows, s.out_features), split.count), product_threads<columns>, 0, s.rows,
                          s.in_features, s.out_features, x, w, parts, split.length);
                 });
  linear_add_bias(context, s, split.count, parts, b, y);
}

static void backward_data(Context& context, const LinearShape& s, const float* dy, const float* w, float* dx) {
  choose_product(
      s.in_features, all_aligned({dy, w, dx}, {s.in_features, s.out_features}), [&](auto columns, auto aligned) {
        launch(context, linear_register_tile_backward_data<columns, aligned>, product_tiles(s.rows, s.in_features),
               product_threads<columns>, 0, s.rows, s.in_features, s.out_features, dy, w, dx);
      });
}

static void backward_weight(Context& context, const LinearShape& s, const float* x, const float* dy, float* dw,
                            float* db) {
  const Split split = product_split(s.out_features, s.in_features, s.rows);
  float* parts = split.count == 1 ? dw : static_cast<float*>(context.workspace);
  choose_product(s.in_features, all_aligned({x, dy, parts}, {s.in_features, s.out_features}),
                 [&](auto columns, auto aligned) {
                   launch(context, linear_register_tile_backward_weight<columns, aligned>,
                          dim3(product_tiles(s.out_features, s.in_features), split.count), product_threads<columns>, 0,
                          s.rows, s.in_features, s.out_features, x, dy, parts, split.length);
                 });
  if (split.count > 1) linear_add_parts(context, s, split.count, parts, dw);
  linear_backward_bias(context, s, dy, db);
}

extern const Linear linear_register_tile = {
    .name = "register_tile",
    .idea = "8 × 8 outputs a thread in registers, 16-byte loads, split sums",
    .provider = Provider::native,
    .supports = [](const LinearShape&) { return true; },
    .workspace = linear_product_workspace,
    .forward = forward,
    .backward_data = backward_data,
    .backward_weight = backward_weight,
};

}  // namespace kernels::KERNEL_TARGET
