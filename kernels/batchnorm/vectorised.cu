// Idea: 16 bytes an access (8 of bfloat16). `split` with four neighbouring channels a thread: a quarter of the load
// instructions and of the threads for the same bytes.
#include "kernels/batchnorm/split.h"

namespace kernels::KERNEL_TARGET {

static constexpr const char* vectorised_idea = "four channels a thread: 16 bytes an access";

extern const BatchNorm batchnorm_vectorised = batchnorm_row<4, float>("vectorised", vectorised_idea);
extern const BatchNormOf<Bf16> batchnorm_vectorised_bf16 = batchnorm_row<4, Bf16>("vectorised", vectorised_idea);

}  // namespace kernels::KERNEL_TARGET
