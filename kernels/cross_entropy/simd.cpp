// Plain vector loops, a task some rows. An exponential is computed once: dz keeps it until the row's sum is known.
#include "kernels/common/simd.h"
#include "kernels/cross_entropy/cross_entropy.h"

namespace kernels::cpu::SIMD_LEVEL {
namespace {

constexpr int64_t row_piece = 16;

typedef int32_t Integers __attribute__((vector_size(4 * lanes)));

// eˣ for x ≤ 0, a float or a vector, within 2⁻²² of itself, and 0 below the smallest normal number; NaN stays. With n
// the integer nearest to x/ln 2 and r = x - n·ln 2, |r| ≤ ln 2 / 2, it is 2ⁿ·eʳ, eʳ by its series up to r⁷.
template <class Value>
Value exponential(Value x) {
  typedef typename std::conditional<sizeof(Value) == sizeof(float), int32_t, Integers>::type Bits;
  constexpr float shift = 12582912;  // 1.5 · 2²³: adding it rounds to an integer, which then are the low bits
  const Value zero = {}, shifted = x * 1.44269504f + shift, n = shifted - shift;
  const Value r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts, the first of few bits
  Value p = zero + 1.0f / 5040;
  for (const float c : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) p = p * r + c;
  Bits bits;
  __builtin_memcpy(&bits, &shifted, sizeof bits);
  bits = (bits - 0x4b400000 + 127) << 23;  // of 2ⁿ; 0x4b400000 is shift
  Value power;
  __builtin_memcpy(&power, &bits, sizeof power);
  return x < zero - 87 ? zero : p * power;
}

// Sums over a row: of the vectors, then of what is left of it.
struct RowSum {
  Vector vectors = {};
  float rest = 0;
  void add(Wide, const Vector& x) { vectors += x; }
  void add(Narrow, float x) { rest += x; }
  float value() const {
    float part[lanes], sum = rest;
    Wide::store(part, vectors);
    for (const float x : part) sum += x;
    return sum;
  }
};

void forward_backward(Context& context, const CrossEntropyShape& s, const float* logits, const int32_t* labels,
                      float label_smoothing, float* losses, int32_t* correct, float* mean_loss, float* dlogits) {
  const int64_t K = s.classes;
  parallel_pieces(context, s.batch, row_piece, [=](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const float* const z = logits + n * K;
      float* const dz = dlogits == nullptr ? nullptr : dlogits + n * K;
      int64_t best = 0;
      for (int64_t k = 1; k < K; ++k)
        if (z[k] > z[best]) best = k;
      const float max = z[best];
      RowSum sums, distances;  // of the exponentials, and of the logits' distances from the largest
      each(0, K, [&](auto v, int64_t k) {
        typename decltype(v)::Value x;
        v.load(x, z + k);
        x -= max;
        distances.add(v, x);
        x = exponential(x);
        sums.add(v, x);
        if (dz != nullptr) v.store(dz + k, x);
      });
      const float sum = sums.value(), other = label_smoothing / static_cast<float>(K);  // sum: at least 1, or NaN
      const float target = z[labels[n]] - max;
      losses[n] = label_smoothing > 0
                      ? __builtin_logf(sum) - ((1 - label_smoothing) * target + other * distances.value())
                      : __builtin_logf(sum) - target;
      correct[n] = best == labels[n] && sum == sum;
      if (dz == nullptr) continue;
      const float batch = static_cast<float>(s.batch);
      const float last = dz[labels[n]] / sum - (1 - label_smoothing + other);
      each(0, K, [&](auto v, int64_t k) {
        typename decltype(v)::Value x;
        v.load(x, dz + k);
        v.store(dz + k, (x / sum - other) / batch);
      });
      dz[labels[n]] = last / batch;
    }
  });
  parallel_for(context, 1, [=](int64_t) {
    double sum = 0;
    for (int64_t n = 0; n < s.batch; ++n) sum += static_cast<double>(losses[n]);
    *mean_loss = static_cast<float>(sum / s.batch);
  });
}

}  // namespace

template <>
const CrossEntropy& simd_row<CrossEntropy>() {
  static constexpr CrossEntropy row = {
      .name = "simd",
      .idea = "plain vector loops, a task some rows",
      .provider = Provider::vendor,
      .supports = [](const CrossEntropyShape&) { return true; },
      .workspace = [](const CrossEntropyShape&) -> size_t { return 0; },
      .forward_backward = forward_backward,
  };
  return row;
}

}  // namespace kernels::cpu::SIMD_LEVEL
