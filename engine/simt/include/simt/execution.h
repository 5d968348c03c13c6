#pragma once

// The built-in variables and the block-wide and warp-wide operations.
//
// A thread gives way to others only inside these operations, so between two of them it runs alone on its OS thread.

#include <bit>
#include <chrono>
#include <cstdint>
#include <type_traits>

#include "turns.h"
#include "vector_types.h"

namespace simt {

// constinit: the compiler then knows that nothing has to be initialised on first use, and reads them directly.
// As in CUDA nobody assigns to them, although the host compiler cannot refuse it.
extern constinit thread_local uint3 threadIdx;
extern constinit thread_local uint3 blockIdx;
extern constinit thread_local dim3 blockDim;
extern constinit thread_local dim3 gridDim;
constexpr int warpSize = 32;

#define SIMT_INLINE inline __attribute__((always_inline))

// Block barriers. If a thread of the block has exited, or waits for something else while all others wait here, the
// launch fails with a report: stricter than a GPU, whose barrier does not count exited threads. The same holds for the
// lanes that the mask of a warp operation names.
SIMT_INLINE void __syncthreads() { detail::block_barrier("__syncthreads", 0); }
SIMT_INLINE int __syncthreads_count(int predicate) { return detail::block_barrier("__syncthreads_count", predicate); }
SIMT_INLINE int __syncthreads_or(int predicate) { return detail::block_barrier("__syncthreads_or", predicate) != 0; }
SIMT_INLINE int __syncthreads_and(int predicate) {
  return detail::block_barrier("__syncthreads_and", predicate == 0) == 0;
}

namespace detail {

inline int lane_id() { return running.lane->id; }

extern const WarpOperation syncwarp_operation;
extern const WarpOperation shuffle_operation, shuffle_up_operation, shuffle_down_operation, shuffle_xor_operation;
extern const WarpOperation ballot_operation, any_operation, all_operation;
extern const WarpOperation match_any_operation, match_all_operation;
extern const WarpOperation add_operation, and_operation, or_operation, xor_operation;
extern const WarpOperation min_operation, max_operation, signed_min_operation, signed_max_operation;

// Smaller types travel as int, as with CUDA's overloads.
template <class T>
concept Shuffled = std::is_arithmetic_v<T> && sizeof(T) <= 8;
template <class T>
using Promoted = decltype(+T());

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
SIMT_INLINE Promoted<T> shuffle(const WarpOperation& operation, unsigned mask, T value, int source) {
  return from_bits<Promoted<T>>(warp_collective(operation, mask, to_bits(+value), source));
}

}  // namespace detail

// Shuffles. width is a power of two up to 32 and splits the warp into segments. A lane that would read outside its
// segment keeps its own value; reading a lane that is not in the mask is undefined in CUDA and gives 0xFF bytes here.
template <detail::Shuffled T>
SIMT_INLINE detail::Promoted<T> __shfl_sync(unsigned mask, T value, int source_lane, int width = warpSize) {
  int segment = detail::lane_id() & ~(width - 1);
  return detail::shuffle(detail::shuffle_operation, mask, value, segment | (source_lane & (width - 1)));
}

template <detail::Shuffled T>
SIMT_INLINE detail::Promoted<T> __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize) {
  int lane = detail::lane_id(), segment = lane & ~(width - 1);
  bool inside = delta <= static_cast<unsigned>(lane - segment);
  int source = inside ? lane - static_cast<int>(delta) : lane;
  return detail::shuffle(detail::shuffle_up_operation, mask, value, source);
}

template <detail::Shuffled T>
SIMT_INLINE detail::Promoted<T> __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize) {
  int lane = detail::lane_id(), end = (lane & ~(width - 1)) + width;
  bool inside = delta < static_cast<unsigned>(end - lane);
  int source = inside ? lane + static_cast<int>(delta) : lane;
  return detail::shuffle(detail::shuffle_down_operation, mask, value, source);
}

// A lane may read an earlier segment, but not a later one.
template <detail::Shuffled T>
SIMT_INLINE detail::Promoted<T> __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = warpSize) {
  int lane = detail::lane_id(), end = (lane & ~(width - 1)) + width;
  int source = (lane ^ lane_mask) < end ? lane ^ lane_mask : lane;
  return detail::shuffle(detail::shuffle_xor_operation, mask, value, source & 31);
}

SIMT_INLINE void __syncwarp(unsigned mask = 0xffffffffu) {
  detail::warp_collective(detail::syncwarp_operation, mask, 0);
}
SIMT_INLINE unsigned __ballot_sync(unsigned mask, int predicate) {
  return static_cast<unsigned>(detail::warp_collective(detail::ballot_operation, mask, predicate != 0));
}
SIMT_INLINE int __any_sync(unsigned mask, int predicate) {
  return detail::warp_collective(detail::any_operation, mask, predicate != 0) != 0;
}
SIMT_INLINE int __all_sync(unsigned mask, int predicate) {
  return detail::warp_collective(detail::all_operation, mask, predicate == 0) == 0;
}
// The calling lane alone: one of the answers that a GPU may give, since the lanes of a warp need not run together.
inline unsigned __activemask() { return 1u << detail::lane_id(); }

// The lanes whose value has the same bits as the caller's.
template <detail::Shuffled T>
SIMT_INLINE unsigned __match_any_sync(unsigned mask, T value) {
  return static_cast<unsigned>(detail::warp_collective(detail::match_any_operation, mask, detail::to_bits(+value)));
}

// mask and *predicate = 1 if all lanes have the same value, else 0 and 0.
template <detail::Shuffled T>
SIMT_INLINE unsigned __match_all_sync(unsigned mask, T value, int* predicate) {
  auto same =
      static_cast<unsigned>(detail::warp_collective(detail::match_all_operation, mask, detail::to_bits(+value)));
  *predicate = same != 0;
  return same;
}

SIMT_INLINE unsigned __reduce_add_sync(unsigned mask, unsigned value) {
  return detail::shuffle(detail::add_operation, mask, value, 0);
}
SIMT_INLINE unsigned __reduce_min_sync(unsigned mask, unsigned value) {
  return detail::shuffle(detail::min_operation, mask, value, 0);
}
SIMT_INLINE unsigned __reduce_max_sync(unsigned mask, unsigned value) {
  return detail::shuffle(detail::max_operation, mask, value, 0);
}
SIMT_INLINE unsigned __reduce_and_sync(unsigned mask, unsigned value) {
  return detail::shuffle(detail::and_operation, mask, value, 0);
}
SIMT_INLINE unsigned __reduce_or_sync(unsigned mask, unsigned value) {
  return detail::shuffle(detail::or_operation, mask, value, 0);
}
SIMT_INLINE unsigned __reduce_xor_sync(unsigned mask, unsigned value) {
  return detail::shuffle(detail::xor_operation, mask, value, 0);
}
SIMT_INLINE int __reduce_add_sync(unsigned mask, int value) {
  return detail::shuffle(detail::add_operation, mask, value, 0);
}
SIMT_INLINE int __reduce_min_sync(unsigned mask, int value) {
  return detail::shuffle(detail::signed_min_operation, mask, value, 0);
}
SIMT_INLINE int __reduce_max_sync(unsigned mask, int value) {
  return detail::shuffle(detail::signed_max_operation, mask, value, 0);
}

// A warp operation of a kernel's own, such as the CPU's body of a PTX instruction: all 32 lanes come with an argument
// each, and the last to arrive runs operation.complete, which finds them with warp_argument(lanes[0 … 31]) and may
// write to them. Two operations are the same if they are one object.
using WarpLane = detail::Lane;
using WarpOperation = detail::WarpOperation;
template <class Argument>
SIMT_INLINE void warp_operation(const WarpOperation& operation, Argument& argument) {
  detail::warp_collective(operation, 0xffffffffu, reinterpret_cast<std::uintptr_t>(&argument));
}
template <class Argument>
Argument& warp_argument(const WarpLane& lane) {
  return *reinterpret_cast<Argument*>(static_cast<std::uintptr_t>(lane.value));
}

#undef SIMT_INLINE

// Ends the launch with cudaErrorLaunchFailure.
[[noreturn]] void __trap();

// Nanoseconds of the host's steady clock.
inline long long clock64() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

}  // namespace simt
