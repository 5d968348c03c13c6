// Vector types, math functions, intrinsics and bfloat16.

#include <cuda_bf16.h>

#include <bit>
#include <climits>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "catch.h"
#include "launch.h"

namespace simt_tests {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
const float nan = std::numeric_limits<float>::quiet_NaN();

// ---- vector types ----

template <class T, size_t size, size_t alignment>
constexpr bool laid_out = sizeof(T) == size && alignof(T) == alignment&& std::is_trivial_v<T>;

static_assert(laid_out<char2, 2, 2> && laid_out<char3, 3, 1> && laid_out<char4, 4, 4> && laid_out<uchar4, 4, 4>);
static_assert(laid_out<short2, 4, 4> && laid_out<short3, 6, 2> && laid_out<short4, 8, 8> && laid_out<ushort4, 8, 8>);
static_assert(laid_out<int1, 4, 4> && laid_out<int2, 8, 8> && laid_out<int3, 12, 4> && laid_out<int4, 16, 16>);
static_assert(laid_out<uint2, 8, 8> && laid_out<uint3, 12, 4> && laid_out<uint4, 16, 16>);
static_assert(laid_out<longlong2, 16, 16> && laid_out<ulonglong2, 16, 16>);
static_assert(laid_out<float2, 8, 8> && laid_out<float3, 12, 4> && laid_out<float4, 16, 16>);
static_assert(laid_out<double2, 16, 16> && laid_out<double3, 24, 8> && laid_out<double4, 32, 16>);
static_assert(laid_out<__nv_bfloat16, 2, 2> && laid_out<__nv_bfloat162, 4, 4>);

TEST_CASE("make functions and dim3") {
  float4 f = make_float4(1, 2, 3, 4);
  CHECK(f.x + 10 * f.y + 100 * f.z + 1000 * f.w == 4321);
  uchar4 c = make_uchar4(1, 2, 3, 255);
  CHECK(c.w == 255);
  dim3 d(7);
  CHECK(d.x == 7);
  CHECK(d.y == 1);
  CHECK(d.z == 1);
  uint3 u = dim3(1, 2, 3);
  CHECK(dim3(u).z == 3);
}

__global__ void copy_as_float4(const unsigned short* in, unsigned short* out) {
  out[7] = 9;
  reinterpret_cast<float4*>(out)[0] = reinterpret_cast<const float4*>(in)[0];
  out[6] = static_cast<unsigned short>(out[7] + 1);  // must see what the line above wrote
}

TEST_CASE("vector types may be used to access arrays of other types") {
  alignas(16) unsigned short in[8] = {1, 2, 3, 4, 5, 6, 7, 8}, out[8] = {};
  REQUIRE(launch(copy_as_float4, {1, 1}, in, out) == cudaSuccess);
  CHECK(out[0] == 1);
  CHECK(out[6] == 9);
  CHECK(out[7] == 8);
}

// ---- float functions ----

// Results as a kernel gets them: the compiler does not know the values.
__global__ void min_max(const float* a, const float* b, float* out, int n) {
  for (int i = 0; i < n; ++i) {
    out[i] = fminf(a[i], b[i]);
    out[n + i] = fmaxf(a[i], b[i]);
    out[2 * n + i] = min(a[i], b[i]);
    out[3 * n + i] = max(a[i], b[i]);
  }
}

TEST_CASE("min and max take the number where the other is NaN") {
  constexpr int n = 5;
  float a[n] = {1, nan, -2, nan, -infinity}, b[n] = {2, 3, nan, nan, infinity}, out[4 * n];
  REQUIRE(launch(min_max, {1, 1}, a, b, out, n) == cudaSuccess);
  const float smaller[] = {1, 3, -2, nan, -infinity}, larger[] = {2, 3, -2, nan, infinity};
  auto same = [](float x, float y) { return x == y || (std::isnan(x) && std::isnan(y)); };
  for (int i = 0; i < n; ++i) {
    CHECK(same(out[i], smaller[i]));
    CHECK(same(out[n + i], larger[i]));
    CHECK(same(out[2 * n + i], smaller[i]));
    CHECK(same(out[3 * n + i], larger[i]));
  }
  CHECK(min(3, -4) == -4);
  CHECK(min(3u, -4) == 3u);  // as unsigned numbers
  CHECK(max(3ll, 4ll) == 4);
  CHECK(max(1.5f, 0.5f) == 1.5f);
  CHECK(max(1.5, 2.5f) == 2.5);
}

TEST_CASE("float functions and intrinsics") {
  CHECK(rsqrtf(16) == 0.25f);
  CHECK(rsqrt(16.0) == 0.25);
  CHECK(__expf(1) == expf(1));
  CHECK(__logf(8) == logf(8));
  CHECK(__log2f(8) == 3);
  CHECK(__log10f(1000) == log10f(1000));
  CHECK(__powf(2, 10) == 1024);
  CHECK(std::abs(__exp10f(3) - 1000) < 1000 * 0x1p-20f);  // the exponent 3 · log2(10) is a rounded float
  CHECK(__sinf(0.5f) == sinf(0.5f));
  CHECK(__cosf(0.5f) == cosf(0.5f));
  CHECK(__tanf(0.5f) == tanf(0.5f));
  float s = 0, c = 0;
  __sincosf(0.5f, &s, &c);
  CHECK(s == sinf(0.5f));
  CHECK(c == cosf(0.5f));
  sincospif(0.5f, &s, &c);
  CHECK(s == 1);
  CHECK(std::abs(c) < 1e-7f);
  CHECK(__fdividef(1, 4) == 0.25f);
  CHECK(__frcp_rn(8) == 0.125f);
  CHECK(__fsqrt_rn(9) == 3);
  CHECK(__saturatef(-1) == 0);
  CHECK(__saturatef(0.5f) == 0.5f);
  CHECK(__saturatef(2) == 1);
  CHECK(__saturatef(nan) == 0);
}

TEST_CASE("_rn operations round once each, fmaf once altogether") {
  volatile float a = 1 + 0x1p-12f, minus = -(1 + 0x1p-11f);  // a · a = 1 + 2⁻¹¹ + 2⁻²⁴, which rounds to 1 + 2⁻¹¹
  CHECK(__fadd_rn(__fmul_rn(a, a), minus) == 0);
  CHECK(__fsub_rn(__fmul_rn(a, a), -minus) == 0);
  CHECK(__fmul_rn(a, a) + minus == 0);
  CHECK(__fadd_rn(a * a, minus) == 0);
  CHECK(__fsub_rn(a * a, -minus) == 0);
  CHECK(__fmaf_rn(a, a, minus) == 0x1p-24f);
  CHECK(fmaf(a, a, minus) == 0x1p-24f);
}

// ---- integers ----

TEST_CASE("bit counting") {
  CHECK(__popc(0xf0f0u) == 8);
  CHECK(__popcll(~0ull) == 64);
  CHECK(__clz(1) == 31);
  CHECK(__clz(0) == 32);
  CHECK(__clz(-1) == 0);
  CHECK(__clzll(1) == 63);
  CHECK(__ffs(0) == 0);
  CHECK(__ffs(8) == 4);
  CHECK(__ffs(INT_MIN) == 32);
  CHECK(__ffsll(1ll << 40) == 41);
  CHECK(__brev(1) == 0x80000000u);
  CHECK(__brev(0x12345678u) == 0x1e6a2c48u);
  CHECK(__brevll(1) == 1ull << 63);
  CHECK(__brevll(0x12345678ull) == 0x1e6a2c48ull << 32);
}

TEST_CASE("products, permutations and shifts") {
  CHECK(__umulhi(0xffffffffu, 0xffffffffu) == 0xfffffffeu);
  CHECK(__mulhi(-1, 1) == -1);
  CHECK(__umul64hi(~0ull, 16) == 15);
  CHECK(__umul24(0xff000003u, 5) == 15);
  CHECK(__mul24(-3, 5) == -15);
  CHECK(__mul24(0x01ffffff, 2) == -2);  // 24 bits of ones are −1
  CHECK(__byte_perm(0x33221100u, 0x77665544u, 0x7410) == 0x77441100u);
  CHECK(__byte_perm(0x80u, 0, 0x8888) == 0xffffffffu);
  CHECK(__funnelshift_l(0x80000000u, 1, 1) == 3);
  CHECK(__funnelshift_r(2, 1, 1) == 0x80000001u);
}

TEST_CASE("bits as another type") {
  CHECK(__float_as_int(-0.0f) == INT_MIN);
  CHECK(__float_as_uint(1.0f) == 0x3f800000u);
  CHECK(__int_as_float(0x40000000) == 2);
  CHECK(__uint_as_float(0x7f800000u) == infinity);
  CHECK(__longlong_as_double(__double_as_longlong(0.1)) == 0.1);
  CHECK(__hiloint2double(__double2hiint(0.1), __double2loint(0.1)) == 0.1);
}

TEST_CASE("conversions round as they say and saturate") {
  CHECK(__float2int_rn(2.5f) == 2);
  CHECK(__float2int_rn(3.5f) == 4);
  CHECK(__float2int_rz(-2.9f) == -2);
  CHECK(__float2int_rd(-2.1f) == -3);
  CHECK(__float2int_ru(2.1f) == 3);
  CHECK(__float2int_rn(3e9f) == INT_MAX);
  CHECK(__float2int_rn(-3e9f) == INT_MIN);
  CHECK(__float2int_rn(nan) == 0);
  CHECK(__float2uint_rn(-1) == 0);
  CHECK(__float2uint_rz(4e9f) == 4000000000u);
  CHECK(__float2uint_ru(5e9f) == UINT_MAX);
  CHECK(__double2int_rn(2147483646.5) == 2147483646);
  CHECK(__float2ll_rn(1e18f) == 999999984306749440ll);
  CHECK(__float2ll_rn(1e19f) == LLONG_MAX);
  CHECK(__int2float_rn(16777217) == 16777216);
}

__global__ void read_clock(long long* out) {
  out[0] = clock64();
  __syncthreads();
  out[1] = clock64();
}

TEST_CASE("the clock goes forward") {
  long long t[2] = {0, 0};
  REQUIRE(launch(read_clock, {1, 1}, t) == cudaSuccess);
  CHECK(t[0] > 0);
  CHECK(t[1] >= t[0]);
}

// ---- bfloat16 ----

// The nearest bfloat16 to x, ties to even, by looking at both neighbours.
unsigned short nearest_bfloat16(long double x) {
  unsigned short sign = std::signbit(x) ? 0x8000 : 0;
  long double magnitude = std::fabs(x);
  unsigned low = 0, high = 0x7f80;  // bits of bfloat16s around the magnitude; in order like the numbers
  auto value = [](unsigned bits) -> long double {
    if (bits == 0x7f80) return 0x1p128L;  // what infinity stands for in rounding
    return std::bit_cast<float>(bits << 16);
  };
  if (magnitude >= value(high)) return static_cast<unsigned short>(sign | high);
  while (high - low > 1) {
    unsigned middle = (low + high) / 2;
    (value(middle) <= magnitude ? low : high) = middle;
  }
  long double to_low = magnitude - value(low), to_high = value(high) - magnitude;
  bool up = to_high < to_low || (to_high == to_low && low % 2 == 1);
  return static_cast<unsigned short>(sign | (up ? high : low));
}

TEST_CASE("float to bfloat16 rounds to nearest, ties to even") {
  std::mt19937 random(1);
  int wrong = 0;
  for (int i = 0; i < 200000; ++i) {
    unsigned bits = random();
    if (i % 3 == 0) bits = (bits & 0xffff0000u) | 0x8000u;  // a tie
    auto x = std::bit_cast<float>(bits);
    if (std::isnan(x)) continue;
    wrong += __bfloat16_as_ushort(__float2bfloat16(x)) != nearest_bfloat16(x);
  }
  CHECK(wrong == 0);
  CHECK(__bfloat16_as_ushort(__float2bfloat16(nan)) == 0x7fff);
  CHECK(__bfloat16_as_ushort(__float2bfloat16(infinity)) == 0x7f80);
  CHECK(__bfloat16_as_ushort(__float2bfloat16(std::numeric_limits<float>::max())) == 0x7f80);
  CHECK(__bfloat16_as_ushort(__float2bfloat16_rz(1.999999f)) == 0x3fff);
  CHECK(__bfloat162float(__ushort_as_bfloat16(0x3fc0)) == 1.5f);
}

TEST_CASE("double to bfloat16 rounds once") {
  double above_tie = 1 + 0x1p-8 + 0x1p-40;  // a float would drop the last bit, and the tie go down
  CHECK(float(__double2bfloat16(above_tie)) == 1 + 0x1p-7f);
  CHECK(float(__double2bfloat16(1 + 0x1p-8)) == 1);
  CHECK(float(__double2bfloat16(1 + 0x1p-7 + 0x1p-8 - 0x1p-40)) == 1 + 0x1p-7f);
  std::mt19937_64 random(2);
  int wrong = 0;
  for (int i = 0; i < 100000; ++i) {
    double x = std::ldexp(1 + static_cast<double>(random() >> 11) * 0x1p-53, static_cast<int>(random() % 300) - 150);
    if (i % 2 == 0) x = -x;
    wrong += __bfloat16_as_ushort(__double2bfloat16(x)) != nearest_bfloat16(x);
  }
  CHECK(wrong == 0);
}

TEST_CASE("bfloat16 arithmetic rounds once") {
  std::mt19937 random(3);
  int wrong = 0;
  auto number = [&] {
    // Within 2^±20, so that long double holds sums and products of them exactly.
    unsigned exponent = 127 - 20 + random() % 40, rest = random();
    return __ushort_as_bfloat16(static_cast<unsigned short>((rest & 0x8000u) | exponent << 7 | (rest & 0x7fu)));
  };
  for (int i = 0; i < 100000; ++i) {
    __nv_bfloat16 a = number(), b = number(), c = number();
    long double x = float(a), y = float(b), z = float(c);
    auto differ = [](__nv_bfloat16 got, long double exact) {
      return __bfloat16_as_ushort(got) != nearest_bfloat16(exact);
    };
    wrong += differ(a + b, x + y) && x + y != 0;
    wrong += differ(a - b, x - y) && x - y != 0;
    wrong += differ(a * b, x * y);
    wrong += differ(a / b, x / y);
    wrong += differ(__hfma(a, b, c), x * y + z) && x * y + z != 0;
  }
  CHECK(wrong == 0);
  // 1 · (1 + 2⁻⁷)·2⁻¹ … a product that ends in a tie, and an addend far below it that decides.
  __nv_bfloat16 one = 1.0f, tie = __float2bfloat16(1 + 0x1p-7f), tiny = __float2bfloat16(0x1p-100f);
  __nv_bfloat16 exact_tie = __hmul(tie, tie);  // 1 + 2⁻⁶ + 2⁻¹⁴ → 1 + 2⁻⁶
  CHECK(float(exact_tie) == 1 + 0x1p-6f);
  __nv_bfloat16 three_halves = 1.5f, odd = __float2bfloat16(1 + 3 * 0x1p-7f);  // product: 1.5 + 9·2⁻⁸, a tie
  CHECK(float(__hfma(three_halves, odd, tiny)) > float(__hfma(three_halves, odd, __hneg(tiny))));
  CHECK(float(__hfma(one, one, tiny)) == 1);
}

TEST_CASE("bfloat16: pairs, comparisons, the rest") {
  __nv_bfloat162 p = __floats2bfloat162_rn(1, -2), q = __float2bfloat162_rn(3);
  CHECK(__low2float(p + q) == 4);
  CHECK(__high2float(p * q) == -6);
  CHECK(__high2float(__hfma2(p, q, q)) == -3);
  CHECK(__bfloat1622float2(-p).y == 2);
  CHECK(float(__hmax2(p, q).y) == 3);
  CHECK(float(__high2bfloat16(__lowhigh2highlow(p))) == 1);
  uint32_t bits = 0;
  std::memcpy(&bits, &p, 4);
  CHECK(bits == 0xc0003f80u);  // the first in the low half
  __nv_bfloat16 a = 2.0f, n = nan;
  CHECK(a == __nv_bfloat16(2));
  CHECK(a > __nv_bfloat16(1.5));
  CHECK_FALSE(n == n);
  CHECK_FALSE(__hne(n, n));
  CHECK(__hisnan(n));
  CHECK(float(__hmin(n, a)) == 2);
  CHECK(float(__habs(__hneg(a))) == 2);
  a += a;
  CHECK(__bfloat162int_rn(a) == 4);
}

__global__ void bfloat16_in_kernels(__nv_bfloat16* sum, float* out) {
  auto lane = __float2bfloat16(static_cast<float>(threadIdx.x));
  __nv_bfloat16 next = __shfl_down_sync(0xffffffffu, lane, 1);
  __nv_bfloat162 pair = __shfl_xor_sync(0xffffffffu, __halves2bfloat162(lane, next), 1);
  out[threadIdx.x] = 100 * __low2float(pair) + __high2float(pair);
  atomicAdd(sum, __float2bfloat16(0.5f));
}

TEST_CASE("bfloat16 in shuffles and atomics") {
  __nv_bfloat16 sum = 0.0f;
  float out[32];
  REQUIRE(launch(bfloat16_in_kernels, {1, 32}, &sum, out) == cudaSuccess);
  CHECK(float(sum) == 16);
  CHECK(out[0] == 102);
  CHECK(out[7] == 607);
}

}  // namespace
}  // namespace simt_tests
