// HOST_DEVICE: for plain functions that kernels and host code share, in headers that need no <cuda_runtime.h>.
#pragma once

#ifdef __CUDACC__
#define HOST_DEVICE __host__ __device__
#else
#define HOST_DEVICE
#endif
