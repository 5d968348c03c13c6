#include "data/normalize.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "catch.h"

using namespace data;

TEST_CASE("every byte of every channel is normalised to the rounded quotient") {
  const Normalization normalization{{0.5f, 0.25f, 0.125f}, {0.25f, 0.5f, 2.0f}};
  std::vector<uint8_t> pixels;  // (256, 3)
  for (int v = 0; v < 256; ++v) pixels.insert(pixels.end(), {uint8_t(v), uint8_t(255 - v), uint8_t(v)});
  std::vector<float> out(256 * 3);
  normalize(pixels.data(), 256, normalization, out.data());
  for (int v = 0; v < 256; ++v) {  // with these means and deviations, all but the division by 255 is exact
    CHECK(out[size_t(v) * 3] == float(v / 255.0 * 4 - 2));
    CHECK(out[size_t(v) * 3 + 1] == float((255 - v) / 255.0 * 2 - 0.5));
    CHECK(out[size_t(v) * 3 + 2] == float(v / 255.0 / 2 - 0.0625));
  }
}

TEST_CASE("the normalisation is CIFAR-10's where no other is given") {
  const uint8_t pixel[3] = {0, 128, 255};
  float out[3];
  normalize(pixel, 1, {}, out);
  CHECK(out[0] == Approx(-0.4914 / 0.2470).epsilon(1e-6));
  CHECK(out[1] == Approx((128 / 255.0 - 0.4822) / 0.2435).epsilon(1e-6));
  CHECK(out[2] == Approx((1 - 0.4465) / 0.2616).epsilon(1e-6));
}
