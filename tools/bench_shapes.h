// Files of layer shapes, one line a layer:
//
//   depthwise_conv batch=128 height=32 width=32 channels=32 stride=1   # blocks.0.0.conv_dw
//
// An operation, all of its fields in any order, and behind a # the layer's name. Empty lines and those that begin with
// # are passed over.
#pragma once

#include <string>
#include <vector>

#include "models/mobilenet_v1.h"
#include "tools/bench_operations.h"

namespace tools::bench {

struct LayerShape {
  const Operation* operation;
  Values values;                    // of operation->fields
  std::vector<std::string> layers;  // names of the layers that have this shape
};

// Reads such text; equal lines become one shape. Throws UsageError that begins with "FILE:LINE: " for a line that is
// not as above.
std::vector<LayerShape> parse_shapes(const std::string& text, const std::string& file);

// A network's layers as such text, in the network's order.
std::string shapes_text(const models::MobileNetV1Config&, int batch);

// `shapes`: mobilenet_v1, mobilenet_v1_025 (width 0.25), either with _224 behind it (resolution 224), or a file's name.
// `batch`: of all shapes, 0: as the file says.
std::vector<LayerShape> load_shapes(const std::string& shapes, int batch);

// "batch 128, height 32, width 32, channels 32, stride 1"
std::string describe(const LayerShape&);

}  // namespace tools::bench
