#pragma once

// Atomics and fences, atomic across OS threads, so for global memory too. Like CUDA's they order nothing else. Each
// returns the old value.

#include <atomic>
#include <concepts>
#include <type_traits>

namespace simt {
namespace detail {

template <class T, class... Allowed>
concept OneOf = (std::same_as<T, Allowed> || ...);

template <class T, class F>
T atomic_update(T* address, F f) {
  std::atomic_ref<T> target(*address);
  T old = target.load(std::memory_order_relaxed);
  while (!target.compare_exchange_weak(old, f(old), std::memory_order_relaxed)) {
  }
  return old;
}

template <class T>
concept Integer = OneOf<T, int, unsigned, unsigned long long>;
template <class T>
concept Number = OneOf<T, int, unsigned, unsigned long long, float, double>;

// The value's type follows the address, as with CUDA's overloads.
template <class T>
using Same = std::type_identity_t<T>;

}  // namespace detail

template <detail::Number T>
T atomicAdd(T* address, detail::Same<T> value) {
  if constexpr (std::is_integral_v<T>) {
    return std::atomic_ref<T>(*address).fetch_add(value, std::memory_order_relaxed);
  } else {
    return detail::atomic_update(address, [value](T old) { return old + value; });
  }
}

template <detail::OneOf<int, unsigned> T>
T atomicSub(T* address, detail::Same<T> value) {
  return std::atomic_ref<T>(*address).fetch_sub(value, std::memory_order_relaxed);
}

template <detail::OneOf<int, unsigned, unsigned long long, float> T>
T atomicExch(T* address, detail::Same<T> value) {
  return std::atomic_ref<T>(*address).exchange(value, std::memory_order_relaxed);
}

template <detail::OneOf<int, unsigned, unsigned long long, long long> T>
T atomicMin(T* address, detail::Same<T> value) {
  return detail::atomic_update(address, [value](T old) { return value < old ? value : old; });
}

template <detail::OneOf<int, unsigned, unsigned long long, long long> T>
T atomicMax(T* address, detail::Same<T> value) {
  return detail::atomic_update(address, [value](T old) { return value > old ? value : old; });
}

// Counts up to limit, then starts again at 0.
inline unsigned atomicInc(unsigned* address, unsigned limit) {
  return detail::atomic_update(address, [limit](unsigned old) { return old >= limit ? 0 : old + 1; });
}

// Counts down to 0, then starts again at limit.
inline unsigned atomicDec(unsigned* address, unsigned limit) {
  return detail::atomic_update(address, [limit](unsigned old) { return old == 0 || old > limit ? limit : old - 1; });
}

template <detail::OneOf<int, unsigned, unsigned long long, unsigned short> T>
T atomicCAS(T* address, detail::Same<T> expected, detail::Same<T> desired) {
  std::atomic_ref<T>(*address).compare_exchange_strong(expected, desired, std::memory_order_relaxed);
  return expected;  // which now holds the old value
}

template <detail::Integer T>
T atomicAnd(T* address, detail::Same<T> value) {
  return std::atomic_ref<T>(*address).fetch_and(value, std::memory_order_relaxed);
}

template <detail::Integer T>
T atomicOr(T* address, detail::Same<T> value) {
  return std::atomic_ref<T>(*address).fetch_or(value, std::memory_order_relaxed);
}

template <detail::Integer T>
T atomicXor(T* address, detail::Same<T> value) {
  return std::atomic_ref<T>(*address).fetch_xor(value, std::memory_order_relaxed);
}

inline void __threadfence() { std::atomic_thread_fence(std::memory_order_seq_cst); }
inline void __threadfence_block() { std::atomic_thread_fence(std::memory_order_seq_cst); }
inline void __threadfence_system() { std::atomic_thread_fence(std::memory_order_seq_cst); }

// Loads and stores with a cache hint, which has no meaning here.
template <class T>
T __ldg(const T* address) {
  return *address;
}
template <class T>
T __ldca(const T* address) {
  return *address;
}
template <class T>
T __ldcg(const T* address) {
  return *address;
}
template <class T>
T __ldcs(const T* address) {
  return *address;
}
template <class T>
void __stwb(T* address, detail::Same<T> value) {
  *address = value;
}
template <class T>
void __stcg(T* address, detail::Same<T> value) {
  *address = value;
}
template <class T>
void __stcs(T* address, detail::Same<T> value) {
  *address = value;
}

}  // namespace simt
