// The CPU's own way: a plain loop over the images, on the calling thread alone, so that a loader's workers can each
// take images of their own. It touches neither stream nor workspace.
//
// Two things let compilers make vector instructions of it. The source lies in a copy with a black border and a pixel a
// word, so that a neighbour is one load, and nothing asks whether it exists. And an output row goes through one loop
// after another, each with one kind of work, over arrays that do not overlap: only the loads of neighbours, all over
// the image, stay scalar.
#include <vector>

#include "kernels/augment/pixel.h"

namespace kernels::KERNEL_TARGET {
namespace {

// Copies an image into the middle of `source`, pixels -1 … W+1 and -1 … H+1 in rows of `stride`, and adds up its
// grey.
uint64_t unpack_image(int H, int W, int stride, const uint8_t* __restrict from, uint32_t* __restrict source) {
  uint64_t grey = 0;
  for (int i = 0; i < H; ++i, from += 3 * static_cast<int64_t>(W)) {
    uint32_t* to = source + static_cast<int64_t>(i + 1) * stride + 1;
    uint32_t red = 0, green = 0, blue = 0;
    for (int j = 0; j < W; ++j) {
      const uint32_t r = from[3 * j], g = from[3 * j + 1], b = from[3 * j + 2];
      to[j] = r | g << 8 | b << 16;
      red += r, green += g, blue += b;
    }
    grey += grey_of<uint64_t>(red, green, blue);
  }
  return grey;
}

// Output row i's upper left neighbours, as places in `source`, and how far its pixels are from them. (Q) each.
void find_neighbours(const AugmentShape& s, const AugmentMap& m, int i, int stride, int* __restrict first,
                     float* __restrict across, float* __restrict down) {
  const int H = s.in_height, W = s.in_width, Q = s.out_width;
  const float dy = from_centre(i, s.out_height), row_x = fmaf(m.xy, dy, m.x0), row_y = fmaf(m.yy, dy, m.y0);
  for (int j = 0; j < Q; ++j) {
    const float dx = from_centre(j, Q);
    const Place x = place(fmaf(m.xx, dx, row_x), W), y = place(fmaf(m.yx, dx, row_y), H);
    first[j] = (y.index + 1) * stride + x.index + 1;
    across[j] = x.part, down[j] = y.part;
  }
}

// near (4, Q): upper left, upper right, lower left, lower right.
void load_neighbours(int Q, int stride, const uint32_t* __restrict source, const int* __restrict first,
                     uint32_t* __restrict near) {
  for (int j = 0; j < Q; ++j) {
    const uint32_t* p = source + first[j];
    near[j] = p[0], near[Q + j] = p[1], near[2 * Q + j] = p[stride], near[3 * Q + j] = p[stride + 1];
  }
}

Rgb unpacked(uint32_t pixel) {
  const int red = pixel & 255, green = pixel >> 8 & 255, blue = pixel >> 16;
  return {static_cast<float>(red), static_cast<float>(green), static_cast<float>(blue)};
}

// The maps are copies, which no store can change.
void make_colours(AugmentMap m, Normalisation n, int Q, const uint32_t* __restrict near, const float* __restrict across,
                  const float* __restrict down, float* __restrict red, float* __restrict green,
                  float* __restrict blue) {
  const uint32_t *a = near, *b = a + Q, *c = b + Q, *d = c + Q;
  for (int j = 0; j < Q; ++j) {
    const Rgb v =
        coloured(m, between(unpacked(a[j]), unpacked(b[j]), unpacked(c[j]), unpacked(d[j]), across[j], down[j]));
    red[j] = normalised(n, 0, v.r), green[j] = normalised(n, 1, v.g), blue[j] = normalised(n, 2, v.b);
  }
}

// y (Q, 3)
void interleave(int Q, const float* __restrict red, const float* __restrict green, const float* __restrict blue,
                float* __restrict y) {
  for (int j = 0; j < Q; ++j) y[3 * j] = red[j], y[3 * j + 1] = green[j], y[3 * j + 2] = blue[j];
}

void forward(Context&, const AugmentShape& s, const AugmentOptions& options, uint64_t seed, const uint32_t* epoch,
             const uint8_t* images, const int32_t* rows, const uint32_t* items, float* y) {
  check(options);
  const Normalisation n = normalisation(options);
  const int H = s.in_height, W = s.in_width, P = s.out_height, Q = s.out_width, stride = W + 3;
  const int64_t pixels = int64_t{H} * W;
  std::vector<uint32_t> source(static_cast<size_t>(H + 3) * stride), near(4 * static_cast<size_t>(Q));
  std::vector<int> first(Q);
  std::vector<float> across(Q), down(Q), red(Q), green(Q), blue(Q);
  for (int b = 0; b < s.batch; ++b) {
    const uint8_t* image = images + (rows != nullptr ? rows[b] : b) * pixels * 3;
    const uint64_t grey = unpack_image(H, W, stride, image, source.data());
    const AugmentMap m = augment_map(s, options, draw(options, seed, *epoch, items[b]), grey);
    for (int i = 0; i < P; ++i, y += 3 * static_cast<int64_t>(Q)) {
      find_neighbours(s, m, i, stride, first.data(), across.data(), down.data());
      load_neighbours(Q, stride, source.data(), first.data(), near.data());
      make_colours(m, n, Q, near.data(), across.data(), down.data(), red.data(), green.data(), blue.data());
      if (i >= m.cut_top && i < m.cut_bottom)
        for (int j = m.cut_left > 0 ? m.cut_left : 0; j < m.cut_right && j < Q; ++j) red[j] = green[j] = blue[j] = 0;
      interleave(Q, red.data(), green.data(), blue.data(), y);
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
