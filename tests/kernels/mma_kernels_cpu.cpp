#include "tests/kernels/mma_kernels.cu"  // against engine/simt
