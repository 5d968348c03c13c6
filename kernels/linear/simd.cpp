// The fully connected layer on vectors of features: tiles of 4 × 4 sums in registers, nothing packed. Forward a sum
// runs along the features, so it ends with the sum over a vector; backward the features are columns.
#include "kernels/common/simd.h"
#include "kernels/linear/linear.h"

namespace kernels::cpu::SIMD_LEVEL {
namespace {

constexpr int tile = 4;
constexpr int64_t out_piece = 64;  // outputs of a task, forward

float sum_over(const Vector& vector) {
  float part[lanes];
  Wide::store(part, vector);
  for (int half = lanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) part[i] += part[i + half];
  return part[0];
}

// y[m,o] = b[o] + Σ_i x[m,i] · w[o,i] of `rows` rows and `outs` outputs.
template <int rows, int outs>
void dot_tile(const LinearShape& s, const float* x, const float* w, const float* b, float* y) {
  const int64_t in = s.in_features;
  Vector sum[rows][outs] = {};
  columns(in, [&](auto v, int64_t i) {
    Vector a[rows], c[outs];
    for (int m = 0; m < rows; ++m) v.load(a[m], x + m * in + i);
    for (int o = 0; o < outs; ++o) v.load(c[o], w + o * in + i);
    for (int m = 0; m < rows; ++m)
      for (int o = 0; o < outs; ++o) sum[m][o] += a[m] * c[o];
  });
  for (int m = 0; m < rows; ++m)
    for (int o = 0; o < outs; ++o) y[int64_t{m} * s.out_features + o] = b[o] + sum_over(sum[m][o]);
}

template <int rows>
void dot_rows(const LinearShape& s, int64_t begin, int64_t end, const float* x, const float* w, const float* b,
              float* y) {
  int64_t o = begin;
  for (; o + tile <= end; o += tile) dot_tile<rows, tile>(s, x, w + o * s.in_features, b + o, y + o);
  for (; o < end; ++o) dot_tile<rows, 1>(s, x, w + o * s.in_features, b + o, y + o);
}

void forward(Context& context, const LinearShape& s, const float* x, const float* w, const float* b, float* y) {
  const int64_t M = s.rows, out_pieces = ceil_div(s.out_features, out_piece);
  parallel_for(context, ceil_div(M, tile) * out_pieces, [=](int64_t task) {
    const int64_t first = task / out_pieces * tile, begin = task % out_pieces * out_piece;
    const int64_t end = smaller(s.out_features, begin + out_piece);
    const auto from = [=](int64_t m) { return x + m * s.in_features; };
    const auto to = [=](int64_t m) { return y + m * s.out_features; };
    if (first + tile <= M) return dot_rows<tile>(s, begin, end, from(first), w, b, to(first));
    for (int64_t m = first; m < M; ++m) dot_rows<1>(s, begin, end, from(m), w, b, to(m));
  });
}

// Element (r, k) of A is at a[r · row + k · step].
struct Factors {
  const float* a;
  int64_t row, step;
};

// c (·, N), `rows` rows and `vectors` vectors of it, = A · b, b (depth, N).
template <int rows, int vectors, class V>
void sum_tile(V v, int64_t depth, int64_t N, const Factors& f, const float* b, float* c) {
  Vector sum[rows][vectors] = {};
  for (int64_t k = 0; k < depth; ++k) {
    Vector x[vectors];
    for (int j = 0; j < vectors; ++j) v.load(x[j], b + k * N + j * lanes);
    for (int r = 0; r < rows; ++r)
      for (int j = 0; j < vectors; ++j) sum[r][j] += f.a[r * f.row + k * f.step] * x[j];
  }
  for (int r = 0; r < rows; ++r)
    for (int j = 0; j < vectors; ++j) v.store(c + r * N + j * lanes, sum[r][j]);
}

// c (R, N) = A · b, a task a few vectors of columns.
void multiply(const Context& context, int64_t R, int64_t depth, int64_t N, const Factors& factors, const float* b,
              float* c) {
  parallel_pieces(context, N, tile * lanes, [=](int64_t begin, int64_t end) {
    const auto rows = [=](auto count, int64_t r) {
      constexpr int rows = decltype(count)::value;
      const Factors f = {factors.a + r * factors.row, factors.row, factors.step};
      float* const to = c + r * N + begin;
      if (end - begin == tile * lanes) return sum_tile<rows, tile>(Wide(), depth, N, f, b + begin, to);
      columns(end - begin, [=](auto v, int64_t i) { sum_tile<rows, 1>(v, depth, N, f, b + begin + i, to + i); });
    };
    int64_t r = 0;
    for (; r + tile <= R; r += tile) rows(std::integral_constant<int, tile>(), r);
    for (; r < R; ++r) rows(std::integral_constant<int, 1>(), r);
  });
}

void backward_data(Context& context, const LinearShape& s, const float* dy, const float* w, float* dx) {
  multiply(context, s.rows, s.out_features, s.in_features, {dy, s.out_features, 1}, w, dx);
}

void backward_weight(Context& context, const LinearShape& s, const float* x, const float* dy, float* dw, float* db) {
  multiply(context, s.out_features, s.rows, s.in_features, {dy, 1, s.out_features}, x, dw);
  parallel_pieces(context, s.out_features, out_piece, [=](int64_t begin, int64_t end) {
    each(begin, end, [=](auto v, int64_t o) {
      typename decltype(v)::Value sum = {}, next;
      for (int64_t m = 0; m < s.rows; ++m) {
        v.load(next, dy + m * s.out_features + o);
        sum += next;
      }
      v.store(db + o, sum);
    });
  });
}

}  // namespace

template <>
const Linear& simd_row<Linear>() {
  static constexpr Linear row = {
      .name = "simd",
      .idea = "tiles of sums in vector registers, nothing packed",
      .provider = Provider::vendor,
      .supports = [](const LinearShape&) { return true; },
      .workspace = [](const LinearShape&) -> size_t { return 0; },
      .forward = forward,
      .backward_data = backward_data,
      .backward_weight = backward_weight,
  };
  return row;
}

}  // namespace kernels::cpu::SIMD_LEVEL
