#pragma once

// The built-in variables and the block-wide and warp-wide operations.
//
// A thread gives way to others only inside these operations, so between two of them it runs alone on its OS thread.

#include <bit>
#include <chrono>
#include <cstdint>
#include <type_traits>

#include "vector_types.h"

namespace simt {

// constinit: the compiler then knows that nothing has to be initialised on first use, and reads them directly.
// As in CUDA nobody assigns to them, although the host compiler cannot refuse it.
extern constinit thread_local uint3 threadIdx;
extern constinit thread_local uint3 blockIdx;
extern constinit thread_local dim3 blockDim;
extern constinit thread_local dim3 gridDim;
constexpr int warpSize = 32;

// Block barriers. If a thread of the block has exited, or waits for something else while all others wait here, the
// launch fails with a report: stricter than a GPU, whose barrier does not count exited threads.
void __syncthreads();
int __syncthreads_count(int predicate);
int __syncthreads_and(int predicate);
int __syncthreads_or(int predicate);

namespace detail {

// A warp operation: lanes deposit a value, and the last of the lanes named in a mask to arrive computes all results.
struct Lane {
  std::uint64_t value;   // what this lane brings
  std::uint64_t result;  // what it takes away
  int source;            // of shuffles: the lane that it reads
  unsigned mask;         // the lanes that it waits for
  const struct WarpOperation* operation;
};
struct WarpOperation {
  const char* name;
  void (*complete)(Lane* lanes, unsigned mask);  // lanes: the warp's 32
};
// Waits until all lanes of mask wait in the same operation with the same mask; returns this lane's result.
// Lanes beyond the end of the block are ignored. The calling lane must be in the mask.
std::uint64_t warp_collective(const WarpOperation& operation, unsigned mask, std::uint64_t value, int source = 0);
int lane_id();

extern const WarpOperation shuffle_operation, shuffle_up_operation, shuffle_down_operation, shuffle_xor_operation;
extern const WarpOperation ballot_operation, any_operation, all_operation;
extern const WarpOperation match_any_operation, match_all_operation;
extern const WarpOperation add_operation, and_operation, or_operation, xor_operation;
extern const WarpOperation min_operation, max_operation, signed_min_operation, signed_max_operation;

template <class T>
concept Shuffled = std::is_arithmetic_v<T> &&(sizeof(T) == 4 || sizeof(T) == 8);

template <class T>
std::uint64_t to_bits(T value) {
  if constexpr (sizeof(T) == 8) {
    return std::bit_cast<std::uint64_t>(value);
  } else {
    return std::bit_cast<std::uint32_t>(value);
  }
}

template <class T>
T from_bits(std::uint64_t bits) {
  if constexpr (sizeof(T) == 8) {
    return std::bit_cast<T>(bits);
  } else {
    return std::bit_cast<T>(static_cast<std::uint32_t>(bits));
  }
}

template <class T>
T shuffle(const WarpOperation& operation, unsigned mask, T value, int source) {
  return from_bits<T>(warp_collective(operation, mask, to_bits(value), source));
}

}  // namespace detail

// Shuffles. width is a power of two up to 32 and splits the warp into segments. A lane that would read outside its
// segment keeps its own value; reading a lane that is not in the mask is undefined in CUDA and gives 0xFF bytes here.
template <detail::Shuffled T>
T __shfl_sync(unsigned mask, T value, int source_lane, int width = warpSize) {
  int segment = detail::lane_id() & ~(width - 1);
  return detail::shuffle(detail::shuffle_operation, mask, value, segment | (source_lane & (width - 1)));
}

template <detail::Shuffled T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize) {
  int lane = detail::lane_id(), segment = lane & ~(width - 1);
  bool inside = delta <= static_cast<unsigned>(lane - segment);
  int source = inside ? lane - static_cast<int>(delta) : lane;
  return detail::shuffle(detail::shuffle_up_operation, mask, value, source);
}

template <detail::Shuffled T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize) {
  int lane = detail::lane_id(), end = (lane & ~(width - 1)) + width;
  bool inside = delta < static_cast<unsigned>(end - lane);
  int source = inside ? lane + static_cast<int>(delta) : lane;
  return detail::shuffle(detail::shuffle_down_operation, mask, value, source);
}

// A lane may read an earlier segment, but not a later one.
template <detail::Shuffled T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = warpSize) {
  int lane = detail::lane_id(), end = (lane & ~(width - 1)) + width;
  int source = (lane ^ lane_mask) < end ? lane ^ lane_mask : lane;
  return detail::shuffle(detail::shuffle_xor_operation, mask, value, source & 31);
}

void __syncwarp(unsigned mask = 0xffffffffu);
unsigned __ballot_sync(unsigned mask, int predicate);
int __any_sync(unsigned mask, int predicate);
int __all_sync(unsigned mask, int predicate);
// The calling lane alone: one of the answers that a GPU may give, since the lanes of a warp need not run together.
unsigned __activemask();

// The lanes whose value has the same bits as the caller's.
template <detail::Shuffled T>
unsigned __match_any_sync(unsigned mask, T value) {
  return static_cast<unsigned>(detail::warp_collective(detail::match_any_operation, mask, detail::to_bits(value)));
}

// mask and *predicate = 1 if all lanes have the same value, else 0 and 0.
template <detail::Shuffled T>
unsigned __match_all_sync(unsigned mask, T value, int* predicate) {
  auto same = static_cast<unsigned>(detail::warp_collective(detail::match_all_operation, mask, detail::to_bits(value)));
  *predicate = same != 0;
  return same;
}

unsigned __reduce_add_sync(unsigned mask, unsigned value);
unsigned __reduce_min_sync(unsigned mask, unsigned value);
unsigned __reduce_max_sync(unsigned mask, unsigned value);
int __reduce_add_sync(unsigned mask, int value);
int __reduce_min_sync(unsigned mask, int value);
int __reduce_max_sync(unsigned mask, int value);
unsigned __reduce_and_sync(unsigned mask, unsigned value);
unsigned __reduce_or_sync(unsigned mask, unsigned value);
unsigned __reduce_xor_sync(unsigned mask, unsigned value);

// Ends the launch with cudaErrorLaunchFailure.
[[noreturn]] void __trap();

// Nanoseconds of the host's steady clock.
inline long long clock64() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

}  // namespace simt
