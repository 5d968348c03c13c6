#include <cstdlib>
#include <map>

#include "engine/device/allocator.h"
#include "support.h"

using engine::Allocator, engine::Runtime;

namespace {

// A runtime with little memory, which notes what is asked of it.
struct {
  size_t limit = 0, used = 0;
  int synchronized = 0;
  std::map<void*, size_t> blocks;
} fake;

const Runtime& small_runtime(size_t limit) {
  fake = {};
  fake.limit = limit;
  static Runtime runtime = [] {
    Runtime r = engine::runtime(engine::DeviceType::cpu);
    r.allocate = [](size_t bytes) {
      if (fake.used + bytes > fake.limit) throw kernels::Error("cudaMalloc: out of memory");
      void* p = std::aligned_alloc(256, bytes);
      fake.blocks[p] = bytes;
      fake.used += bytes;
      return p;
    };
    r.free = [](void* p) {
      fake.used -= fake.blocks.at(p);
      fake.blocks.erase(p);
      std::free(p);
    };
    r.stream_synchronize = [](void*) { ++fake.synchronized; };
    return r;
  }();
  return runtime;
}

}  // namespace

TEST_CASE("size classes lose at most an eighth and keep the alignment", "[allocator]") {
  size_t before = 0;
  for (size_t bytes = 1; bytes < (size_t{1} << 40); bytes += 1 + bytes / 7) {
    const size_t size = Allocator::size_class(bytes);
    CHECK(size >= bytes);
    CHECK(size % 256 == 0);
    CHECK(size >= before);
    CHECK(size - bytes <= std::max<size_t>(255, bytes / 8));
    CHECK(Allocator::size_class(size) == size);
    before = size;
  }
}

TEST_CASE("a freed block is reused for its size class only", "[allocator]") {
  Allocator allocator(small_runtime(1 << 20), nullptr);
  void* a = allocator.allocate(1000);
  allocator.release(a, 1000);
  CHECK(allocator.stats().in_use == 0);
  CHECK(allocator.stats().cached == 1024);
  CHECK(allocator.allocate(900) == a);  // 900 and 1000 both round up to 1024
  void* b = allocator.allocate(5000);
  CHECK(b != a);
  CHECK(allocator.stats().runtime_allocations == 2);
  CHECK(allocator.stats().in_use == 1024 + Allocator::size_class(5000));
  allocator.release(a, 900);
  CHECK(allocator.stats().peak == 1024 + Allocator::size_class(5000));
  allocator.reset_peak();
  CHECK(allocator.stats().peak == Allocator::size_class(5000));
  allocator.release(b, 5000);
  CHECK(allocator.allocate(0) == nullptr);
  allocator.release(nullptr, 0);

  allocator.empty_cache();
  CHECK(fake.synchronized == 1);  // what still runs may use the blocks
  CHECK(fake.used == 0);
  CHECK(allocator.stats().cached == 0);
}

TEST_CASE("where memory runs out the cache is freed, and then the sizes are told", "[allocator]") {
  Allocator allocator(small_runtime(10'000), nullptr);
  void* kept = allocator.allocate(2048);
  allocator.release(allocator.allocate(6144), 6144);
  void* other = allocator.allocate(4096);  // fits once the 6144 are given back
  CHECK(allocator.stats().cached == 0);
  test::check_message(test::message_of([&] { allocator.allocate(8192); }), {"8192", "6144 in use", "out of memory"});
  CHECK(allocator.stats().in_use == 6144);
  test::check_message(test::message_of([&] { allocator.allocate(SIZE_MAX); }), {"more than there can be"});
  allocator.release(kept, 2048);
  allocator.release(other, 4096);
  void* large = allocator.allocate(8192);  // and it goes on
  CHECK(large != nullptr);
  allocator.release(large, 8192);
  allocator.empty_cache();
}

TEST_CASE("a pool's memory is its own until it is dissolved, and comes from the cache", "[allocator]") {
  Allocator allocator(small_runtime(1 << 20), nullptr);
  void* a = allocator.allocate(1000);
  void* b = allocator.allocate(1000);
  allocator.release(a, 1000);
  allocator.release(b, 1000);

  engine::MemoryPool pool;
  allocator.begin_pool(pool);
  void* first = allocator.allocate(1000);
  allocator.release(first, 1000);
  CHECK(allocator.allocate(1000) == first);  // within the pool it is reused
  CHECK(pool.bytes() == 1024);
  allocator.release(first, 1000);
  void* kept = allocator.allocate(1000);
  CHECK(kept == first);
  void* other = allocator.allocate(1000);
  allocator.release(other, 1000);
  CHECK(pool.bytes() == 2048);
  test::check_message(test::message_of([&] { allocator.allocate(5000); }), {"5120 bytes", "run once before"});
  test::check_message(test::message_of([&] { allocator.begin_pool(pool); }), {"within a capture"});
  allocator.end_pool();
  CHECK(allocator.stats().runtime_allocations == 2);
  CHECK(allocator.stats().in_use == 1024);
  CHECK(allocator.stats().pooled == 1024);
  CHECK(allocator.stats().cached == 0);

  void* outside = allocator.allocate(1000);  // none of the pool's, though one of them is free
  CHECK(outside != other);
  CHECK(outside != first);
  CHECK(allocator.stats().held() == 3072);
  allocator.release(outside, 1000);
  allocator.empty_cache();  // leaves the pool alone
  CHECK(fake.used == 2048);

  allocator.dissolve(pool);
  CHECK(allocator.stats().pooled == 0);
  CHECK(allocator.allocate(1000) == other);
  allocator.release(kept, 1000);  // which lived on, and returns to the cache
  allocator.release(other, 1000);
  CHECK(allocator.stats().cached == 2048);
  allocator.empty_cache();
  CHECK(fake.used == 0);
}
