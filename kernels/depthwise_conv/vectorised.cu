// Idea: 16-byte loads. A thread takes four neighbouring channels of an output pixel: a quarter of the load
// instructions and of the index arithmetic, for the same bytes. Channels that 4 does not divide take the same kernel
// with one channel a thread.
#include "kernels/common/launch.h"
#include "kernels/depthwise_conv/depthwise_conv.h"
#include "kernels/depthwise_conv/row.h"

namespace kernels::KERNEL_TARGET {

template <int V>
__global__ void depthwise_conv_vectorised_forward(DepthwiseConvShape shape, const float* __restrict__ x,
                                                  const float* __restrict__ w, float* __restrict__ y) {
  const int H = shape.height, W = shape.width, C = shape.channels, P = (H - 1) / shape.stride + 1,
            Q = (W - 1) / shape.stride + 1;
  const unsigned groups = C / V, index = blockIdx.x * blockDim.x + threadIdx.x;
  const unsigned pixel = index / groups;
  const int c = index % groups * V, q = pixel % Q, p = pixel / Q % P;
  const int64_t n = pixel / Q / P;
  if (n >= shape.batch) return;
  auto sum = Floats<V>::zero();
  for (int r = 0; r < 3; ++r)
    for (int s = 0; s < 3; ++s) {
      const int i = p * shape.stride + r - 1, j = q * shape.stride + s - 1;
      if (i >= 0 && i < H && j >= 0 && j < W)
        sum.multiply_add(Floats<V>::load(x + ((n * H + i) * W + j) * C + c), Floats<V>::load(w + (r * 3 + s) * C + c));
    }
  sum.store(y + static_cast<int64_t>(pixel) * C + c);
}

template <int V>
__global__ void depthwise_conv_vectorised_backward_data(DepthwiseConvShape shape, const float* __restrict__ dy,
                                                        const float* __restrict__ w, float* __restrict__ dx) {
  const int H = shape.height, W = shape.width, C = shape.channels, P = (H - 1) / shape.stride + 1,
            Q = (W - 1) / shape.stride + 1;
  const unsigned groups = C / V, index = blockIdx.x * blockDim.x + threadIdx.x;
  const unsigned pixel = index / groups;
  const int c = index % groups * V, j = pixel % W, i = pixel / W % H;
  const int64_t n = pixel / W / H;
  if (n >= shape.batch) return;
  const int shift = shape.stride - 1;  // dividing by the stride
  auto sum = Floats<V>::zero();
  for (int r = 0; r < 3; ++r)
    for (int s = 0; s < 3; ++s) {
      const int up = i + 1 - r, left = j + 1 - s;  // p · stride and q · stride, where there is such an output
      if (up < 0 || left < 0 || ((up | left) & shift)) continue;
      const int p = up >> shift, q = left >> shift;
      if (p < P && q < Q)
        sum.multiply_add(Floats<V>::load(dy + ((n * P + p) * Q + q) * C + c), Floats<V>::load(w + (r * 3 + s) * C + c));
    }
  sum.store(dx + static_cast<int64_t>(pixel) * C + c);
}

// One thread a tap of four channels: blockIdx.y = r · 3 + s.
template <int V>
__global__ void depthwise_conv_vectorised_backward_weight(DepthwiseConvShape shape, const float* __restrict__ x,
                                                          const float* __restrict__ dy, float* __restrict__ dw) {
  const int H = shape.height, W = shape.width, C = shape.channels, P = (H - 1) / shape.stride + 1,
            Q = (W - 1) / shape.stride + 1;
  const int c = (blockIdx.x * blockDim.x + threadIdx.x) * V, r = blockIdx.y / 3, s = blockIdx.y % 3;
  if (c >= C) return;
  auto sum = Floats<V>::zero();
  for (int64_t n = 0; n < shape.batch; ++n)
    for (int p = 0; p < P; ++p) {
      const int i = p * shape.stride + r - 1;
      if (i < 0 || i >= H) continue;
      for (int q = 0; q < Q; ++q) {
        const int j = q * shape.stride + s - 1;
        if (j >= 0 && j < W)
          sum.multiply_add(Floats<V>::load(x + ((n * H + i) * W + j) * C + c),
                           Floats<V>::load(dy + ((n * P + p) * Q + q) * C + c));
      }
    }
  sum.store(dw + (r * 3 + s) * C + c);
}

extern const DepthwiseConv depthwise_conv_vectorised = {
    .name = "vectorised",
    .idea = "four channels a thread: 16-byte loads",
    .provider = Provider::native,
    // Thread numbers fit into 32 bits.
    .supports =
        [](const DepthwiseConvShape& s) {
          return int64_t{s.batch} * s.height * s.width * s.channels < (1ll << 32) - 256;
        },
    .workspace = [](const DepthwiseConvShape&) -> size_t { return 0; },
    .forward =
        [](Context& context, const DepthwiseConvShape& s, const float* x, const float* w, float* y) {
          const int V = vector_width(s, {x, w, y});
          const int64_t threads = int64_t{s.batch} * s.out_height() * s.out_width() * (s.channels / V);
          launch(context, V == 4 ? depthwise_conv_vectorised_forward<4> : depthwise_conv_vectorised_forward<1>,
                 ceil_div(threads, 256), 256, 0, s, x, w, y);
        },
    .backward_data =
        [](Context& context, const DepthwiseConvShape& s, const float* dy, const float* w, float* dx) {
          const int V = vector_width(s, {dy, w, dx});
          const int64_t threads = int64_t{s.batch} * s.height * s.width * (s.channels / V);
          launch(context,
                 V == 4 ? depthwise_conv_vectorised_backward_data<4> : depthwise_conv_vectorised_backward_data<1>,
                 ceil_div(threads, 256), 256, 0, s, dy, w, dx);
        },
    .backward_weight =
        [](Context& context, const DepthwiseConvShape& s, const float* x, const float* dy, float* dw) {
          const int V = vector_width(s, {x, dy, dw});
          launch(context,
                 V == 4 ? depthwise_conv_vectorised_backward_weight<4> : depthwise_conv_vectorised_backward_weight<1>,
                 dim3(ceil_div(s.channels / V, 32), 9), 32, 0, s, x, dy, dw);
        },
};

}  // namespace kernels::KERNEL_TARGET
