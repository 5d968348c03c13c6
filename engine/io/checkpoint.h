// Models and training states to and from files. In files, layouts are PyTorch's; memory has the kernels'
// (engine/nn/state.h).
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "engine/io/safetensors.h"
#include "engine/nn/module.h"
#include "engine/optim/optimizer.h"

namespace engine::io {

// One tensor to its file layout and back. from_array throws InputError for another dtype, or a shape that is none of
// the layout's.
Array to_array(const NamedTensor&);
NamedTensor from_array(const Array&, Layout, DeviceType);

// A model's weights and buffers under their own names: the file that PyTorch and timm read and write. `metadata` is for
// what is needed to build the model again (width, resolution, classes), by the caller's choice.
void save_weights(const std::filesystem::path&, const nn::Module&, const std::map<std::string, std::string>& metadata);

// Throws InputError, before anything is changed, that names the file and every tensor that is missing, unexpected, or
// of another shape. PyTorch's counters (*.num_batches_tracked) are passed over.
void load_weights(const Safetensors&, nn::Module&);

// All that an exact resume needs, in one file: "model.NAME" for weights and buffers, "optimizer.NAME.first_moment" and
// so on, and in the metadata the optimiser's method and steps, and `state`: any JSON of the caller's (epoch, step in
// the epoch, best accuracy, configuration).
void save_checkpoint(const std::filesystem::path&, const nn::Module&, const optim::Optimizer&,
                     const nlohmann::json& state);

// The caller's JSON alone, which says how to build the model and the optimiser. Throws InputError for a file that is no
// checkpoint.
nlohmann::json checkpoint_state(const Safetensors&);

// Restores model and optimiser. Tensors with other prefixes are passed over, so that files written by later versions,
// which hold more, still load. Throws InputError as load_weights does, and where the optimiser is of another method.
void load_checkpoint(const Safetensors&, nn::Module&, optim::Optimizer&);

}  // namespace engine::io
