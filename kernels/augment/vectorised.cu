// Idea: a block an image adds up its grey, and four neighbouring pixels a thread are written by three 16-byte stores.
// Should leave the source's single bytes, which come from the cache up to four times, as what costs most.
#include "kernels/augment/pixel.h"
#include "kernels/common/floats.h"
#include "kernels/common/launch.h"

namespace kernels::KERNEL_TARGET {

constexpr int augment_vectorised_block = 256;

__global__ void __launch_bounds__(augment_vectorised_block)
    augment_vectorised_maps(AugmentShape s, AugmentOptions options, uint64_t seed, const uint32_t* epoch,
                            const uint8_t* images, const int32_t* rows, const uint32_t* items, AugmentMap* maps) {
  const int b = blockIdx.x;
  const int64_t pixels = int64_t{s.in_height} * s.in_width;
  __shared__ unsigned long long sum;
  if (threadIdx.x == 0) sum = 0;
  __syncthreads();
  if (options.contrast > 0) {
    const uint8_t* image = images + (rows != nullptr ? rows[b] : b) * pixels * 3;
    unsigned long long red = 0, green = 0, blue = 0;
#pragma unroll 4
    for (int64_t i = threadIdx.x; i < pixels; i += augment_vectorised_block)
      red += image[3 * i], green += image[3 * i + 1], blue += image[3 * i + 2];
    atomicAdd(&sum, grey_of(red, green, blue));  // of integers: the same in any order
  }
  __syncthreads();
  if (threadIdx.x == 0) maps[b] = augment_map(s, options, draw(options, seed, *epoch, items[b]), sum);
}

// groups: of four pixels, the last one perhaps smaller, in an output image.
__global__ void __launch_bounds__(augment_vectorised_block)
    augment_vectorised_forward(AugmentShape s, Normalisation n, int groups, bool aligned, const uint8_t* images,
                               const int32_t* rows, const AugmentMap* maps, float* y) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * augment_vectorised_block + threadIdx.x;
  if (index >= int64_t{s.batch} * groups) return;
  const int b = static_cast<int>(index / groups), group = index % groups;
  const uint8_t* image = images + (rows != nullptr ? rows[b] : b) * int64_t{s.in_height} * s.in_width * 3;
  const AugmentMap m = maps[b];
  write_four(s, m, n, aligned, group * 4, Bytes{image, s.in_height, s.in_width},
             y + int64_t{b} * s.out_height * s.out_width * 3);
}

extern const Augment augment_vectorised = {
    .name = "vectorised",
    .idea = "a block adds up an image's grey, four pixels a thread, 16-byte stores",
    .provider = Provider::native,
    .supports = [](const AugmentShape&) { return true; },
    .workspace = [](const AugmentShape& s) -> size_t { return s.batch * sizeof(AugmentMap); },
    .forward =
        [](Context& context, const AugmentShape& s, const AugmentOptions& options, uint64_t seed, const uint32_t* epoch,
           const uint8_t* images, const int32_t* rows, const uint32_t* items, float* y) {
          check(options);
          const auto maps = static_cast<AugmentMap*>(context.workspace);
          const int64_t pixels = int64_t{s.out_height} * s.out_width, groups = ceil_div(pixels, 4);
          const bool aligned = pixels % 4 == 0 && all_aligned({y});
          launch(context, augment_vectorised_maps, s.batch, augment_vectorised_block, 0, s, options, seed, epoch,
                 images, rows, items, maps);
          launch(context, augment_vectorised_forward, ceil_div(s.batch * groups, augment_vectorised_block),
                 augment_vectorised_block, 0, s, normalisation(options), groups, aligned, images, rows, maps, y);
        },
};

}  // namespace kernels::KERNEL_TARGET
