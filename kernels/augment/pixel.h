// What the rows share: an image's parameters as the few numbers that its pixels need, and the arithmetic of one pixel.
// Every rounding is written out, so all rows agree to the bit; see augment.h.
#pragma once

#include "kernels/augment/augment.h"
#include "kernels/common/target.h"

namespace kernels::KERNEL_TARGET {

// What an image's pixels need.
struct AugmentMap {
  float xx, xy, x0, yx, yy, y0;  // source x = xx·dx + (xy·dy + x0), y = yx·dx + (yy·dy + y0), in pixels
  float gain, grey, offset;      // v = gain·v + (grey·grey(v) + offset)
  int cut_left, cut_right, cut_top, cut_bottom;
};

// (v / 255 - mean) / std = scale·v + shift, in double: fp32 would be a bit or two off.
struct Normalisation {
  double scale[3], shift[3];
};

inline Normalisation normalisation(const AugmentOptions& o) {
  Normalisation n;
  for (int c = 0; c < 3; ++c) {
    n.scale[c] = 1 / (255 * static_cast<double>(o.std[c]));
    n.shift[c] = -static_cast<double>(o.mean[c]) / static_cast<double>(o.std[c]);
  }
  return n;
}

// Sine and cosine of -180 … 180 degrees. What is left of a multiple of 90 degrees is exact; the polynomials for ±45
// degrees are those of Cephes' sinf and cosf (S. Moshier). Off by at most 9.6e-8.
__device__ inline void sine_cosine(float degrees, float* sine, float* cosine) {
  const float quarters = rintf(degrees * (1 / 90.0f));
  const float x = fmaf(-90.0f, quarters, degrees) * 0.01745329252f, z = x * x;
  const float s = fmaf(x * z, fmaf(fmaf(-1.9515295891e-4f, z, 8.3321608736e-3f), z, -1.6666654611e-1f), x);
  const float c = fmaf(z * z, fmaf(fmaf(2.443315711809948e-5f, z, -1.388731625493765e-3f), z, 4.166664568298827e-2f),
                       fmaf(-0.5f, z, 1.0f));
  const int quadrant = static_cast<int>(quarters) & 3;
  *sine = quadrant == 0 ? s : quadrant == 1 ? c : quadrant == 2 ? -s : -c;
  *cosine = quadrant == 0 ? c : quadrant == 1 ? -s : quadrant == 2 ? -c : s;
}

// 1000 times the grey of pixels whose channels have these sums: integers, whose order does not matter.
template <class Sum>
__device__ __forceinline__ Sum grey_of(Sum red, Sum green, Sum blue) {
  return 299 * red + 587 * green + 114 * blue;
}

// grey: grey_of the source; does not matter where options.contrast is 0.
__device__ inline AugmentMap augment_map(const AugmentShape& s, const AugmentOptions& o, const AugmentParameters& p,
                                         uint64_t grey) {
  float sine, cosine, shear_sine, shear_cosine;
  sine_cosine(p.rotation, &sine, &cosine);
  sine_cosine(p.shear, &shear_sine, &shear_cosine);
  const float tangent = shear_sine / shear_cosine, shrink = 1 / p.scale;
  const float across = static_cast<float>(s.in_width) / static_cast<float>(s.out_width) * shrink;
  const float down = static_cast<float>(s.in_height) / static_cast<float>(s.out_height) * shrink;
  const float mirror = p.flip ? -1.0f : 1.0f;
  AugmentMap m;
  m.xx = fmaf(-sine, tangent, cosine) * across * mirror;
  m.xy = fmaf(cosine, tangent, sine) * down * mirror;
  m.yx = -sine * across;
  m.yy = cosine * down;
  m.x0 = 0.5f * static_cast<float>(s.in_width - 1 + 2 * p.shift_x);  // exact, as all halves are
  m.y0 = 0.5f * static_cast<float>(s.in_height - 1 + 2 * p.shift_y);
  const float contrast = p.contrast * p.brightness;
  m.gain = contrast * p.saturation;
  m.grey = contrast * (1 - p.saturation);
  const double pixels = static_cast<double>(int64_t{s.in_height} * s.in_width);
  const float mean = static_cast<float>(static_cast<double>(grey) / (1000 * pixels));
  m.offset = o.contrast == 0 ? 0.0f : (1 - p.contrast) * (p.brightness * mean);
  const int centre_x = static_cast<int>(uint64_t{p.cutout_x} * s.out_width >> 32);
  const int centre_y = static_cast<int>(uint64_t{p.cutout_y} * s.out_height >> 32);
  m.cut_left = centre_x - o.cutout / 2, m.cut_right = m.cut_left + o.cutout;
  m.cut_top = centre_y - o.cutout / 2, m.cut_bottom = m.cut_top + o.cutout;
  return m;
}

// Where a coordinate falls: between pixels `index` and index + 1, `part` of the way. index is -1 … size, as all that is
// further out is as black.
struct Place {
  int index;
  float part;
};
__device__ __forceinline__ Place place(float coordinate, int size) {
  coordinate = coordinate > -1 ? coordinate : -1.0f;
  coordinate = coordinate < static_cast<float>(size) ? coordinate : static_cast<float>(size);
  const float below = floorf(coordinate);
  return {static_cast<int>(below), coordinate - below};
}

// Distance of the centre of pixel i from the centre of an image of `size` pixels; exact.
__device__ __forceinline__ float from_centre(int i, int size) { return 0.5f * static_cast<float>(2 * i + 1 - size); }

__device__ __forceinline__ float between(float a, float b, float part) { return fmaf(part, b - a, a); }

struct Rgb {
  float r, g, b;
};

// Bilinear between four pixels: a b above c d.
__device__ __forceinline__ Rgb between(const Rgb& a, const Rgb& b, const Rgb& c, const Rgb& d, float across,
                                       float down) {
  return {between(between(a.r, b.r, across), between(c.r, d.r, across), down),
          between(between(a.g, b.g, across), between(c.g, d.g, across), down),
          between(between(a.b, b.b, across), between(c.b, d.b, across), down)};
}

__device__ __forceinline__ float clamped(float v) { return v < 0 ? 0.0f : v > 255 ? 255.0f : v; }

__device__ __forceinline__ Rgb coloured(const AugmentMap& m, const Rgb& v) {
  const float grey = fmaf(0.299f, v.r, fmaf(0.587f, v.g, 0.114f * v.b));
  const float more = fmaf(m.grey, grey, m.offset);
  return {clamped(fmaf(m.gain, v.r, more)), clamped(fmaf(m.gain, v.g, more)), clamped(fmaf(m.gain, v.b, more))};
}

__device__ __forceinline__ float normalised(const Normalisation& n, int channel, float v) {
  return static_cast<float>(fma(static_cast<double>(v), n.scale[channel], n.shift[channel]));
}

// Output pixel (i, j). pixel(row, column) is the source's, or black, from -1 to one beyond the last.
template <class Pixel>
__device__ __forceinline__ Rgb augmented(const AugmentShape& s, const AugmentMap& m, const Normalisation& n, int i,
                                         int j, Pixel pixel) {
  if (i >= m.cut_top && i < m.cut_bottom && j >= m.cut_left && j < m.cut_right) return {0, 0, 0};
  const float dx = from_centre(j, s.out_width), dy = from_centre(i, s.out_height);
  const Place x = place(fmaf(m.xx, dx, fmaf(m.xy, dy, m.x0)), s.in_width);
  const Place y = place(fmaf(m.yx, dx, fmaf(m.yy, dy, m.y0)), s.in_height);
  const Rgb v = coloured(m, between(pixel(y.index, x.index), pixel(y.index, x.index + 1), pixel(y.index + 1, x.index),
                                    pixel(y.index + 1, x.index + 1), x.part, y.part));
  return {normalised(n, 0, v.r), normalised(n, 1, v.g), normalised(n, 2, v.b)};
}

// The source as it lies in memory, (H, W, 3).
struct Bytes {
  const uint8_t* image;
  int height, width;
  __device__ __forceinline__ Rgb operator()(int row, int column) const {
    if (row < 0 || row >= height || column < 0 || column >= width) return {0, 0, 0};
    const uint8_t* p = image + (static_cast<int64_t>(row) * width + column) * 3;
    return {static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2])};
  }
};

// Writes pixels `first` … first + 3 of an image's P·Q, in rows, to y (P, Q, 3). aligned: P·Q is a multiple of four and
// y of 16 bytes; then they are three 16-byte stores.
template <class Pixel>
__device__ __forceinline__ void write_four(const AugmentShape& s, const AugmentMap& m, const Normalisation& n,
                                           bool aligned, int first, Pixel pixel, float* y) {
  const int count = s.out_height * s.out_width;
  int i = first / s.out_width, j = first % s.out_width;
  y += static_cast<int64_t>(first) * 3;
  Rgb v[4];
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    v[k] = first + k < count ? augmented(s, m, n, i, j, pixel) : Rgb{0, 0, 0};
    if (++j == s.out_width) j = 0, ++i;
  }
  if (aligned) {
    float4* to = reinterpret_cast<float4*>(y);
    to[0] = {v[0].r, v[0].g, v[0].b, v[1].r};
    to[1] = {v[1].g, v[1].b, v[2].r, v[2].g};
    to[2] = {v[2].b, v[3].r, v[3].g, v[3].b};
    return;
  }
#pragma unroll
  for (int k = 0; k < 4; ++k)
    if (first + k < count) y[3 * k] = v[k].r, y[3 * k + 1] = v[k].g, y[3 * k + 2] = v[k].b;
}

}  // namespace kernels::KERNEL_TARGET
