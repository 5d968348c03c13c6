// Idea: one thread an output element, the formula as it stands. Every thread reads a whole filter, and neighbouring
// threads read different ones.
#include "kernels/common/fused.h"
#include "kernels/conv2d/conv2d.h"

namespace kernels::KERNEL_TARGET {

// folded: y = ReLU6(x * w + bias).
template <bool folded, class T>
__global__ void conv2d_naive_forward(Conv2dShape shape, const float* x, const float* w, const float* bias, T* y) {
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
  y[index] = from_float<T>(folded ? Floats<1>{sum + bias[o]}.relu6().v : sum);
}

template <class T>
__global__ void conv2d_naive_backward_data(Conv2dShape shape, const T* dy, const float* w, float* dx) {
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
      for (int o = 0; o < O; ++o)
        sum += to_float(dy[((n * P + p) * Q + q) * O + o]) * w[((int64_t{o} * 3 + r) * 3 + s) * I + i];
    }
  dx[index] = sum;
}

// One thread an element of dw. Load: what it makes of dy, which is z with the prologue Gradient (common/fused.h).
template <class Load>
__global__ void conv2d_naive_backward_weight(Conv2dShape shape, const float* x, const typename Load::Element* dy,
                                             const typename Load::Element* du_z, FusedNorm norm_z, float* dw) {
  const int H = shape.height, W = shape.width, P = (H - 1) / shape.stride + 1, Q = (W - 1) / shape.stride + 1;
  const int I = shape.in_channels, O = shape.out_channels;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= int64_t{O} * 9 * I) return;
  const int i = index % I, s = index / I % 3, r = index / I / 3 % 3, o = index / I / 9;
  const Load load_dy(dy, du_z, o, norm_z, o);
  auto sum = Floats<1>::zero();
  for (int64_t n = 0; n < shape.batch; ++n)
    for (int p = 0; p < P; ++p)
      for (int q = 0; q < Q; ++q) {
        const int h = p * shape.stride + r - 1, v = q * shape.stride + s - 1;
        if (h >= 0 && h < H && v >= 0 && v < W)
          sum.multiply_add(x[((n * H + h) * W + v) * I + i], load_dy(((n * P + p) * Q + q) * O));
      }
  sum.store(dw + index);
}

// A sum of many values as coarse as bfloat16's rounds the same way again and again in float; one of so many does not.
constexpr int64_t slice_rows = 4096;

// One thread a channel and slice of y (rows, channels).
template <class T>
__global__ void conv2d_naive_statistics(int64_t rows, int channels, const T* y, Partials partials) {
  __shared__ __align__(16) float shared[join_floats<1, 32>];
  const int c = blockIdx.x * blockDim.x + threadIdx.x;
  Statistics<1> statistics;
  if (c < channels)
    for (int64_t m = blockIdx.y * slice_rows; m < rows && m < (blockIdx.y + 1) * slice_rows; ++m)
      statistics.add(Floats<1>::load(y + m * channels + c));
  join_statistics(statistics, lane_of_block(), c, channels, shared, partials.sums + blockIdx.y * 2 * channels,
                  partials.counts + blockIdx.y);
}

namespace {

int64_t rows_of(const Conv2dShape& s) { return int64_t{s.batch} * s.out_height() * s.out_width(); }
int slices_of(const Conv2dShape& s) { return static_cast<int>(ceil_div(rows_of(s), slice_rows)); }

template <bool folded, class T>
void forward(Context& context, const Conv2dShape& s, const float* x, const float* w, const float* bias, T* y) {
  const int64_t count = int64_t{s.batch} * s.out_height() * s.out_width() * s.out_channels;
  launch(context, conv2d_naive_forward<folded, T>, ceil_div(count, 256), 256, 0, s, x, w, bias, y);
}

template <class T, template <int, class> class Load>
void backward_weight(Context& context, const Conv2dShape& s, const float* x, const T* dy, const T* du_z,
                     const FusedNorm& norm_z, float* dw) {
  const int64_t count = int64_t{s.out_channels} * 9 * s.in_channels;
  launch(context, conv2d_naive_backward_weight<Load<1, T>>, ceil_div(count, 32), 32, 0, s, x, dy, du_z, norm_z, dw);
}

template <class T>
constexpr Conv2dOf<T> naive_row = {
    .name = "naive",
    .idea = "one thread an output element",
    .provider = Provider::native,
    .supports = [](const Conv2dShape&) { return true; },
    .workspace = [](const Conv2dShape& s) -> size_t { return partials_bytes(slices_of(s), s.out_channels); },
    .forward = [](Context& context, const Conv2dShape& s, const float* x, const float* w,
                  T* y) { forward<false>(context, s, x, w, nullptr, y); },
    .backward_data =
        [](Context& context, const Conv2dShape& s, const T* dy, const float* w, float* dx) {
          const int64_t count = int64_t{s.batch} * s.height * s.width * s.in_channels;
          launch(context, conv2d_naive_backward_data<T>, ceil_div(count, 256), 256, 0, s, dy, w, dx);
        },
    .backward_weight = [](Context& context, const Conv2dShape& s, const float* x, const T* dy,
                          float* dw) { backward_weight<T, Plain>(context, s, x, dy, nullptr, {}, dw); },
    .forward_fused =
        [](Context& context, const Conv2dShape& s, const float* x, const float* w, T* z, const FusedNorm& norm_z) {
          const int slices = slices_of(s);
          const Partials partials = partials_at(context.workspace, slices, s.out_channels);
          forward<false>(context, s, x, w, nullptr, z);
          launch(context, conv2d_naive_statistics<T>, dim3(ceil_div(s.out_channels, 32), slices), 32, 0, rows_of(s),
                 s.out_channels, z, partials);
          fused_finish_statistics(context, rows_of(s), s.out_channels, slices, partials, norm_z);
        },
    .backward_weight_fused = [](Context& context, const Conv2dShape& s, const float* x, const T* z,
                                const FusedNorm& norm_z, const T* du_z,
                                float* dw) { backward_weight<T, Gradient>(context, s, x, z, du_z, norm_z, dw); },
    .forward_folded = forward<true, T>,
};

}  // namespace

extern const Conv2d conv2d_naive = naive_row<float>;
extern const Conv2dOf<Bf16> conv2d_naive_bf16 = naive_row<Bf16>;

}  // namespace kernels::KERNEL_TARGET
