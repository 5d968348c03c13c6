#pragma once

// The texts that say what went wrong in a kernel.

#include <string>
#include <vector>

#include "block.h"

namespace simt::detail {

// The kernel's name with its parameter types if the program exports it (CMake's ENABLE_EXPORTS; not from an unnamed
// namespace), else its place in the program file, for addr2line.
std::string kernel_name(void (*kernel)());

// "kernel k(float*), block (1,0,0) of (4,1,1), thread (3,0,0): <what>"
std::string failure_in_thread(const Launch& launch, uint3 block, uint3 thread, const std::string& what);

std::string outside_mask(const char* operation, unsigned mask);

// Where a thread of a block that cannot go on stands.
struct ThreadState {
  const char* waits_at = nullptr;  // null: it has ended
  unsigned mask = 0;               // of a warp operation
};
// Which threads wait where. Threads are numbered as in the block: x + y * blockDim.x + z * blockDim.x * blockDim.y.
std::string deadlock(const Launch& launch, uint3 block, const std::vector<ThreadState>& threads);

}  // namespace simt::detail
