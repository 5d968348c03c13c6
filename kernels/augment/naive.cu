// Idea: one thread an output pixel, after one thread an image has drawn its parameters and added up its grey. A pixel's
// four neighbours come from global memory byte by byte, and its three results go there one by one; the sum is one
// thread's.
#include "kernels/augment/pixel.h"
#include "kernels/common/launch.h"

namespace kernels::KERNEL_TARGET {

__global__ void augment_naive_maps(AugmentShape s, AugmentOptions options, uint64_t seed, const uint32_t* epoch,
                                   const uint8_t* images, const int32_t* rows, const uint32_t* items,
                                   AugmentMap* maps) {
  const int b = blockIdx.x * blockDim.x + threadIdx.x;
  if (b >= s.batch) return;
  const int64_t pixels = int64_t{s.in_height} * s.in_width;
  uint64_t red = 0, green = 0, blue = 0;
  if (options.contrast > 0) {
    const uint8_t* p = images + (rows != nullptr ? rows[b] : b) * pixels * 3;
    for (int64_t i = 0; i < pixels; ++i, p += 3) red += p[0], green += p[1], blue += p[2];
  }
  maps[b] = augment_map(s, options, draw(options, seed, *epoch, items[b]), grey_of(red, green, blue));
}

__global__ void augment_naive_forward(AugmentShape s, Normalisation n, const uint8_t* images, const int32_t* rows,
                                      const AugmentMap* maps, float* y) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int P = s.out_height, Q = s.out_width;
  if (index >= int64_t{s.batch} * P * Q) return;
  const int j = index % Q, i = index / Q % P, b = static_cast<int>(index / Q / P);
  const uint8_t* image = images + (rows != nullptr ? rows[b] : b) * int64_t{s.in_height} * s.in_width * 3;
  const Rgb v = augmented(s, maps[b], n, i, j, Bytes{image, s.in_height, s.in_width});
  y[3 * index] = v.r, y[3 * index + 1] = v.g, y[3 * index + 2] = v.b;
}

extern const Augment augment_naive = {
    .name = "naive",
    .idea = "one thread an output pixel",
    .provider = Provider::native,
    .supports = [](const AugmentShape&) { return true; },
    .workspace = [](const AugmentShape& s) -> size_t { return s.batch * sizeof(AugmentMap); },
    .forward =
        [](Context& context, const AugmentShape& s, const AugmentOptions& options, uint64_t seed, const uint32_t* epoch,
           const uint8_t* images, const int32_t* rows, const uint32_t* items, float* y) {
          check(options);
          const auto maps = static_cast<AugmentMap*>(context.workspace);
          const int64_t pixels = int64_t{s.batch} * s.out_height * s.out_width;
          launch(context, augment_naive_maps, ceil_div(s.batch, 32), 32, 0, s, options, seed, epoch, images, rows,
                 items, maps);
          launch(context, augment_naive_forward, ceil_div(pixels, 256), 256, 0, s, normalisation(options), images, rows,
                 maps, y);
        },
};

}  // namespace kernels::KERNEL_TARGET
