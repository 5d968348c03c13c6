// For the rows `simd`: plain loops over vectors of floats, on all cores, with no emulated threads.
//
// Their files are compiled several times, each time for one level of the processor's instructions and into the
// namespace of that level, SIMD_LEVEL: `generic` is what the whole build is compiled for, `avx2`, `avx512`,
// `avx512bf16` and, for a few rows, `amx` are there on x86-64. simd_levels.h chooses one when the program runs. So that
// no code of a level gets into the rest of the program, these files use nothing that the linker merges between files:
// no template and no inline function from outside the namespace, hence nothing of the standard library
// (tests/kernels/simd_symbols.cmake checks it).
#pragma once

#include <type_traits>

#include "kernels/common/bf16.h"
#include "kernels/common/context.h"
#include "kernels/common/simd_vector.h"

namespace kernels::cpu {

// Runs task(argument, i) for i = 0 … count - 1 on all threads, in any order, as one piece of work of the context's
// stream. Throws Error where the runtime refuses.
void run_tasks(const Context&, int64_t count, void (*task)(const void* argument, int64_t i), const void* argument,
               size_t argument_bytes);

[[noreturn]] void fail(const char* message);  // throws Error

// The running thread's own memory for what a task keeps in its level 2 cache: up to 2 MiB, contents undefined, until
// the thread asks again. It is one page of 2 MiB where the system has such: physical addresses choose the sets of that
// cache, and of an array on the stack too many pages may fall on the same ones, in one process and not in the next.
void* task_memory(int64_t bytes);

namespace SIMD_LEVEL {

// The operation's row, at this level. Each simd.cpp specialises it.
template <class Row>
const Row& simd_row();

// task(i) for i = 0 … count - 1 on all threads. What a task computes must not depend on the order or on the number of
// threads: so count depends on shapes alone. A graph keeps a copy of the task.
template <class Task>
void parallel_for(const Context& context, int64_t count, const Task& task) {
  static_assert(std::is_trivially_copyable_v<Task>);
  run_tasks(
      context, count, [](const void* argument, int64_t i) { (*static_cast<const Task*>(argument))(i); }, &task,
      sizeof task);
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// task(begin, end) for pieces of [0, count) of `piece` elements each; the last one may be shorter.
template <class Task>
void parallel_pieces(const Context& context, int64_t count, int64_t piece, const Task& task) {
  parallel_for(context, ceil_div(count, piece), [=](int64_t i) { task(i * piece, smaller(i * piece + piece, count)); });
}

// How a loop body that is written once loads and stores a vector, or a single float where less than a vector is left.
// In memory they are floats or bfloat16. (Loads fill a reference: how a vector is returned depends on the processor.)
struct Wide {
  typedef Vector Value;
  typedef float Memory __attribute__((vector_size(4 * lanes), aligned(4), may_alias));
  static constexpr int width = lanes;
  static void load(Value& value, const float* p) { value = *reinterpret_cast<const Memory*>(p); }
  static void store(float* p, const Value& value) { *reinterpret_cast<Memory*>(p) = value; }

  typedef uint16_t HalfMemory __attribute__((vector_size(2 * lanes), aligned(2), may_alias));
  static void load(Value& value, const Bf16* p) {
    const Half half = *reinterpret_cast<const HalfMemory*>(p);
    widen(value, half);
  }
  static void store(Bf16* p, const Value& value) {
    Half half;
    round(value, half);
    *reinterpret_cast<HalfMemory*>(p) = half;
  }
  // By round_normal().
  static void store_normal(float* p, const Value& value) { store(p, value); }
  static void store_normal(Bf16* p, const Value& value) {
    Half half;
    round_normal(value, half);
    *reinterpret_cast<HalfMemory*>(p) = half;
  }
};
struct Narrow {
  typedef float Value;
  static constexpr int width = 1;
  static void load(Value& value, const float* p) { value = *p; }
  static void store(float* p, const Value& value) { *p = value; }
  static void load(Value& value, const Bf16* p) { widen(value, p->bits); }
  static void store(Bf16* p, const Value& value) { round(value, p->bits); }
};

// The first `count` elements of a vector, the rest 0.
struct Part {
  typedef Vector Value;
  int64_t count;
  template <class T>
  void load(Value& value, const T* p) const {
    T whole[lanes] = {};
    for (int64_t i = 0; i < count; ++i) whole[i] = p[i];
    Wide::load(value, whole);
  }
  template <class T>
  void store(T* p, const Value& value) const {
    T whole[lanes];
    Wide::store(whole, value);
    for (int64_t i = 0; i < count; ++i) p[i] = whole[i];
  }
  template <class T>
  void store_normal(T* p, const Value& value) const {
    store(p, value);
  }
};

// body(Wide or Part, c) for c = 0, lanes, … below count.
template <class Body>
void columns(int64_t count, const Body& body) {
  int64_t c = 0;
  for (; c + lanes <= count; c += lanes) body(Wide(), c);
  if (c < count) body(Part{count - c}, c);
}

// body(Wide or Narrow, i) for all i in [begin, end).
template <class Body>
void each(int64_t begin, int64_t end, const Body& body) {
  int64_t i = begin;
  for (; i + lanes <= end; i += lanes) body(Wide(), i);
  for (; i < end; ++i) body(Narrow(), i);
}

constexpr int64_t piece = 1 << 15;  // elements that a task takes of an array: 128 KiB, a part of the level 2 cache

// sum (size) = the sum of parts (count, size), in order. A piece of it stays in the level 1 cache, so that each part is
// read as it lies in memory.
inline void add_parts(const Context& context, int64_t count, int64_t size, const float* parts, float* sum) {
  parallel_pieces(context, size, 1024, [=](int64_t begin, int64_t end) {
    for (int64_t part = 0; part < count; ++part)
      each(begin, end, [=](auto v, int64_t i) {
        typename decltype(v)::Value total = {}, next;
        if (part > 0) v.load(total, sum + i);
        v.load(next, parts + part * size + i);
        total += next;
        v.store(sum + i, total);
      });
  });
}

}  // namespace SIMD_LEVEL
}  // namespace kernels::cpu
