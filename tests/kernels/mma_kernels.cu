#include "tests/kernels/mma_kernels.h"

#include "kernels/common/launch.h"
#include "kernels/common/mma.h"

namespace kernels::KERNEL_TARGET {

// As mma.h's table says which lane holds what.
__global__ void mma_check_tf32(const float* a, const float* b, float* c) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  FragmentA fa[2];
  FragmentB fb[2];
  FragmentC fc[2][2];
  for (int i = 0; i < 2; ++i)
    for (int v = 0; v < 4; ++v) fa[i].v[v] = to_tf32(a[(i * 16 + g + v % 2 * 8) * 8 + t + v / 2 * 4]);
  for (int j = 0; j < 2; ++j)
    for (int v = 0; v < 2; ++v) fb[j].v[v] = to_tf32(b[(t + v * 4) * 16 + j * 8 + g]);
  const auto at = [&](int i, int j, int v) { return (i * 16 + g + v / 2 * 8) * 16 + j * 8 + 2 * t + v % 2; };
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 2; ++j)
      for (int v = 0; v < 4; ++v) fc[i][j].v[v] = c[at(i, j, v)];
  mma<Tf32>(fc, fa, fb);
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 2; ++j)
      for (int v = 0; v < 4; ++v) c[at(i, j, v)] = fc[i][j].v[v];
}

__device__ unsigned mma_check_pair(float low, float high) {
  return unsigned{to_bf16(low).bits} | unsigned{to_bf16(high).bits} << 16;
}

__global__ void mma_check_bf16(const float* a, const float* b, float* c) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  FragmentA fa[2];
  FragmentB fb[2];
  FragmentC fc[2][2];
  for (int i = 0; i < 2; ++i)
    for (int v = 0; v < 4; ++v) {
      const float* from = a + (i * 16 + g + v % 2 * 8) * 16 + 2 * t + v / 2 * 8;
      fa[i].v[v] = mma_check_pair(from[0], from[1]);
    }
  for (int j = 0; j < 2; ++j)
    for (int v = 0; v < 2; ++v) {
      const float* from = b + (2 * t + v * 8) * 16 + j * 8 + g;
      fb[j].v[v] = mma_check_pair(from[0], from[16]);
    }
  const auto at = [&](int i, int j, int v) { return (i * 16 + g + v / 2 * 8) * 16 + j * 8 + 2 * t + v % 2; };
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 2; ++j)
      for (int v = 0; v < 4; ++v) fc[i][j].v[v] = c[at(i, j, v)];
  mma<Bf16>(fc, fa, fb);
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 2; ++j)
      for (int v = 0; v < 4; ++v) c[at(i, j, v)] = fc[i][j].v[v];
}

__global__ void mma_check_ldmatrix(int* values) {
  __shared__ __align__(16) Bf16 matrix[16 * 16];
  for (int i = static_cast<int>(threadIdx.x); i < 256; i += 32) matrix[i] = {static_cast<uint16_t>(i)};
  __syncthreads();
  const int i = threadIdx.x / 8, r = threadIdx.x % 8;  // matrix i of the four quarters
  const Bf16* row = matrix + (i / 2 * 8 + r) * 16 + i % 2 * 8;
  unsigned straight[4], transposed[4];
  ldmatrix(straight, row);
  ldmatrix_transposed(transposed, row);
  for (int k = 0; k < 4; ++k) {
    values[threadIdx.x * 4 + k] = static_cast<int>(straight[k]);
    values[128 + threadIdx.x * 4 + k] = static_cast<int>(transposed[k]);
  }
}

static void run_tf32(Context& context, const float* a, const float* b, float* c) {
  launch(context, mma_check_tf32, 1, 32, 0, a, b, c);
}
static void run_bf16(Context& context, const float* a, const float* b, float* c) {
  launch(context, mma_check_bf16, 1, 32, 0, a, b, c);
}
static void run_ldmatrix(Context& context, int* values) { launch(context, mma_check_ldmatrix, 1, 32, 0, values); }

}  // namespace kernels::KERNEL_TARGET

namespace kernels {

template <>
MmaKernels mma_kernels<KERNEL_TARGET::target>() {
  return {KERNEL_TARGET::run_tf32, KERNEL_TARGET::run_bf16, KERNEL_TARGET::run_ldmatrix};
}

}  // namespace kernels
