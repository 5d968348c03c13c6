#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "kernels/augment/augment.h"

namespace kernels::reference {

void augment_forward(const AugmentShape& s, const AugmentOptions& o, const AugmentParameters& p, const uint8_t* image,
                     double* y) {
  const int H = s.in_height, W = s.in_width, P = s.out_height, Q = s.out_width;
  const auto grey = [](const double* v) { return 0.299 * v[0] + 0.587 * v[1] + 0.114 * v[2]; };
  const double radians = std::numbers::pi / 180;
  const double sine = std::sin(p.rotation * radians), cosine = std::cos(p.rotation * radians);
  const double tangent = std::tan(p.shear * radians);

  std::vector<double> bright(size_t(H) * W * 3);  // the brightened source
  for (size_t i = 0; i < bright.size(); ++i) bright[i] = p.brightness * image[i] / 255.0;
  double mean = 0;
  for (size_t i = 0; i < bright.size(); i += 3) mean += grey(&bright[i]) / (double(H) * W);

  const int centre_y = int(p.cutout_y * 0x1p-32 * P), centre_x = int(p.cutout_x * 0x1p-32 * Q);
  const int top = centre_y - o.cutout / 2, left = centre_x - o.cutout / 2;
  for (int i = 0; i < P; ++i)
    for (int j = 0; j < Q; ++j, y += 3) {
      if (i >= top && i < top + o.cutout && j >= left && j < left + o.cutout) {
        y[0] = y[1] = y[2] = 0;
        continue;
      }
      const double dx = (j + 0.5 - Q / 2.0) * W / Q, dy = (i + 0.5 - P / 2.0) * H / P;
      double x = ((cosine - sine * tangent) * dx + (cosine * tangent + sine) * dy) / p.scale;
      if (p.flip) x = -x;
      x += W / 2.0 - 0.5 + p.shift_x;
      const double z = (cosine * dy - sine * dx) / p.scale + H / 2.0 - 0.5 + p.shift_y;
      double v[3] = {};
      const double row = std::floor(z), column = std::floor(x);
      for (const int down : {0, 1})
        for (const int across : {0, 1}) {
          const double r = row + down, c = column + across;
          if (r < 0 || r >= H || c < 0 || c >= W) continue;
          const double weight = (1 - std::fabs(z - r)) * (1 - std::fabs(x - c));
          for (int k = 0; k < 3; ++k) v[k] += weight * bright[(size_t(r) * W + size_t(c)) * 3 + k];
        }
      for (double& value : v) value = p.contrast * value + (1 - p.contrast) * mean;
      const double g = grey(v);
      for (int k = 0; k < 3; ++k) {
        const double value = p.saturation * v[k] + (1 - p.saturation) * g;
        y[k] = (std::clamp(value, 0.0, 1.0) - o.mean[k]) / o.std[k];
      }
    }
}

}  // namespace kernels::reference
