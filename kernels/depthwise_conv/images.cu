// Idea: several images a block and a whole map a thread, for maps of 4×4 and less, where strips and tiles are mostly
// border and one image may not fill a warp. Threads run over channels first, then over images. Each loads a map of its
// channels into registers, every element once, and takes several images with the same filter where there are very many.
// The map's size is known when the kernel is compiled, so a tap that falls outside costs neither a test nor a product:
// 100 of 144 are left on 4×4 at stride 1, 16 of 36 on 2×2.
#include "kernels/depthwise_conv/weight_sums.h"

namespace kernels::KERNEL_TARGET {

namespace {

constexpr int threads = 128;  // a block's

// A map in registers: N×N pixels, zero beyond height and width.
template <int V, int N>
__device__ __forceinline__ void load_map(Floats<V> (&map)[N][N], const float* from, int height, int width,
                                         int channels) {
#pragma unroll
  for (int i = 0; i < N; ++i) load_row(map[i], from + i * width * channels, 0, i < height ? width : 0, channels);
}

template <int V, int S, int N, bool flip>
__device__ __forceinline__ void convolve_images(const DepthwiseConvShape& shape, int images_a_thread,
                                                const float* __restrict__ x, const float* __restrict__ w,
                                                float* __restrict__ y) {
  const int H = shape.height, W = shape.width, C = shape.channels, P = (H - 1) / S + 1, Q = (W - 1) / S + 1;
  const unsigned groups = C / V, index = blockIdx.x * blockDim.x + threadIdx.x;
  const int c = index % groups * V;
  const int64_t first = static_cast<int64_t>(index / groups) * images_a_thread;
  if (first >= shape.batch) return;
  Floats<V> filter[9];
  load_taps(filter, w + c, C, flip);
  for (int64_t n = first; n < first + images_a_thread && n < shape.batch; ++n) {
    Floats<V> map[N][N];
    load_map(map, x + n * H * W * C + c, H, W, C);
    float* to = y + n * P * Q * C + c;
#pragma unroll
    for (int p = 0; p < (N - 1) / S + 1; ++p)
#pragma unroll
      for (int q = 0; q < (N - 1) / S + 1; ++q) {
        auto sum = Floats<V>::zero();
#pragma unroll
        for (int r = 0; r < 3; ++r)
#pragma unroll
          for (int s = 0; s < 3; ++s) {
            const int i = p * S + r - 1, j = q * S + s - 1;
            if (i >= 0 && i < N && j >= 0 && j < N) sum.multiply_add(map[i][j], filter[r * 3 + s]);
          }
        if (p < P && q < Q) sum.store(to + (p * Q + q) * C);
      }
  }
}

// dx at stride 2, of maps up to N×N.
template <int V, int N>
__device__ __forceinline__ void spread_images(const DepthwiseConvShape& shape, int images_a_thread,
                                              const float* __restrict__ dy, const float* __restrict__ w,
                                              float* __restrict__ dx) {
  const int H = shape.height, W = shape.width, C = shape.channels, P = (H - 1) / 2 + 1, Q = (W - 1) / 2 + 1;
  const unsigned groups = C / V, index = blockIdx.x * blockDim.x + threadIdx.x;
  const int c = index % groups * V;
  const int64_t first = static_cast<int64_t>(index / groups) * images_a_thread;
  if (first >= shape.batch) return;
  Floats<V> filter[9];
  load_taps(filter, w + c, C, false);
  for (int64_t n = first; n < first + images_a_thread && n < shape.batch; ++n) {
    Floats<V> map[N / 2][N / 2];
    load_map(map, dy + n * P * Q * C + c, P, Q, C);
    float* to = dx + n * H * W * C + c;
#pragma unroll
    for (int i = 0; i < N; ++i)
#pragma unroll
      for (int j = 0; j < N; ++j) {
        auto sum = Floats<V>::zero();
#pragma unroll
        for (int r = 0; r < 3; ++r)
#pragma unroll
          for (int s = 0; s < 3; ++s) {
            const int up = i + 1 - r, left = j + 1 - s;  // 2p and 2q, where there is such an output
            if (up >= 0 && left >= 0 && up < N && left < N && up % 2 == 0 && left % 2 == 0)
              sum.multiply_add(map[up / 2][left / 2], filter[r * 3 + s]);
          }
        if (i < H && j < W) sum.store(to + (i * W + j) * C);
      }
  }
}

}  // namespace

template <int V, int S, int N>
__global__ void __launch_bounds__(threads, 4)
    depthwise_conv_images_forward(DepthwiseConvShape shape, int images_a_thread, const float* __restrict__ x,
                                  const float* __restrict__ w, float* __restrict__ y) {
  convolve_images<V, S, N, false>(shape, images_a_thread, x, w, y);
}

// At stride 1, dx = dy * w, the filter turned by 180°.
template <int V, int S, int N>
__global__ void __launch_bounds__(threads, 4)
    depthwise_conv_images_backward_data(DepthwiseConvShape shape, int images_a_thread, const float* __restrict__ dy,
                                        const float* __restrict__ w, float* __restrict__ dx) {
  if constexpr (S == 1)
    convolve_images<V, 1, N, true>(shape, images_a_thread, dy, w, dx);
  else
    spread_images<V, N>(shape, images_a_thread, dy, w, dx);
}

// partial: (slices, 3, 3, C). blockIdx: (channel block, slice); blockDim: (groups, lanes). A unit is an image.
template <int V, int S, int N>
__global__ void __launch_bounds__(weight_threads)
    depthwise_conv_images_backward_weight(DepthwiseConvShape shape, int64_t images_a_lane, const float* __restrict__ x,
                                          const float* __restrict__ dy, float* __restrict__ partial) {
  const int H = shape.height, W = shape.width, C = shape.channels, P = (H - 1) / S + 1, Q = (W - 1) / S + 1;
  const int c = (blockIdx.x * blockDim.x + threadIdx.x) * V, lanes = blockDim.y;
  const int64_t slice_begin = blockIdx.y * images_a_lane * lanes;
  __shared__ __align__(16) float shared[add_lanes_floats<V>];
  Floats<V> sums[9];
  set_zero(sums);
  for (int64_t turn = 0; turn < images_a_lane; ++turn) {
    const int64_t n = slice_begin + turn * lanes + threadIdx.y;
    if (n >= shape.batch || c >= C) break;
    Floats<V> map[N][N];
    load_map(map, x + n * H * W * C + c, H, W, C);
    const float* gradients = dy + n * P * Q * C + c;
#pragma unroll
    for (int p = 0; p < (N - 1) / S + 1; ++p) {
      Floats<V> row[(N - 1) / S + 1];
      load_row(row, gradients + p * Q * C, 0, p < P ? Q : 0, C);
#pragma unroll
      for (int q = 0; q < (N - 1) / S + 1; ++q)
#pragma unroll
        for (int r = 0; r < 3; ++r)
#pragma unroll
          for (int s = 0; s < 3; ++s) {
            const int i = p * S + r - 1, j = q * S + s - 1;
            if (i >= 0 && i < N && j >= 0 && j < N) sums[r * 3 + s].multiply_add(map[i][j], row[q]);
          }
    }
  }
  add_lanes(sums, c, C, partial + static_cast<int64_t>(blockIdx.y) * 9 * C, shared);
}

namespace {

// Several images a thread where as many threads as today's largest GPUs hold (about 2^16 of this kernel's) remain.
int images_a_thread(const DepthwiseConvShape& s, int V) {
  return std::clamp<int64_t>(int64_t{s.batch} * (s.channels / V) >> 16, 1, 8);
}

int64_t blocks(const DepthwiseConvShape& s, int V) {
  return ceil_div(ceil_div(s.batch, images_a_thread(s, V)) * (s.channels / V), threads);
}

// At least 16 outputs a thread.
Split cut(const DepthwiseConvShape& s, int V) {
  return split(s.channels / V, s.batch, ceil_div(16, int64_t{s.out_height()} * s.out_width()));
}

// The instance of a kernel for a shape: kernel(V, S, N) with constants, N = 2 or 4 for maps up to N×N.
template <class F>
auto instance(const DepthwiseConvShape& s, int V, F kernel) {
  constexpr std::integral_constant<int, 1> one;
  constexpr std::integral_constant<int, 2> two;
  constexpr std::integral_constant<int, 4> four;
  const bool small = s.height <= 2 && s.width <= 2;
  if (s.stride == 1)
    return V == 4 ? (small ? kernel(four, one, two) : kernel(four, one, four))
                  : (small ? kernel(one, one, two) : kernel(one, one, four));
  return V == 4 ? (small ? kernel(four, two, two) : kernel(four, two, four))
                : (small ? kernel(one, two, two) : kernel(one, two, four));
}

}  // namespace

extern const DepthwiseConv depthwise_conv_images = {
    .name = "images",
    .idea = "maps up to 4x4: a whole map in a thread's registers, several images a block",
    .provider = Provider::native,
    // Thread numbers fit into 32 bits.
    .supports =
        [](const DepthwiseConvShape& s) {
          return s.height <= 4 && s.width <= 4 && int64_t{s.batch} * s.channels < 0xffffff00;
        },
    .workspace = [](const DepthwiseConvShape& s) -> size_t {
      return partial_bytes(s, std::max(cut(s, 1).slices, s.channels % 4 == 0 ? cut(s, 4).slices : 0));
    },
    .forward =
        [](Context& context, const DepthwiseConvShape& s, const float* x, const float* w, float* y) {
          const int V = vector_width(s, {x, w, y});
          const auto kernel = instance(s, V, [](auto v, auto stride, auto n) {
            return &depthwise_conv_images_forward<v.value, stride.value, n.value>;
          });
          launch(context, kernel, blocks(s, V), threads, 0, s, images_a_thread(s, V), x, w, y);
        },
    .backward_data =
        [](Context& context, const DepthwiseConvShape& s, const float* dy, const float* w, float* dx) {
          const int V = vector_width(s, {dy, w, dx});
          const auto kernel = instance(s, V, [](auto v, auto stride, auto n) {
            return &depthwise_conv_images_backward_data<v.value, stride.value, n.value>;
          });
          launch(context, kernel, blocks(s, V), threads, 0, s, images_a_thread(s, V), dy, w, dx);
        },
    .backward_weight =
        [](Context& context, const DepthwiseConvShape& s, const float* x, const float* dy, float* dw) {
          const int V = vector_width(s, {x, dy});
          const Split split = cut(s, V);
          float* partial = static_cast<float*>(context.workspace);
          const auto kernel = instance(s, V, [](auto v, auto stride, auto n) {
            return &depthwise_conv_images_backward_weight<v.value, stride.value, n.value>;
          });
          launch(context, kernel, dim3(split.channel_blocks, split.slices), dim3(split.groups, split.lanes), 0, s,
                 split.units_a_lane, x, dy, partial);
          add_partial_weights(context, s.channels, split.slices, partial, dw);
        },
};

}  // namespace kernels::KERNEL_TARGET
