#include "kernels/harness.h"

#if __has_include(<sanitizer/asan_interface.h>)
#include <sanitizer/asan_interface.h>
#else  // a clang that was installed without its runtimes, so without AddressSanitizer
#define ASAN_POISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#endif
#include <simt/simt.h>

#include <cstdlib>

namespace test {
namespace {

constexpr size_t guard = 256;  // bytes at each end; keeps the array aligned as cudaMalloc does
// What stands there: a NaN, so that a result that a read beyond the end went into shows; and each array's its own, so
// that one copied over another shows too.
std::vector<uint32_t> guard_words(uint32_t array) { return std::vector<uint32_t>(guard / 4, 0x7fc00000u | array); }

const engine::Runtime& runtime() { return engine::runtime(device_under_test()); }
const char* environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : nullptr;
}

}  // namespace

Case current_case;

DeviceType device_under_test() {
  const char* name = environment("MOBILENET_TEST_DEVICE");
  return name != nullptr && std::strcmp(name, "cuda") == 0 ? DeviceType::cuda : DeviceType::cpu;
}

bool device_present() {
  if (runtime().device_count() > 0) return true;
  WARN("skipped: there is no GPU on this machine");
  return false;
}

void set_thread_order(uint64_t seed) { simt::set_order_seed(seed); }

kernels::Context& context(size_t workspace_bytes) {
  static kernels::Context context;
  context.device = device_under_test();
  if (context.workspace != nullptr) runtime().free(context.workspace);
  context.workspace_bytes = workspace_bytes;
  context.workspace = runtime().allocate(workspace_bytes + 1);
  runtime().fill(context.workspace, 0xFF, workspace_bytes + 1, nullptr);
  return context;
}

void copy_to_host(void* to, const void* from, size_t bytes) {
  runtime().copy(to, from, bytes, engine::CopyKind::device_to_host, nullptr);
  runtime().stream_synchronize(nullptr);
}

Bytes::Bytes(size_t bytes) : bytes_(bytes), memory_(static_cast<char*>(runtime().allocate(bytes + 2 * guard))) {
  static uint32_t arrays = 0;
  array_ = ++arrays & 0x3fffffu;
  const std::vector<uint32_t> words = guard_words(array_);
  for (char* end : {memory_, memory_ + guard + bytes_})
    runtime().copy(end, words.data(), guard, engine::CopyKind::host_to_device, nullptr);
  runtime().stream_synchronize(nullptr);
  if (device_under_test() == DeviceType::cpu) {  // with AddressSanitizer, any access to the guards ends the test
    ASAN_POISON_MEMORY_REGION(memory_, guard);
    ASAN_POISON_MEMORY_REGION(memory_ + guard + bytes_, guard);
  }
}

Bytes::~Bytes() {
  if (device_under_test() == DeviceType::cpu) ASAN_UNPOISON_MEMORY_REGION(memory_, bytes_ + 2 * guard);
  std::vector<unsigned char> all(bytes_ + 2 * guard);
  copy_to_host(all.data(), memory_, all.size());
  runtime().free(memory_);
  const std::vector<uint32_t> words = guard_words(array_);
  INFO(current_case.repeat());
  CHECK(std::memcmp(all.data(), words.data(), guard) == 0);                   // what lies before the array
  CHECK(std::memcmp(all.data() + guard + bytes_, words.data(), guard) == 0);  // and behind it was not written
}

void* Bytes::data() const { return memory_ + guard; }
void Bytes::write(const void* from) {
  runtime().copy(data(), from, bytes_, engine::CopyKind::host_to_device, nullptr);
  runtime().stream_synchronize(nullptr);
}
void Bytes::read(void* to) const { copy_to_host(to, data(), bytes_); }

std::vector<double> to_double(const std::vector<float>& v) { return {v.begin(), v.end()}; }
std::vector<double> absolute(const std::vector<float>& v) {
  std::vector<double> result(v.size());
  for (size_t i = 0; i < v.size(); ++i) result[i] = std::fabs(v[i]);
  return result;
}

std::string Case::repeat() const {
  return "repeat: MOBILENET_TEST_SEED=" + std::to_string(seed) + " MOBILENET_TEST_ROW=" + row +
         (device_under_test() == DeviceType::cuda ? " MOBILENET_TEST_DEVICE=cuda" : "") + " kernels_tests '[" +
         operation + "]'";
}

bool selected(uint64_t seed, const char* row) {
  const char* only_seed = environment("MOBILENET_TEST_SEED");
  const char* only_row = environment("MOBILENET_TEST_ROW");
  return (only_seed == nullptr || std::strtoull(only_seed, nullptr, 10) == seed) &&
         (only_row == nullptr || std::strcmp(only_row, row) == 0);
}

bool part_selected() {
  return environment("MOBILENET_TEST_ROW") != nullptr || environment("MOBILENET_TEST_SEED") != nullptr;
}

namespace {

// Reports the worst element, not each one.
void check_within(const std::vector<float>& actual, const std::vector<double>& expected,
                  const std::function<double(size_t)>& allowed) {
  INFO(current_case.repeat());
  REQUIRE(actual.size() == expected.size());
  size_t worst = 0, wrong = 0;
  double worst_ratio = -1;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double error = std::fabs(actual[i] - expected[i]);
    const double ratio = error <= allowed(i) ? error / (allowed(i) + 1e-300) : INFINITY;  // NaN fails here
    wrong += ratio == INFINITY;
    if (ratio > worst_ratio) worst_ratio = ratio, worst = i;
  }
  if (wrong == 0) {
    SUCCEED();
    return;
  }
  INFO(wrong << " of " << actual.size() << " elements differ; element " << worst << " is " << actual[worst]
             << ", expected " << expected[worst] << " within " << allowed(worst));
  CHECK(wrong == 0);
}

}  // namespace

void check_sum(const std::vector<float>& actual, const std::vector<double>& expected,
               const std::vector<double>& magnitude, double terms, Rounding besides) {
  REQUIRE(magnitude.size() == expected.size());
  const double of_magnitude = kernels::sum_tolerance(terms, besides);
  check_within(actual, expected,
               [&](size_t i) { return of_magnitude * magnitude[i] + besides.result * std::fabs(expected[i]); });
}

void check_close(const std::vector<float>& actual, const std::vector<double>& expected, double relative,
                 double absolute) {
  check_within(actual, expected, [&](size_t i) { return relative * std::fabs(expected[i]) + absolute; });
}

}  // namespace test
