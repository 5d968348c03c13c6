// Idea: one thread an element. Bound by memory: 4 bytes in and 4 out (8 in and 4 out backward; half of it for bfloat16)
// for one comparison or two.
#include "kernels/common/launch.h"
#include "kernels/relu6/relu6.h"

namespace kernels::KERNEL_TARGET {

template <class T>
__global__ void relu6_naive_forward(int64_t count, const T* x, T* y) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const float v = to_float(x[i]);
  y[i] = from_float<T>(v < 0 ? 0.0f : v > 6 ? 6.0f : v);  // not fminf and fmaxf, which would turn NaN into a number
}

template <class T>
__global__ void relu6_naive_backward(int64_t count, const T* x, const T* dy, T* dx) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const float v = to_float(x[i]);
  dx[i] = v > 0 && v < 6 ? dy[i] : from_float<T>(0);
}

template <class T>
static constexpr Relu6Of<T> naive_row = {
    .name = "naive",
    .idea = "one thread an element",
    .provider = Provider::native,
    .supports = [](const Relu6Shape&) { return true; },
    .workspace = [](const Relu6Shape&) -> size_t { return 0; },
    .forward = [](Context& context, const Relu6Shape& s, const T* x,
                  T* y) { launch(context, relu6_naive_forward<T>, ceil_div(s.count, 256), 256, 0, s.count, x, y); },
    .backward =
        [](Context& context, const Relu6Shape& s, const T* x, const T* dy, T* dx) {
          launch(context, relu6_naive_backward<T>, ceil_div(s.count, 256), 256, 0, s.count, x, dy, dx);
        },
};

extern const Relu6 relu6_naive = naive_row<float>;
extern const Relu6Of<Bf16> relu6_naive_bf16 = naive_row<Bf16>;

}  // namespace kernels::KERNEL_TARGET
