// What every kernel function is handed, and the few words that all operations share. Plain C++: no CUDA type appears
// here, so the same header serves both devices in one binary.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>

namespace kernels {

enum class DeviceType { cpu, cuda };

// What a row of an operation's table is: `native` is CUDA C++ of this project; `vendor` is a library (cuDNN, cuBLAS,
// oneDNN) or, on the CPU, plain loops that need no emulation (the rows `simd`).
enum class Provider { native, vendor };

// Thrown where a launch or a library call fails; what() names the call, the source line and the status.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Where a kernel runs. The caller owns stream and workspace; vendor handles are made by the first row that needs one.
// `workspace` holds at least the bytes that the chosen row's workspace(shape) asked for, aligned to 256 bytes, contents
// undefined; it is free for reuse once the stream has passed the call.
struct Context {
  DeviceType device = DeviceType::cpu;
  void* stream = nullptr;  // cudaStream_t of the device's runtime (engine/simt's on the CPU)
  void* workspace = nullptr;
  size_t workspace_bytes = 0;
  std::shared_ptr<void> cublas, cudnn, onednn;
  mutable int64_t launches = 0;  // kernels, tasks and oneDNN's passes put on the stream so far
};

}  // namespace kernels
