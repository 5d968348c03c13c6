#pragma once

// <cuda_runtime.h> for a host compiler: CUDA C++ and the runtime API on the CPU. ../README.md says how it works.
// Everything is in namespace simt, because a program may hold NVIDIA's runtime too.

#include "simt/atomics.h"
#include "simt/execution.h"
#include "simt/launch.h"
#include "simt/math.h"
#include "simt/qualifiers.h"
#include "simt/runtime_api.h"
#include "simt/simt.h"
#include "simt/vector_types.h"

using namespace simt;
