// Augmentation: from images of bytes to the normalised floats that a network reads. Each image gets random parameters,
// one warp of its pixels, one change of its colours, and the normalisation.
//
//   parameters  draw(options, seed, epoch, item): uniform numbers u from Philox4x32-10 with the key `seed` and the
//               counter {block, 4, epoch, item}, which is data::Random's with data::Purpose::augment. Each parameter
//               has a word of its own, so that switching one option on never changes what another one does; an image's
//               depend on nothing else, so neither batches, workers nor devices change them.
//   warp        An output pixel looks up one point of the source. In coordinates about the centres of both images, with
//               c, s = cos, sin of the rotation, t = tan of the shear, k = the scale, H×W the source, P×Q the output:
//                 dx = (j + ½ - Q/2) · W/Q,  dy = (i + ½ - P/2) · H/P                                    resize
//                 x  = ((c - s·t)·dx + (c·t + s)·dy) / k,  y = (-s·dx + c·dy) / k                        affine
//                 x  = -x where flipped;  x = x + shift_x, y = y + shift_y                               flip, crop
//               The second line is the inverse of torchvision's RandomAffine (rotation in degrees clockwise, shear
//               along x). The value is bilinear between the four nearest pixel centres; outside the image is black (0).
//               Bilinear sampling reads four pixels: an image more than twice the output's size would alias, and has to
//               be made smaller first (data/image.h).
//   colours     v = b·v                      brightness b
//               v = c·v + (1-c)·m            contrast c; m: mean grey of the brightened source
//               v = s·v + (1-s)·grey(v)      saturation s
//               with grey = 0.299·R + 0.587·G + 0.114·B (ITU-R BT.601), and then clamped to 0 … 1. torchvision clamps
//               after each step. Clamped once, no step throws away what the next one would have brought back, the three
//               lines are one (v = c·b·(s·v + (1-s)·grey(v)) + (1-c)·m), and m is b times the mean grey of the bytes, a
//               sum of integers, which comes out the same in any order.
//   cutout      a square of the output, 0 after normalisation (DeVries & Taylor 2017)
//   normalise   y = (v - mean) / std
//
// Rounding is written out (fmaf, fma, and no product that a sum follows), so that all rows on all devices give the same
// bits. Values are in 0 … 255 up to the last line, which is one double fma: an image that is not augmented, in its own
// size, comes out as float((v / 255.0 - mean) / std).
#pragma once

#include <math.h>

#include "kernels/common/philox.h"
#include "kernels/common/table.h"

namespace kernels {

struct AugmentShape {
  int batch, in_height, in_width, out_height, out_width;
};

// What may happen to an image; the defaults: nothing.
struct AugmentOptions {
  float flip = 0;                                      // probability of mirroring left to right
  float rotation = 0, shear = 0;                       // degrees: uniform in -r … r; up to 180, up to 80
  float scale_low = 1, scale_high = 1;                 // uniform between them; 0.01 … 100
  float brightness = 0, contrast = 0, saturation = 0;  // a factor uniform in 1-v … 1+v; v in 0 … 1
  int crop_padding = 0;                                // both axes' shifts uniform in -p … p pixels of the source
  int cutout = 0;                                      // side of the square, pixels of the output; 0: none
  float mean[3] = {0, 0, 0}, std[3] = {1, 1, 1};       // red, green, blue, of values in 0 … 1
};

// Throws Error for options that are out of range; every row does it first.
inline void check(const AugmentOptions& o) {
  const auto require = [](bool holds, const char* what) {
    if (!holds) throw Error(std::string("augment: expected ") + what);
  };
  require(o.flip >= 0 && o.flip <= 1, "a flip probability in 0 ... 1");
  require(o.rotation >= 0 && o.rotation <= 180, "a rotation in 0 ... 180 degrees");
  require(o.shear >= 0 && o.shear <= 80, "a shear in 0 ... 80 degrees");
  require(o.scale_low >= 0.01f && o.scale_low <= o.scale_high && o.scale_high <= 100,
          "scales with 0.01 <= low <= high <= 100");
  require(o.brightness >= 0 && o.brightness <= 1, "a brightness in 0 ... 1");
  require(o.contrast >= 0 && o.contrast <= 1, "a contrast in 0 ... 1");
  require(o.saturation >= 0 && o.saturation <= 1, "a saturation in 0 ... 1");
  require(o.crop_padding >= 0 && o.crop_padding <= 1 << 16, "a crop padding in 0 ... 65536 pixels");
  require(o.cutout >= 0 && o.cutout <= 1 << 16, "a cutout in 0 ... 65536 pixels");
  for (int c = 0; c < 3; ++c) {
    require(o.mean[c] >= -1e6f && o.mean[c] <= 1e6f, "means in -1e6 ... 1e6");
    require(o.std[c] >= 1e-6f && o.std[c] <= 1e6f, "standard deviations in 1e-6 ... 1e6");
  }
}

// One image's draw.
struct AugmentParameters {
  bool flip;
  float rotation, shear;  // degrees
  float scale;
  float brightness, contrast, saturation;  // factors
  int shift_x, shift_y;                    // pixels of the source
  uint32_t cutout_x, cutout_y;             // the square's centre, as shares of width and height · 2^32
};

// item: the image's number in its set.
HOST_DEVICE inline AugmentParameters draw(const AugmentOptions& o, uint64_t seed, uint32_t epoch, uint32_t item) {
  constexpr uint32_t purpose = 4;
  const PhiloxWords a = philox4x32_10({{0, purpose, epoch, item}}, seed);
  const PhiloxWords b = philox4x32_10({{1, purpose, epoch, item}}, seed);
  const PhiloxWords c = philox4x32_10({{2, purpose, epoch, item}}, seed);
  const auto uniform = [](uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; };  // in [0, 1)
  const auto symmetric = [&](uint32_t word) { return 2 * uniform(word) - 1; };  // in [-1, 1); exact, fused or not
  const auto shift = [&](uint32_t word) {  // -p … p: the high half of word · (2p + 1), even to (2p + 1) / 2^32
    return static_cast<int>(uint64_t{word} * (2u * o.crop_padding + 1) >> 32) - o.crop_padding;
  };
  AugmentParameters p;
  p.flip = uniform(a.word[0]) < o.flip;
  p.rotation = o.rotation * symmetric(a.word[1]);
  p.shear = o.shear * symmetric(a.word[2]);
  p.scale = fmaf(o.scale_high - o.scale_low, uniform(a.word[3]), o.scale_low);
  if (p.scale > o.scale_high) p.scale = o.scale_high;  // rounding may pass it
  p.brightness = fmaf(o.brightness, symmetric(b.word[0]), 1.0f);
  p.contrast = fmaf(o.contrast, symmetric(b.word[1]), 1.0f);
  p.saturation = fmaf(o.saturation, symmetric(b.word[2]), 1.0f);
  p.shift_x = shift(c.word[0]);
  p.shift_y = shift(c.word[1]);
  p.cutout_x = c.word[2];
  p.cutout_y = c.word[3];
  return p;
}

struct Augment {
  static constexpr const char* operation = "augment";
  const char* name;
  const char* idea;
  Provider provider;
  bool (*supports)(const AugmentShape&);
  size_t (*workspace)(const AugmentShape&);  // bytes
  void (*forward)(Context&, const AugmentShape&, const AugmentOptions&, uint64_t seed,
                  const uint32_t* epoch,  // (1) in device memory, so that a captured pass serves all epochs
                  const uint8_t* images,  // (N, H, W, 3) a whole set, or the batch
                  const int32_t* rows,    // (B) the batch's images, each in 0 … N-1; nullptr: 0 … B-1
                  const uint32_t* items,  // (B) their numbers in the set, which their parameters depend on
                  float* y);              // (B, P, Q, 3)
};

namespace reference {
// The formulas in double, with an image's parameters given. image (H, W, 3), y (P, Q, 3).
void augment_forward(const AugmentShape&, const AugmentOptions&, const AugmentParameters&, const uint8_t* image,
                     double* y);
}  // namespace reference

}  // namespace kernels
