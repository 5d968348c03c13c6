#pragma once

// What engine/simt offers beyond CUDA's own functions. <cuda_runtime.h> includes this file, so a kernel has it too.

#include <cstdint>

namespace simt {

// The number of OS threads that run the blocks of a grid, the launching one included. At first it is the environment's
// SIMT_THREADS, or the number of processors that this process may use. n is clamped to [1, 1024].
void set_threads(int n);
int threads();

// The order in which the threads of a block and the blocks of a grid run: 0 (the default, or the environment's
// SIMT_SEED) is the natural order; any other seed permutes both, and the threads again after each barrier. The same
// seed gives the same order in every run, whatever the number of OS threads.
void set_order_seed(std::uint64_t seed);
std::uint64_t order_seed();

// What the last error of this OS thread was about: kernel, block, threads and reason if it came up while a kernel ran,
// else empty. Valid until the next error.
const char* last_error_message();

// The dynamic shared memory of the running block, aligned to 128 bytes: what `extern __shared__` names in CUDA. Each
// block finds it filled with 0xFF bytes (NaN as a float), so a read of what nobody wrote shows.
void* dynamic_shared_memory();

}  // namespace simt
