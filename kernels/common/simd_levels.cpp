#include "kernels/common/simd_levels.h"

#include <sys/mman.h>
#ifdef MOBILENET_SIMD_X86
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <cstdlib>
#include <memory>
#include <new>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#include "kernels/common/launch.h"

namespace kernels::cpu {

void run_tasks(const Context& context, int64_t count, void (*task)(const void*, int64_t), const void* argument,
               size_t argument_bytes) {
  check(simt::launch_tasks(static_cast<cudaStream_t>(context.stream), count, task, argument, argument_bytes),
        "launch_tasks", __FILE__, __LINE__);
  ++context.launches;
}

void fail(const char* message) { throw Error(message); }

void* task_memory(int64_t bytes) {
  constexpr size_t all = 1 << 21;
  constexpr auto release = [](void* p) { std::free(p); };
  thread_local std::unique_ptr<void, decltype(release)> memory;
  const auto used = static_cast<size_t>(bytes);
  if (used > all) throw Error("a task asks for more than 2 MiB");
  if (memory == nullptr) {
    memory.reset(std::aligned_alloc(all, all));
    if (memory == nullptr) throw std::bad_alloc();
    ::madvise(memory.get(), all, MADV_HUGEPAGE);  // where that fails, it is many small pages
  }
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(memory.get(), used);
  __asan_poison_memory_region(static_cast<char*>(memory.get()) + used, all - used);
#endif
  return memory.get();
}

namespace {

#ifdef MOBILENET_SIMD_X86
// Whether the processor multiplies bfloat16 in tiles, and Linux, which must be asked first, lets this process do so.
bool allows_amx() {
  unsigned a, b, c, d = 0;
  constexpr unsigned bf16 = 1u << 22, tiles = 1u << 24;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & bf16) == 0 || (d & tiles) == 0) return false;
  constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return ::syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}
#endif

bool supported(SimdLevel level) {
#ifdef MOBILENET_SIMD_X86
  // What x86-64-v3 and v4 hold, as far as compilers use it for these loops.
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                    __builtin_cpu_supports("bmi2");
  if (level == SimdLevel::avx2) return avx2;
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  if (level == SimdLevel::avx512) return avx512;
  const bool avx512bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
  if (level == SimdLevel::avx512bf16) return avx512bf16;
  if (level == SimdLevel::amx) return avx512bf16 && allows_amx();
#endif
  return level == SimdLevel::generic;
}

SimdLevel choose_level() {
  const char* variable = std::getenv("MOBILENET_SIMD");
  const std::string wanted = variable != nullptr ? variable : "";
  bool known = wanted.empty();
  for (int i = static_cast<int>(SimdLevel::amx); i >= 0; --i) {
    const auto level = static_cast<SimdLevel>(i);
    const bool named = wanted == to_string(level);
    known = known || named;
    if ((wanted.empty() || named) && supported(level)) return level;
  }
  throw Error("MOBILENET_SIMD: \"" + wanted + "\" is " +
              (known ? "not what this build or this processor has" : "none of generic, avx2, avx512, avx512bf16, amx"));
}

}  // namespace

const char* to_string(SimdLevel level) {
  constexpr const char* names[] = {"generic", "avx2", "avx512", "avx512bf16", "amx"};
  return names[static_cast<int>(level)];
}

SimdLevel simd_level() {
  static const SimdLevel level = choose_level();
  return level;
}

}  // namespace kernels::cpu
