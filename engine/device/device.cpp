#include "engine/device/device.h"

#include <fmt/format.h>

#include "engine/error.h"

namespace engine {

Device::Device(const Runtime& runtime)
    : runtime_(runtime), stream_(runtime.stream_create()), allocator_(runtime, stream_) {
  context_.device = runtime.type;
  context_.stream = stream_;
}

kernels::Context& Device::context(size_t workspace_bytes) {
  if (workspace_bytes > context_.workspace_bytes) {
    allocator_.release(context_.workspace, context_.workspace_bytes);
    context_.workspace = nullptr;
    context_.workspace_bytes = 0;
    context_.workspace = allocator_.allocate(workspace_bytes);
    context_.workspace_bytes = workspace_bytes;
  }
  return context_;
}

void Device::synchronize() {
  try {
    runtime_.stream_synchronize(stream_);
  } catch (const kernels::Error& error) {
    throw Error(fmt::format("synchronize {}", to_string(type())), error.what());
  }
}

namespace {

bool has_gpu() {
#ifdef MOBILENET_CUDA
  return runtime(DeviceType::cuda).device_count() > 0;
#else
  return false;
#endif
}

void require_present(DeviceType type) {
  if (type == DeviceType::cpu || has_gpu()) return;
#ifdef MOBILENET_CUDA
  throw InputError("device cuda", "this machine has no GPU, or no driver for it; cpu works everywhere");
#else
  throw InputError("device cuda", "this build was made without the CUDA toolkit; cpu works everywhere");
#endif
}

}  // namespace

Device& device(DeviceType type) {
  static Device* devices[2] = {};
  Device*& made = devices[static_cast<int>(type)];
  if (made == nullptr) {
    require_present(type);
    made = new Device(runtime(type));
  }
  return *made;
}

const char* to_string(DeviceType type) { return type == DeviceType::cpu ? "cpu" : "cuda"; }

DeviceType best_device() { return has_gpu() ? DeviceType::cuda : DeviceType::cpu; }

DeviceType parse_device(std::string_view word) {
  if (word == "auto") return best_device();
  if (word == "cpu") return DeviceType::cpu;
  if (word != "cuda") throw InputError("device", fmt::format("\"{}\" is none of auto, cpu, cuda", word));
  require_present(DeviceType::cuda);
  return DeviceType::cuda;
}

Buffer::Buffer(Device& device, size_t bytes)
    : device_(&device), data_(device.allocator().allocate(bytes)), bytes_(bytes) {}

Buffer::~Buffer() {
  if (device_ != nullptr) device_->allocator().release(data_, bytes_);
}

void Graph::discard() {
  try {
    device_.runtime().graph_destroy(device_.runtime().capture_end(device_.stream()));
  } catch (const kernels::Error&) {  // what went wrong inside the capture is already on its way
  }
}

}  // namespace engine
