// Asynchronous copies from global to shared memory (cp.async, PTX ISA 9.7.9.25): the data go past the registers, and
// the thread computes on while they are under way.
//
//   AsyncCopies copies;                          // of this thread
//   copies.copy<16>(to, from, inside);           // starts; zeros where !inside
//   copies.commit();                             // the copies since the last commit become a group
//   copies.wait<1>(); __syncthreads();           // all groups but the newest one have landed, those of all threads
//
// A thread waits for its own copies only, so a barrier must follow before others read. From compute capability 8.0 on;
// below, the copy takes place at once. On the CPU it takes place as late as it may, at the wait: a kernel that forgets
// to commit, to wait, or to wait for enough, reads what was there before.
#pragma once

#include <type_traits>

#include "kernels/common/target.h"
#ifdef __SIMT__
#include <cstring>
#include <vector>
#endif

namespace kernels::KERNEL_TARGET {

class AsyncCopies {
 public:
#ifdef __SIMT__
  AsyncCopies() { started_.reserve(16), groups_.reserve(4); }
#endif

  // bytes: 4, 8 or 16; `to` and `from` are multiples of it. Where !inside, `from` is not read but must be some address.
  template <int bytes>
  __device__ __forceinline__ void copy(void* to, const void* from, bool inside) {
    static_assert(bytes == 4 || bytes == 8 || bytes == 16);
#if defined(__SIMT__)
    started_.push_back({to, inside ? from : nullptr, bytes});
#elif __CUDA_ARCH__ >= 800
    const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(to));
    const int read = inside ? bytes : 0;  // what is not read is filled with zeros
    if constexpr (bytes == 16)            // past the first-level cache, which only 16 bytes can
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(read) : "memory");
    else
      asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(address), "l"(from), "n"(bytes), "r"(read)
                   : "memory");
#else
    using Piece = std::conditional_t<bytes == 16, uint4, std::conditional_t<bytes == 8, uint2, unsigned> >;
    *static_cast<Piece*>(to) = inside ? *static_cast<const Piece*>(from) : Piece{};
#endif
  }

  // An empty group counts too.
  __device__ __forceinline__ void commit() {
#if defined(__SIMT__)
    groups_.push_back(started_.size());
#elif __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
  }

  // Until at most the N newest groups are still under way.
  template <int N>
  __device__ __forceinline__ void wait() {
#if defined(__SIMT__)
    if (groups_.size() <= N) return;
    const size_t landed = groups_[groups_.size() - 1 - N];
    for (size_t k = 0; k < landed; ++k) {
      const Copy& copy = started_[k];
      if (copy.from == nullptr)
        std::memset(copy.to, 0, copy.bytes);
      else
        std::memcpy(copy.to, copy.from, copy.bytes);
    }
    started_.erase(started_.begin(), started_.begin() + landed);
    groups_.erase(groups_.begin(), groups_.end() - N);
    for (size_t& end : groups_) end -= landed;
#elif __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
  }

 private:
#ifdef __SIMT__
  struct Copy {
    void* to;
    const void* from;  // nullptr: zeros
    size_t bytes;
  };
  std::vector<Copy> started_;
  std::vector<size_t> groups_;  // where each committed group ends in started_, oldest first
#endif
};

}  // namespace kernels::KERNEL_TARGET
