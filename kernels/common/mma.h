// Tensor cores: products of small matrices that a warp holds in its registers, and how they get there. Inline PTX on
// the GPU (PTX ISA 9.7.14, "Warp Level Matrix Multiply-Accumulate Instructions"), a body of the same meaning on the
// CPU.
//
//   mma<Tf32, M, N>(c, a, b)   c[i][j] += a[i] · b[j]: 16 × 8 += (16 × 8) · (8 × 8), factors of 11 bits of mantissa
//   mma<Bf16, M, N>(c, a, b)   c[i][j] += a[i] · b[j]: 16 × 8 += (16 × 16) · (16 × 8), factors bfloat16
//   ldmatrix(r, row)           four 8 × 8 matrices of bfloat16 from shared memory; ldmatrix_transposed: each transposed
//
// All 32 lanes of a warp call them together. Which elements a lane holds, with g = lane / 4 and t = lane % 4 (two
// bfloat16 share a register, the lower half first):
//
//            tf32, (row, k) or (k, column)     bf16
//   a.v[0]   (g, t)                            (g, 2t) (g, 2t+1)
//   a.v[1]   (g+8, t)                          (g+8, 2t) (g+8, 2t+1)
//   a.v[2]   (g, t+4)                          (g, 2t+8) (g, 2t+9)
//   a.v[3]   (g+8, t+4)                        (g+8, 2t+8) (g+8, 2t+9)
//   b.v[0]   (t, g)                            (2t, g) (2t+1, g)
//   b.v[1]   (t+4, g)                          (2t+8, g) (2t+9, g)
//   c.v[0…3] (g, 2t) (g, 2t+1) (g+8, 2t) (g+8, 2t+1)   float, (row, column)
//
// mma.sync for these types and cvt.rna.tf32 exist from compute capability 8.0 on; below, shuffles and integer
// operations do the same, slowly.
#pragma once

#include <type_traits>

#include "kernels/common/bf16.h"
#include "kernels/common/target.h"
#ifdef __SIMT__
#include <simt/simt.h>
#endif

namespace kernels::KERNEL_TARGET {

struct Tf32;  // names the precision; a value of it is a float whose lower 13 bits a tensor core does not look at

struct FragmentA {
  unsigned v[4];
};
struct FragmentB {
  unsigned v[2];
};
struct FragmentC {
  float v[4];
};

// Steps of k in one instruction.
template <class Precision>
inline constexpr int mma_depth = std::is_same_v<Precision, Tf32> ? 8 : 16;

__device__ __forceinline__ unsigned bits_of(float x) {
  unsigned bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
__device__ __forceinline__ float float_of(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// To the nearest number of 11 bits of mantissa (10 stored), ties away from zero: an error of at most 2⁻¹¹ of the value.
__device__ __forceinline__ unsigned to_tf32(float x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  unsigned result;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(result) : "f"(x));
  return result;
#else
  const unsigned bits = bits_of(x);
  return (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fffffffu : (bits + 0x1000u) & 0xffffe000u;
#endif
}

// Element `half` of a register of two bfloat16.
__device__ __forceinline__ float half_of(unsigned pair, int half) {
  return float_of(half == 0 ? pair << 16 : pair & 0xffff0000u);
}

#ifdef __SIMT__

namespace mma_on_cpu {

struct Operands {
  FragmentC* c;
  const FragmentA* a;
  const FragmentB* b;
};

// The last lane to arrive multiplies for all: gathers the matrices from the lanes' fragments, and scatters the result.
// Products are exact in fp32, and added in the order of k.
template <class Precision, int M, int N>
void complete(simt::WarpLane* lanes, unsigned) {
  constexpr bool tf32 = mma_depth<Precision> == 8;
  constexpr int depth = mma_depth<Precision>;
  float a[M * 16][depth], b[depth][N * 8], c[M * 16][N * 8];
  for (int lane = 0; lane < 32; ++lane) {
    const auto& own = simt::warp_argument<Operands>(lanes[lane]);
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < M; ++i)
      for (int v = 0; v < 4; ++v) {
        const int row = i * 16 + g + v % 2 * 8;
        if (tf32) {
          a[row][t + v / 2 * 4] = float_of(own.a[i].v[v] & 0xffffe000u);
        } else {
          for (int half = 0; half < 2; ++half) a[row][2 * t + v / 2 * 8 + half] = half_of(own.a[i].v[v], half);
        }
      }
    for (int j = 0; j < N; ++j)
      for (int v = 0; v < 2; ++v) {
        if (tf32) {
          b[t + v * 4][j * 8 + g] = float_of(own.b[j].v[v] & 0xffffe000u);
        } else {
          for (int half = 0; half < 2; ++half) b[2 * t + v * 8 + half][j * 8 + g] = half_of(own.b[j].v[v], half);
        }
      }
    for (int i = 0; i < M; ++i)
      for (int j = 0; j < N; ++j)
        for (int v = 0; v < 4; ++v) c[i * 16 + g + v / 2 * 8][j * 8 + 2 * t + v % 2] = own.c[i * N + j].v[v];
  }
  for (int row = 0; row < M * 16; ++row)
    for (int k = 0; k < depth; ++k)
      for (int column = 0; column < N * 8; ++column) c[row][column] += a[row][k] * b[k][column];
  for (int lane = 0; lane < 32; ++lane) {
    const auto& own = simt::warp_argument<Operands>(lanes[lane]);
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < M; ++i)
      for (int j = 0; j < N; ++j)
        for (int v = 0; v < 4; ++v) own.c[i * N + j].v[v] = c[i * 16 + g + v / 2 * 8][j * 8 + 2 * t + v % 2];
  }
}
template <class Precision, int M, int N>
inline constexpr simt::WarpOperation operation = {"mma.sync", complete<Precision, M, N>};

struct MatrixRow {
  const Bf16* row;
  unsigned* result;
};
template <bool transposed>
void complete_ldmatrix(simt::WarpLane* lanes, unsigned) {
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) {
      const auto element = [&](int row, int column) {
        return unsigned{simt::warp_argument<MatrixRow>(lanes[i * 8 + row]).row[column].bits};
      };
      simt::warp_argument<MatrixRow>(lanes[lane]).result[i] = transposed
                                                                  ? element(2 * t, g) | element(2 * t + 1, g) << 16
                                                                  : element(g, 2 * t) | element(g, 2 * t + 1) << 16;
    }
  }
}
template <bool transposed>
inline constexpr simt::WarpOperation ldmatrix_operation = {"ldmatrix", complete_ldmatrix<transposed>};

}  // namespace mma_on_cpu

#else

// One instruction.
template <class Precision>
__device__ __forceinline__ void mma_one(FragmentC& c, const FragmentA& a, const FragmentB& b) {
#if __CUDA_ARCH__ >= 800
  if constexpr (mma_depth<Precision> == 8)
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c.v[0]), "+f"(c.v[1]), "+f"(c.v[2]), "+f"(c.v[3])
        : "r"(a.v[0]), "r"(a.v[1]), "r"(a.v[2]), "r"(a.v[3]), "r"(b.v[0]), "r"(b.v[1]));
  else
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c.v[0]), "+f"(c.v[1]), "+f"(c.v[2]), "+f"(c.v[3])
        : "r"(a.v[0]), "r"(a.v[1]), "r"(a.v[2]), "r"(a.v[3]), "r"(b.v[0]), "r"(b.v[1]));
#else
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  for (int v = 0; v < 2; ++v)               // which register of b, and pair of a
    for (int from = 0; from < 4; ++from) {  // which lane of four
      const unsigned low = __shfl_sync(0xffffffffu, a.v[2 * v], g * 4 + from);
      const unsigned high = __shfl_sync(0xffffffffu, a.v[2 * v + 1], g * 4 + from);
      const unsigned left = __shfl_sync(0xffffffffu, b.v[v], 2 * t * 4 + from);
      const unsigned right = __shfl_sync(0xffffffffu, b.v[v], (2 * t + 1) * 4 + from);
      for (int half = 0; half < (mma_depth<Precision> == 8 ? 1 : 2); ++half) {
        const auto value = [half](unsigned x) {
          return mma_depth<Precision> == 8 ? float_of(x & 0xffffe000u) : half_of(x, half);
        };
        c.v[0] += value(low) * value(left), c.v[1] += value(low) * value(right);
        c.v[2] += value(high) * value(left), c.v[3] += value(high) * value(right);
      }
    }
#endif
}

#endif

// Precision: Tf32 or Bf16.
template <class Precision, int M, int N>
__device__ __forceinline__ void mma(FragmentC (&c)[M][N], const FragmentA (&a)[M], const FragmentB (&b)[N]) {
#ifdef __SIMT__
  mma_on_cpu::Operands operands = {c[0], a, b};
  simt::warp_operation(mma_on_cpu::operation<Precision, M, N>, operands);
#else
#pragma unroll
  for (int i = 0; i < M; ++i)
#pragma unroll
    for (int j = 0; j < N; ++j) mma_one<Precision>(c[i][j], a[i], b[j]);
#endif
}

// Lane l gives row l % 8 of matrix l / 8: eight bfloat16 in shared memory, 16-byte aligned. r[i] are two neighbours of
// matrix i: row g, columns 2t and 2t+1.
__device__ __forceinline__ void ldmatrix(unsigned (&r)[4], const Bf16* row) {
#ifdef __SIMT__
  mma_on_cpu::MatrixRow own = {row, r};
  simt::warp_operation(mma_on_cpu::ldmatrix_operation<false>, own);
#else
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
#endif
}

// The same of each matrix transposed: column g, rows 2t and 2t+1 of what lies in memory.
__device__ __forceinline__ void ldmatrix_transposed(unsigned (&r)[4], const Bf16* row) {
#ifdef __SIMT__
  mma_on_cpu::MatrixRow own = {row, r};
  simt::warp_operation(mma_on_cpu::ldmatrix_operation<true>, own);
#else
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
#endif
}

}  // namespace kernels::KERNEL_TARGET
