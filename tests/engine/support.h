// What the engine's tests share: the device under test (the CPU, or $MOBILENET_TEST_DEVICE=cuda), random numbers, and a
// folder that is gone afterwards.
#pragma once

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "catch.h"
#include "engine/device/device.h"
#include "engine/error.h"
#include "engine/tensor/tensor.h"

namespace test {

inline engine::DeviceType device() {
  const char* name = std::getenv("MOBILENET_TEST_DEVICE");
  return name != nullptr && std::strcmp(name, "cuda") == 0 ? engine::DeviceType::cuda : engine::DeviceType::cpu;
}

// False, with a warning that CTest reads as "skipped", where the device is not there.
inline bool device_present() {
  if (device() == engine::DeviceType::cpu || engine::best_device() == engine::DeviceType::cuda) return true;
  WARN("skipped: there is no GPU on this machine");
  return false;
}

// splitmix64.
struct Random {
  uint64_t state;
  uint64_t bits() {
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  float uniform(float low, float high) { return low + (high - low) * static_cast<float>(bits() >> 40) * 0x1p-24f; }
  std::vector<float> floats(int64_t n, float low = -1, float high = 1) {
    std::vector<float> v(n);
    for (float& x : v) x = uniform(low, high);
    return v;
  }
};

// Equal but for fp32's rounding.
inline bool near(double a, double b) { return std::fabs(a - b) <= 1e-6 * std::fabs(b); }

struct Folder {
  std::filesystem::path path;
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "engine-tests-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::filesystem::path operator/(const char* name) const { return path / name; }
};

// The message of the E that `action` throws; fails where it throws none.
template <class E = engine::Error, class Action>
std::string message_of(Action action) {
  try {
    action();
  } catch (const E& error) {
    return error.what();
  }
  FAIL("nothing was thrown");
  return "";
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Fails, showing the message, unless it holds each part.
inline void check_message(const std::string& message, std::initializer_list<const char*> parts) {
  INFO(message);
  for (const char* part : parts) {
    INFO("expected in it: " << part);
    CHECK(contains(message, part));
  }
}

}  // namespace test
