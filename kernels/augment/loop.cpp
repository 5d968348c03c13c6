// The CPU's own way: a plain loop over the images, on the calling thread alone, so that a loader's workers can each
// take images of their own. It touches neither stream nor workspace. The loops over an output row hold one kind of work
// each, which compilers turn into vector instructions; the source lies in a copy with a black border and a pixel a
// word, so that a neighbour is one load without a question whether it exists.
#include <vector>

#include "kernels/augment/pixel.h"

namespace kernels::KERNEL_TARGET {
namespace {

Rgb unpacked(uint32_t word) {
  return {static_cast<float>(static_cast<int>(word & 255)), static_cast<float>(static_cast<int>(word >> 8 & 255)),
          static_cast<float>(static_cast<int>(word >> 16))};
}

void forward(Context&, const AugmentShape& s, const AugmentOptions& options, uint64_t seed, uint32_t epoch,
             const uint8_t* images, const int32_t* rows, const uint32_t* items, float* y) {
  check(options);
  const Normalisation n = normalisation(options);
  const int H = s.in_height, W = s.in_width, P = s.out_height, Q = s.out_width, stride = W + 3;
  const int64_t pixels = int64_t{H} * W;
  std::vector<uint32_t> source(static_cast<size_t>(H + 3) * stride);       // pixels -1 … H+1, -1 … W+1
  std::vector<int> first(Q);                                               // an output row's upper left neighbours,
  std::vector<float> across(Q), down(Q), row(3 * static_cast<size_t>(Q));  // parts and colours, (3, Q)
  float *const red = row.data(), *const green = red + Q, *const blue = green + Q;

  for (int b = 0; b < s.batch; ++b) {
    const uint8_t* from = images + (rows != nullptr ? rows[b] : b) * pixels * 3;
    uint64_t sums[3] = {};
    for (int i = 0; i < H; ++i) {
      uint32_t* to = &source[static_cast<size_t>(i + 1) * stride + 1];
      uint32_t r = 0, g = 0, u = 0;
      for (int j = 0; j < W; ++j, from += 3) {
        to[j] = from[0] | from[1] << 8 | from[2] << 16;
        r += from[0], g += from[1], u += from[2];
      }
      sums[0] += r, sums[1] += g, sums[2] += u;
    }
    const AugmentMap m =
        augment_map(s, options, draw(options, seed, epoch, items[b]), grey_mean(sums[0], sums[1], sums[2], pixels));
    for (int i = 0; i < P; ++i, y += 3 * static_cast<int64_t>(Q)) {
      const float dy = from_centre(i, P), row_x = fmaf(m.xy, dy, m.x0), row_y = fmaf(m.yy, dy, m.y0);
      for (int j = 0; j < Q; ++j) {
        const float dx = from_centre(j, Q);
        const Place x = place(fmaf(m.xx, dx, row_x), W), v = place(fmaf(m.yx, dx, row_y), H);
        first[j] = (v.index + 1) * stride + x.index + 1;
        across[j] = x.part, down[j] = v.part;
      }
      for (int j = 0; j < Q; ++j) {
        const uint32_t* p = source.data() + first[j];
        const Rgb v = coloured(m, between(unpacked(p[0]), unpacked(p[1]), unpacked(p[stride]), unpacked(p[stride + 1]),
                                          across[j], down[j]));
        red[j] = normalised(n, 0, v.r), green[j] = normalised(n, 1, v.g), blue[j] = normalised(n, 2, v.b);
      }
      if (i >= m.cut_top && i < m.cut_bottom)
        for (int j = m.cut_left > 0 ? m.cut_left : 0; j < m.cut_right && j < Q; ++j) red[j] = green[j] = blue[j] = 0;
      for (int j = 0; j < Q; ++j) y[3 * j] = red[j], y[3 * j + 1] = green[j], y[3 * j + 2] = blue[j];
    }
  }
}

}  // namespace

extern const Augment augment_loop = {
    .name = "loop",
    .idea = "plain loops that compilers vectorise, on the calling thread",
    .provider = Provider::vendor,
    .supports = [](const AugmentShape&) { return true; },
    .workspace = [](const AugmentShape&) -> size_t { return 0; },
    .forward = forward,
};

}  // namespace kernels::KERNEL_TARGET
