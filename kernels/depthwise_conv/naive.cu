// Idea: one thread an output element, the formula as it stands. Neighbouring threads take neighbouring channels, so
// loads are coalesced, but 4 bytes each; an input pixel is loaded up to nine times, a filter by every thread. In
// backward_weight a whole sum over the batch is one thread's, which leaves most of a GPU idle.
#include "kernels/common/launch.h"
#include "kernels/depthwise_conv/depthwise_conv.h"

namespace kernels::KERNEL_TARGET {

__global__ void depthwise_conv_naive_forward(DepthwiseConvShape shape, const float* x, const float* w, float* y) {
  const int H = shape.height, W = shape.width, C = shape.channels, P = (H - 1) / shape.stride + 1,
            Q = (W - 1) / shape.stride + 1;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= int64_t{shape.batch} * P * Q * C) return;
  const int c = index % C, q = index / C % Q, p = index / C / Q % P;
  const int64_t n = index / C / Q / P;
  float sum = 0;
  for (int r = 0; r < 3; ++r)
    for (int s = 0; s < 3; ++s) {
      const int i = p * shape.stride + r - 1, j = q * shape.stride + s - 1;
      if (i >= 0 && i < H && j >= 0 && j < W) sum += x[((n * H + i) * W + j) * C + c] * w[(r * 3 + s) * C + c];
    }
  y[index] = sum;
}

__global__ void depthwise_conv_naive_backward_data(DepthwiseConvShape shape, const float* dy, const float* w,
                                                   float* dx) {
  const int H = shape.height, W = shape.width, C = shape.channels, P = (H - 1) / shape.stride + 1,
            Q = (W - 1) / shape.stride + 1;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= int64_t{shape.batch} * H * W * C) return;
  const int c = index % C, j = index / C % W, i = index / C / W % H;
  const int64_t n = index / C / W / H;
  float sum = 0;
  for (int r = 0; r < 3; ++r)
    for (int s = 0; s < 3; ++s) {
      const int up = i + 1 - r, left = j + 1 - s;  // p · stride and q · stride, where there is such an output
      if (up < 0 || left < 0 || up % shape.stride != 0 || left % shape.stride != 0) continue;
      const int p = up / shape.stride, q = left / shape.stride;
      if (p < P && q < Q) sum += dy[((n * P + p) * Q + q) * C + c] * w[(r * 3 + s) * C + c];
    }
  dx[index] = sum;
}

// One thread an element of dw: blockIdx.y = r · 3 + s.
__global__ void depthwise_conv_naive_backward_weight(DepthwiseConvShape shape, const float* x, const float* dy,
                                                     float* dw) {
  const int H = shape.height, W = shape.width, C = shape.channels, P = (H - 1) / shape.stride + 1,
            Q = (W - 1) / shape.stride + 1;
  const int c = blockIdx.x * blockDim.x + threadIdx.x, r = blockIdx.y / 3, s = blockIdx.y % 3;
  if (c >= C) return;
  float sum = 0;
  for (int64_t n = 0; n < shape.batch; ++n)
    for (int p = 0; p < P; ++p)
      for (int q = 0; q < Q; ++q) {
        const int i = p * shape.stride + r - 1, j = q * shape.stride + s - 1;
        if (i >= 0 && i < H && j >= 0 && j < W)
          sum += x[((n * H + i) * W + j) * C + c] * dy[((n * P + p) * Q + q) * C + c];
      }
  dw[(r * 3 + s) * C + c] = sum;
}

extern const DepthwiseConv depthwise_conv_naive = {
    .name = "naive",
    .idea = "one thread an output element",
    .provider = Provider::native,
    .supports = [](const DepthwiseConvShape&) { return true; },
    .workspace = [](const DepthwiseConvShape&) -> size_t { return 0; },
    .forward =
        [](Context& context, const DepthwiseConvShape& s, const float* x, const float* w, float* y) {
          const int64_t count = int64_t{s.batch} * s.out_height() * s.out_width() * s.channels;
          launch(context, depthwise_conv_naive_forward, ceil_div(count, 256), 256, 0, s, x, w, y);
        },
    .backward_data =
        [](Context& context, const DepthwiseConvShape& s, const float* dy, const float* w, float* dx) {
          const int64_t count = int64_t{s.batch} * s.height * s.width * s.channels;
          launch(context, depthwise_conv_naive_backward_data, ceil_div(count, 256), 256, 0, s, dy, w, dx);
        },
    .backward_weight =
        [](Context& context, const DepthwiseConvShape& s, const float* x, const float* dy, float* dw) {
          launch(context, depthwise_conv_naive_backward_weight, dim3(ceil_div(s.channels, 32), 9), 32, 0, s, x, dy, dw);
        },
};

}  // namespace kernels::KERNEL_TARGET
