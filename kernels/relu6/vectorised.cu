// Idea: 16 bytes an access and several accesses a thread. Neighbouring threads take neighbouring float4s, so a warp
// moves 512 bytes with one instruction; a thread has all its loads under way before it needs the first, so fewer
// threads hide the memory's latency, and each costs less of its index arithmetic. Should run at the bandwidth of
// memory.
#include "kernels/common/floats.h"
#include "kernels/common/launch.h"
#include "kernels/relu6/relu6.h"

namespace kernels::KERNEL_TARGET {

constexpr int relu6_block = 256;                 // threads
constexpr int relu6_tile = relu6_block * 4 * 4;  // elements a block: four float4s a thread

__device__ __forceinline__ float relu6(float x) { return x < 0 ? 0.0f : x > 6 ? 6.0f : x; }  // NaN stays
__device__ __forceinline__ float4 relu6(const float4& x) { return {relu6(x.x), relu6(x.y), relu6(x.z), relu6(x.w)}; }

// Two selections in a row: from `x > 0 && x < 6` clang makes shuffles.
__device__ __forceinline__ float relu6_gradient(float x, float dy) { return (x < 6 ? x : 0.0f) > 0 ? dy : 0.0f; }
__device__ __forceinline__ float4 relu6_gradient(const float4& x, const float4& dy) {
  return {relu6_gradient(x.x, dy.x), relu6_gradient(x.y, dy.y), relu6_gradient(x.z, dy.z), relu6_gradient(x.w, dy.w)};
}

// aligned: all pointers are multiples of 16 bytes. The last block's tile, and all without it, goes element by element.
__global__ void __launch_bounds__(relu6_block)
    relu6_vectorised_forward(int64_t count, bool aligned, const float* x, float* y) {
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * relu6_tile;
  if (aligned && begin + relu6_tile <= count) {
    const float4* from = reinterpret_cast<const float4*>(x + begin) + threadIdx.x;
    float4* to = reinterpret_cast<float4*>(y + begin) + threadIdx.x;
    const float4 a = from[0], b = from[relu6_block], c = from[2 * relu6_block], d = from[3 * relu6_block];
    to[0] = relu6(a), to[relu6_block] = relu6(b), to[2 * relu6_block] = relu6(c), to[3 * relu6_block] = relu6(d);
  } else {
    const int64_t end = begin + relu6_tile < count ? begin + relu6_tile : count;
    for (int64_t i = begin + threadIdx.x; i < end; i += relu6_block) y[i] = relu6(x[i]);
  }
}

__global__ void __launch_bounds__(relu6_block)
    relu6_vectorised_backward(int64_t count, bool aligned, const float* x, const float* dy, float* dx) {
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * relu6_tile;
  if (aligned && begin + relu6_tile <= count) {
    const float4* from = reinterpret_cast<const float4*>(x + begin) + threadIdx.x;
    const float4* gradient = reinterpret_cast<const float4*>(dy + begin) + threadIdx.x;
    float4* to = reinterpret_cast<float4*>(dx + begin) + threadIdx.x;
    const float4 a = from[0], b = from[relu6_block], c = from[2 * relu6_block], d = from[3 * relu6_block];
    const float4 da = gradient[0], db = gradient[relu6_block], dc = gradient[2 * relu6_block],
                 dd = gradient[3 * relu6_block];
    to[0] = relu6_gradient(a, da), to[relu6_block] = relu6_gradient(b, db);
    to[2 * relu6_block] = relu6_gradient(c, dc), to[3 * relu6_block] = relu6_gradient(d, dd);
  } else {
    const int64_t end = begin + relu6_tile < count ? begin + relu6_tile : count;
    for (int64_t i = begin + threadIdx.x; i < end; i += relu6_block) dx[i] = relu6_gradient(x[i], dy[i]);
  }
}

extern const Relu6 relu6_vectorised = {
    .name = "vectorised",
    .idea = "16 bytes an access, four accesses a thread",
    .provider = Provider::native,
    .supports = [](const Relu6Shape&) { return true; },
    .workspace = [](const Relu6Shape&) -> size_t { return 0; },
    .forward =
        [](Context& context, const Relu6Shape& s, const float* x, float* y) {
          launch(context, relu6_vectorised_forward, ceil_div(s.count, relu6_tile), relu6_block, 0, s.count,
                 all_aligned({x, y}), x, y);
        },
    .backward =
        [](Context& context, const Relu6Shape& s, const float* x, const float* dy, float* dx) {
          launch(context, relu6_vectorised_backward, ceil_div(s.count, relu6_tile), relu6_block, 0, s.count,
                 all_aligned({x, dy, dx}), x, dy, dx);
        },
};

}  // namespace kernels::KERNEL_TARGET
