#pragma once

// CUDA's qualifiers for a host compiler.

#define __SIMT__ 1

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __managed__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __forceinline__ inline __attribute__((always_inline))

// libstdc++ writes __attribute__((__noinline__)), so the only meaning that this name can have in both places is none.
#define __noinline__

// One OS thread runs one block at a time, so a variable per OS thread is a variable per block.
#define __shared__ static thread_local
