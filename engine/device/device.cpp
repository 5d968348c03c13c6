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
    workspace_.reset();  // first, so that its memory can be the new one's; a graph may hold it yet
    context_.workspace = nullptr;
    context_.workspace_bytes = 0;
    workspace_ = std::make_shared<Buffer>(*this, workspace_bytes);
    context_.workspace = workspace_->data();
    context_.workspace_bytes = workspace_bytes;
  }
  return context_;
}

void Device::synchronize() {
  ++synchronizations_;
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

void Graph::begin() {
  workspaces_[0] = device_.workspace_;
  device_.allocator().begin_pool(memory_);
  try {
    device_.runtime().capture_begin(device_.stream());
  } catch (...) {
    device_.allocator().end_pool();
    throw;
  }
  device_.capturing_ = true;
}

void Graph::end() {
  device_.capturing_ = false;
  device_.allocator().end_pool();
  workspaces_[1] = device_.workspace_;
  graph_ = device_.runtime().capture_end(device_.stream(), &nodes_);
}

void Graph::discard() {
  device_.capturing_ = false;
  device_.allocator().end_pool();
  try {
    device_.runtime().graph_destroy(device_.runtime().capture_end(device_.stream(), &nodes_));
  } catch (const kernels::Error&) {  // what went wrong inside the capture is already on its way
  }
}

Graph::~Graph() {
  if (graph_ != nullptr) {
    try {
      device_.runtime().graph_destroy(graph_);
    } catch (const kernels::Error&) {  // only where the device has failed; whatever is asked of it next says so
    }
  }
  device_.allocator().dissolve(memory_);
}

void Graph::launch() {
  try {
    device_.runtime().graph_launch(graph_, device_.stream());
  } catch (const kernels::Error& error) {
    throw Error(fmt::format("a graph on {}", to_string(device_.type())), error.what());
  }
  ++device_.graph_launches_;
}

}  // namespace engine
