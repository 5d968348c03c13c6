// Idea: one thread an output. With few classes that is few threads, each with a long sum.
#include "kernels/common/launch.h"
#include "kernels/linear/linear.h"

namespace kernels::KERNEL_TARGET {

__global__ void linear_naive_forward(int rows, int in, int out, const float* x, const float* w, const float* b,
                                     float* y) {
  const int64_t element = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (element >= static_cast<int64_t>(rows) * out) return;
  const int64_t m = element / out, o = element % out;
  float sum = b[o];
  for (int i = 0; i < in; ++i) sum += x[m * in + i] * w[o * in + i];
  y[element] = sum;
}

__global__ void linear_naive_backward_data(int rows, int in, int out, const float* dy, const float* w, float* dx) {
  const int64_t element = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (element >= static_cast<int64_t>(rows) * in) return;
  const int64_t m = element / in, i = element % in;
  float sum = 0;
  for (int64_t o = 0; o < out; ++o) sum += dy[m * out + o] * w[o * in + i];
  dx[element] = sum;
}

__global__ void linear_naive_backward_weight(int rows, int in, int out, const float* x, const float* dy, float* dw) {
  const int64_t element = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (element >= static_cast<int64_t>(out) * in) return;
  const int64_t o = element / in, i = element % in;
  float sum = 0;
  for (int64_t m = 0; m < rows; ++m) sum += dy[m * out + o] * x[m * in + i];
  dw[element] = sum;
}

__global__ void linear_naive_backward_bias(int rows, int out, const float* dy, float* db) {
  const int64_t o = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (o >= out) return;
  float sum = 0;
  for (int64_t m = 0; m < rows; ++m) sum += dy[m * out + o];
  db[o] = sum;
}

extern const Linear linear_naive = {
    .name = "naive",
    .idea = "one thread an output",
    .provider = Provider::native,
    .supports = [](const LinearShape&) { return true; },
    .workspace = [](const LinearShape&) -> size_t { return 0; },
    .forward =
        [](Context& context, const LinearShape& s, const float* x, const float* w, const float* b, float* y) {
          launch(context, linear_naive_forward, ceil_div(int64_t{s.rows} * s.out_features, 256), 256, 0, s.rows,
                 s.in_features, s.out_features, x, w, b, y);
        },
    .backward_data =
        [](Context& context, const LinearShape& s, const float* dy, const float* w, float* dx) {
          launch(context, linear_naive_backward_data, ceil_div(int64_t{s.rows} * s.in_features, 256), 256, 0, s.rows,
                 s.in_features, s.out_features, dy, w, dx);
        },
    .backward_weight =
        [](Context& context, const LinearShape& s, const float* x, const float* dy, float* dw, float* db) {
          launch(context, linear_naive_backward_weight, ceil_div(int64_t{s.out_features} * s.in_features, 256), 256, 0,
                 s.rows, s.in_features, s.out_features, x, dy, dw);
          launch(context, linear_naive_backward_bias, ceil_div(s.out_features, 256), 256, 0, s.rows, s.out_features, dy,
                 db);
        },
};

}  // namespace kernels::KERNEL_TARGET
