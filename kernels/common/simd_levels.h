// For the tables: the rows `simd`, at the level that this processor has. See simd.h.
#pragma once

namespace kernels::cpu {

// Each level compiles the same files.
namespace generic {
template <class Row>
const Row& simd_row();
}
namespace avx2 {
template <class Row>
const Row& simd_row();
}
namespace avx512 {
template <class Row>
const Row& simd_row();
}
namespace avx512bf16 {
template <class Row>
const Row& simd_row();
}
namespace amx {
template <class Row>
const Row& simd_row();
}

enum class SimdLevel { generic, avx2, avx512, avx512bf16, amx };
const char* to_string(SimdLevel);

// The highest level that this build and this processor have, or the environment's MOBILENET_SIMD (generic, avx2,
// avx512, avx512bf16, amx), so that a test reaches the others too. Throws Error where that names none, or one that is
// not there.
SimdLevel simd_level();

// Rows with code of their own for processors that have a matrix unit; for all others `amx` is `avx512bf16`, and their
// files are not compiled once more.
template <class Row>
constexpr bool on_amx = false;

template <class Row>
const Row& simd_row() {
#ifdef MOBILENET_SIMD_X86
  if constexpr (on_amx<Row>)
    if (simd_level() == SimdLevel::amx) return amx::simd_row<Row>();
  if (simd_level() >= SimdLevel::avx512bf16) return avx512bf16::simd_row<Row>();
  if (simd_level() == SimdLevel::avx512) return avx512::simd_row<Row>();
  if (simd_level() == SimdLevel::avx2) return avx2::simd_row<Row>();
#endif
  return generic::simd_row<Row>();
}

}  // namespace kernels::cpu
