#pragma once

#include "include/simt/turns.h"

namespace simt::detail {

// A fiber with a stack of its own, below which lies a page that faults. Its entry calls arrive(transfer, nullptr).
class PooledFiber : public Fiber {
 public:
  using Entry = void (*)(boost::context::detail::transfer_t);
  explicit PooledFiber(Entry entry);  // throws std::bad_alloc
  ~PooledFiber();
  PooledFiber(const PooledFiber&) = delete;
  PooledFiber& operator=(const PooledFiber&) = delete;

 private:
  void* mapping_ = nullptr;
  std::size_t mapping_bytes_ = 0;
};

}  // namespace simt::detail
