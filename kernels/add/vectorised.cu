// Idea: 16 bytes an access and several accesses a thread, as relu6/vectorised.cu says.
#include "kernels/add/add.h"
#include "kernels/common/floats.h"
#include "kernels/common/launch.h"

namespace kernels::KERNEL_TARGET {

constexpr int add_block = 256;               // threads
constexpr int add_tile = add_block * 4 * 4;  // elements a block: four float4s a thread

__device__ __forceinline__ float4 add(const float4& a, const float4& b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
}

// aligned: all pointers are multiples of 16 bytes. The last block's tile, and all without it, goes element by element.
__global__ void __launch_bounds__(add_block)
    add_vectorised_forward(int64_t count, bool aligned, const float* a, const float* b, float* y) {
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * add_tile;
  if (aligned && begin + add_tile <= count) {
    const float4* p = reinterpret_cast<const float4*>(a + begin) + threadIdx.x;
    const float4* q = reinterpret_cast<const float4*>(b + begin) + threadIdx.x;
    float4* to = reinterpret_cast<float4*>(y + begin) + threadIdx.x;
    const float4 a0 = p[0], a1 = p[add_block], a2 = p[2 * add_block], a3 = p[3 * add_block];
    const float4 b0 = q[0], b1 = q[add_block], b2 = q[2 * add_block], b3 = q[3 * add_block];
    to[0] = add(a0, b0), to[add_block] = add(a1, b1);
    to[2 * add_block] = add(a2, b2), to[3 * add_block] = add(a3, b3);
  } else {
    const int64_t end = begin + add_tile < count ? begin + add_tile : count;
    for (int64_t i = begin + threadIdx.x; i < end; i += add_block) y[i] = a[i] + b[i];
  }
}

extern const Add add_vectorised = {
    .name = "vectorised",
    .idea = "16 bytes an access, four accesses a thread",
    .provider = Provider::native,
    .supports = [](const AddShape&) { return true; },
    .workspace = [](const AddShape&) -> size_t { return 0; },
    .forward =
        [](Context& context, const AddShape& s, const float* a, const float* b, float* y) {
          launch(context, add_vectorised_forward, ceil_div(s.count, add_tile), add_block, 0, s.count,
                 all_aligned({a, b, y}), a, b, y);
        },
};

}  // namespace kernels::KERNEL_TARGET
