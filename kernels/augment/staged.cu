// Idea: a block an image, from bytes to floats in one launch. The source comes into shared memory once, a pixel a word,
// with a black border, and its grey is added up on the way; a neighbour is then one load of four bytes where it was
// three of one byte behind a comparison. Should read the source once and be bound by writing the result. For sources
// that fit, up to about 106×106.
#include "kernels/augment/pixel.h"
#include "kernels/common/floats.h"
#include "kernels/common/launch.h"

namespace kernels::KERNEL_TARGET {

constexpr int augment_staged_block = 256;

// 47 KiB: with what the kernel declares, less than the 48 that every launch may have. So many pixels' grey_of also stay
// below 2^32.
inline size_t augment_staged_bytes(const AugmentShape& s) {
  return (static_cast<size_t>(s.in_height) + 3) * (static_cast<size_t>(s.in_width) + 3) * sizeof(uint32_t);
}
constexpr size_t augment_staged_limit = 47 * 1024;
static_assert(augment_staged_limit / 4 * 1000 * 255 < 1ull << 32);

// Pixels -1 … W+1 and -1 … H+1, in rows of W+3.
struct Words {
  const uint32_t* source;
  int stride;
  __device__ __forceinline__ Rgb operator()(int row, int column) const {
    const uint32_t pixel = source[(row + 1) * stride + column + 1];
    return {static_cast<float>(pixel & 255), static_cast<float>(pixel >> 8 & 255), static_cast<float>(pixel >> 16)};
  }
};

__global__ void __launch_bounds__(augment_staged_block)
    augment_staged_forward(AugmentShape s, AugmentOptions options, Normalisation n, uint64_t seed,
                           const uint32_t* epoch, bool aligned, const uint8_t* images, const int32_t* rows,
                           const uint32_t* items, float* y) {
  uint32_t* source = dynamic_shared<uint32_t>();
  __shared__ uint32_t sum;
  __shared__ AugmentMap map;
  const int b = blockIdx.x, H = s.in_height, W = s.in_width, stride = W + 3;
  if (threadIdx.x == 0) sum = 0;
  __syncthreads();
  const uint8_t* image = images + (rows != nullptr ? rows[b] : b) * int64_t{H} * W * 3;
  uint32_t reds = 0, greens = 0, blues = 0;
  for (int k = threadIdx.x; k < (H + 3) * stride; k += augment_staged_block) {
    const int row = k / stride - 1, column = k % stride - 1;
    uint32_t pixel = 0;
    if (row >= 0 && row < H && column >= 0 && column < W) {
      const uint8_t* p = image + (row * W + column) * 3;
      const uint32_t red = p[0], green = p[1], blue = p[2];
      pixel = red | green << 8 | blue << 16;
      reds += red, greens += green, blues += blue;
    }
    source[k] = pixel;
  }
  if (options.contrast > 0) atomicAdd(&sum, grey_of(reds, greens, blues));  // of integers: the same in any order
  __syncthreads();
  if (threadIdx.x == 0) map = augment_map(s, options, draw(options, seed, *epoch, items[b]), sum);
  __syncthreads();
  const AugmentMap m = map;
  const int count = s.out_height * s.out_width;
  for (int first = threadIdx.x * 4; first < count; first += augment_staged_block * 4)
    write_four(s, m, n, aligned, first, Words{source, stride}, y + int64_t{b} * count * 3);
}

extern const Augment augment_staged = {
    .name = "staged",
    .idea = "a block an image, its source in shared memory, one launch",
    .provider = Provider::native,
    .supports = [](const AugmentShape& s) { return augment_staged_bytes(s) <= augment_staged_limit; },
    .workspace = [](const AugmentShape&) -> size_t { return 0; },
    .forward =
        [](Context& context, const AugmentShape& s, const AugmentOptions& options, uint64_t seed, const uint32_t* epoch,
           const uint8_t* images, const int32_t* rows, const uint32_t* items, float* y) {
          check(options);
          const bool aligned = int64_t{s.out_height} * s.out_width % 4 == 0 && all_aligned({y});
          launch(context, augment_staged_forward, s.batch, augment_staged_block, augment_staged_bytes(s), s, options,
                 normalisation(options), seed, epoch, aligned, images, rows, items, y);
        },
};

}  // namespace kernels::KERNEL_TARGET
