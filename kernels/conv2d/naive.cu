// Idea: one thread an output element, the formula as it stands. Every thread reads a whole filter, and neighbouring
// threads read different ones.
#include "kernels/common/launch.h"
#include "kernels/conv2d/conv2d.h"

namespace kernels::KERNEL_TARGET {

__global__ void conv2d_naive_forward(Conv2dShape shape, const float* x, const float* w, float* y) {
  const int H = shape.height, W = shape.width, P = (H - 1) / shape.stride + 1, Q = (W - 1) / shape.stride + 1;
  const int I = shape.in_channels, O = shape.out_channels;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= int64_t{shape.batch} * P * Q * O) return;
  const int o = index % O, q = index / O % Q, p = index / O / Q % P;
  const int64_t n = index / O / Q / P;
  float sum = 0;
  for (int r = 0; r < 3; ++r)
    for (int s = 0; s < 3; ++s) {
      const int h = p * shape.stride + r - 1, v = q * shape.stride + s - 1;
      if (h < 0 || h >= H || v < 0 || v >= W) continue;
      for (int i = 0; i < I; ++i) sum += x[((n * H + h) * W + v) * I + i] * w[((int64_t{o} * 3 + r) * 3 + s) * I + i];
    }
  y[index] = sum;
}

__global__ void conv2d_naive_backward_data(Conv2dShape shape, const float* dy, const float* w, float* dx) {
  const int H = shape.height, W = shape.width, P = (H - 1) / shape.stride + 1, Q = (W - 1) / shape.stride + 1;
  const int I = shape.in_channels, O = shape.out_channels;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= int64_t{shape.batch} * H * W * I) return;
  const int i = index % I, v = index / I % W, h = index / I / W % H;
  const int64_t n = index / I / W / H;
  float sum = 0;
  for (int r = 0; r < 3; ++r)
    for (int s = 0; s < 3; ++s) {
      const int up = h + 1 - r, left = v + 1 - s;  // p · stride and q · stride, where there is such an output
      if (up < 0 || left < 0 || up % shape.stride != 0 || left % shape.stride != 0) continue;
      const int p = up / shape.stride, q = left / shape.stride;
      if (p >= P || q >= Q) continue;
      for (int o = 0; o < O; ++o) sum += dy[((n * P + p) * Q + q) * O + o] * w[((int64_t{o} * 3 + r) * 3 + s) * I + i];
    }
  dx[index] = sum;
}

// One thread an element of dw.
__global__ void conv2d_naive_backward_weight(Conv2dShape shape, const float* x, const float* dy, float* dw) {
  const int H = shape.height, W = shape.width, P = (H - 1) / shape.stride + 1, Q = (W - 1) / shape.stride + 1;
  const int I = shape.in_channels, O = shape.out_channels;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= int64_t{O} * 9 * I) return;
  const int i = index % I, s = index / I % 3, r = index / I / 3 % 3, o = index / I / 9;
  float sum = 0;
  for (int64_t n = 0; n < shape.batch; ++n)
    for (int p = 0; p < P; ++p)
      for (int q = 0; q < Q; ++q) {
        const int h = p * shape.stride + r - 1, v = q * shape.stride + s - 1;
        if (h >= 0 && h < H && v >= 0 && v < W)
          sum += x[((n * H + h) * W + v) * I + i] * dy[((n * P + p) * Q + q) * O + o];
      }
  dw[index] = sum;
}

extern const Conv2d conv2d_naive = {
    .name = "naive",
    .idea = "one thread an output element",
    .provider = Provider::native,
    .supports = [](const Conv2dShape&) { return true; },
    .workspace = [](const Conv2dShape&) -> size_t { return 0; },
    .forward =
        [](Context& context, const Conv2dShape& s, const float* x, const float* w, float* y) {
          const int64_t count = int64_t{s.batch} * s.out_height() * s.out_width() * s.out_channels;
          launch(context, conv2d_naive_forward, ceil_div(count, 256), 256, 0, s, x, w, y);
        },
    .backward_data =
        [](Context& context, const Conv2dShape& s, const float* dy, const float* w, float* dx) {
          const int64_t count = int64_t{s.batch} * s.height * s.width * s.in_channels;
          launch(context, conv2d_naive_backward_data, ceil_div(count, 256), 256, 0, s, dy, w, dx);
        },
    .backward_weight =
        [](Context& context, const Conv2dShape& s, const float* x, const float* dy, float* dw) {
          const int64_t count = int64_t{s.out_channels} * 9 * s.in_channels;
          launch(context, conv2d_naive_backward_weight, ceil_div(count, 32), 32, 0, s, x, dy, dw);
        },
};

}  // namespace kernels::KERNEL_TARGET
