#include "kernels/mma_kernels.cu"  // against engine/simt
