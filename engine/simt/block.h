#pragma once

// Runs the threads of one block, on the calling OS thread.

#include <cstddef>
#include <cstdint>
#include <string>

#include "include/simt/launch.h"

namespace simt::detail {

struct Launch {
  Call call;
  dim3 grid, block;
  std::size_t shared_bytes;
  std::uint64_t seed;  // of the order of threads; 0: natural
};

constexpr unsigned most_threads = 1024;               // of a block
constexpr std::size_t most_shared_bytes = 166912;     // of a block, as on compute capability 8.0
constexpr std::size_t standard_shared_bytes = 49152;  // without cudaFuncSetAttribute

// Runs block number `block`, counted with x fastest. Returns what went wrong, empty if nothing; throws std::bad_alloc.
std::string run_block(const Launch& launch, std::uint64_t block);

// Makes an error with this text the last one of this OS thread; returns it.
cudaError_t record(cudaError_t error, std::string message);

// Whether the caller is a kernel.
bool inside_kernel();

// The next number of a sequence that looks random (splitmix64).
inline std::uint64_t next_random(std::uint64_t& state) {
  std::uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// A random permutation of n values (Fisher and Yates).
template <class T>
void shuffle_values(T* values, std::size_t n, std::uint64_t& state) {
  for (std::size_t i = n; i > 1; --i) {
    auto j = static_cast<std::size_t>(next_random(state) % i);
    T value = values[i - 1];
    values[i - 1] = values[j];
    values[j] = value;
  }
}

}  // namespace simt::detail
