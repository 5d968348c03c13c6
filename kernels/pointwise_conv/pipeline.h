// The passes of the rungs that multiply in a pipeline (common/product_pipeline.h): async, split_k, tf32 and bf16 differ
// in their Product only, and plain and fused passes in what they load and store.
#pragma once

#include <limits>

#include "kernels/common/product_pipeline.h"
#include "kernels/pointwise_conv/pointwise_conv.h"

namespace kernels::KERNEL_TARGET {

// Blocks at once on a multiprocessor, by which the compiler deals out the registers: of 128 × 64 outputs three, which
// fill shared memory, two where a prologue keeps a tile and its factors in registers, one where each element has an
// address. Of 128 × 32 outputs five, and three.
template <class... Loads>
constexpr bool all_copied = ((is_copied<Loads> && Loads::width > 1) && ...);
template <int columns, class... Loads>
constexpr int pipeline_blocks = columns == product_narrow     ? (all_copied<Loads...> ? 5 : 3)
                                : all_copied<Loads...>        ? 3
                                : ((Loads::width > 1) && ...) ? 2
                                                              : 1;

// y = load(x) · wᵀ, summed over inputs [blockIdx.y · length, … + length) into part blockIdx.y of y (parts, M, Cout)
template <class Product, int columns, class Load, class LoadW, class Store>
__global__ __launch_bounds__(
    pipeline_threads<Product, columns>,
    pipeline_blocks<columns, Load, LoadW>) void pointwise_conv_pipeline_forward(int64_t rows, int in, int out,
                                                                                const typename Load::Element* x,
                                                                                FusedNorm norm_x, const float* w,
                                                                                typename Store::Element* y,
                                                                                FusedNorm norm_y, Partials partials,
                                                                                int length) {
  const int begin = static_cast<int>(blockIdx.y) * length, end = length < in - begin ? begin + length : in;
  pipeline_product<Product, Contiguous::k, Contiguous::k, columns, Load, LoadW, Store>(
      {x, nullptr, in, norm_x}, {w, nullptr, in, {}}, {y + blockIdx.y * rows * out, nullptr, norm_y, partials}, rows,
      out, begin, end);
}

// dx = load(dy) · w, summed over outputs [blockIdx.y · length, … + length) into part blockIdx.y of dx (parts, M, Cin).
// Fused, dy is z, and there are du of it and the x of dx.
template <class Product, int columns, class Load, class LoadW, class Store>
__global__ __launch_bounds__(
    pipeline_threads<Product, columns>,
    pipeline_blocks<columns, Load, LoadW>) void pointwise_conv_pipeline_backward_data(int64_t rows, int in, int out,
                                                                                      const typename Load::Element* dy,
                                                                                      const typename Load::Element* du,
                                                                                      FusedNorm norm_y, const float* w,
                                                                                      typename Store::Element* dx,
                                                                                      const typename Store::Element* x,
                                                                                      FusedNorm norm_x,
                                                                                      Partials partials, int length) {
  const int begin = static_cast<int>(blockIdx.y) * length, end = length < out - begin ? begin + length : out;
  pipeline_product<Product, Contiguous::k, Contiguous::row, columns, Load, LoadW, Store>(
      {dy, du, out, norm_y}, {w, nullptr, in, {}}, {dx + blockIdx.y * rows * in, x, norm_x, partials}, rows, in, begin,
      end);
}

// dw = load(dy)ᵀ · load(x), summed over rows [blockIdx.y · length, … + length) into part blockIdx.y of `parts`
template <class Product, int columns, class LoadY, class LoadX>
__global__ __launch_bounds__(
    pipeline_threads<Product, columns>,
    pipeline_blocks<columns, LoadX,
                    LoadY>) void pointwise_conv_pipeline_backward_weight(int rows, int in, int out,
                                                                         const typename LoadX::Element* x,
                                                                         FusedNorm norm_x,
                                                                         const typename LoadY::Element* dy,
                                                                         const typename LoadY::Element* du,
                                                                         FusedNorm norm_y,
                                                                         float* parts,  // (splits, Cout, Cin)
                                                                         int length) {
  // (1 or 4 floats a thread: as wide as the loads, bfloat16 or not)
  using Store = Bare<(LoadX::width < 4 ? 1 : 4), float>;
  const int begin = static_cast<int>(blockIdx.y) * length, end = length < rows - begin ? begin + length : rows;
  pipeline_product<Product, Contiguous::row, Contiguous::row, columns, LoadY, LoadX, Store>(
      {dy, du, out, norm_y}, {x, nullptr, in, norm_x},
      {parts + blockIdx.y * (int64_t{out} * in), nullptr, {}, {nullptr, nullptr}}, out, in, begin, end);
}

// V neighbours a thread
template <class Product, int V>
__global__ __launch_bounds__(256) void pointwise_conv_pipeline_add_parts(int64_t count, int splits,
                                                                         const float* parts,  // (splits, count)
                                                                         float* sum) {        // (count)
  add_parts<V>(count, splits, parts, sum);
}

// How the operands of a Product come from arrays of T where nothing is to be computed: past the registers if it
// multiplies what lies in memory, else through them, which converts. bfloat16 is copied by eight, or one by one through
// registers: a copy has at least four bytes.
template <class E, class T, bool aligned>
struct PlainLoad {
  using Load = Plain<aligned ? 4 : 1, T>;
};
template <bool aligned>
struct PlainLoad<float, float, aligned> {
  using Load = Copied<aligned ? 4 : 1, float>;
};
template <>
struct PlainLoad<Bf16, Bf16, true> {
  using Load = Copied<8, Bf16>;
};

// T: of the activations.
template <class Product, class T>
struct PointwisePipeline {
  using E = typename Product::Element;
  template <class From, bool aligned>
  using Load = typename PlainLoad<E, From, aligned>::Load;

  // Calls with(columns, aligned), both known to the compiler. `aligned`: groups of 16 bytes of E can be taken
  // everywhere.
  template <class With>
  static void choose(int64_t n, std::initializer_list<const void*> pointers, const PointwiseConvShape& s, With with) {
    constexpr int group = 16 / sizeof(E);
    if (!all_aligned(pointers) || s.in_channels % group != 0 || s.out_channels % group != 0)
      with(std::integral_constant<int, product_wide>(), std::false_type());
    else if (product_columns(n) == product_wide)
      with(std::integral_constant<int, product_wide>(), std::true_type());
    else
      with(std::integral_constant<int, product_narrow>(), std::true_type());
  }
  // Tiles of a block, of (m, n); the unaligned path has wide ones only.
  static int64_t tiles(int64_t m, int64_t n, int columns) { return ceil_div(m, product_rows) * ceil_div(n, columns); }

  static void add(Context& context, int64_t count, int splits, const float* parts, float* sum) {
    const bool four = all_aligned({parts, sum}, {count});
    launch(context,
           four ? pointwise_conv_pipeline_add_parts<Product, 4> : pointwise_conv_pipeline_add_parts<Product, 1>,
           ceil_div(count, four ? 4 * 256 : 256), 256, 0, count, splits, parts, sum);
  }

  // `split`: of the sum over inputs; with more than one part, `y` is the parts.
  template <class Y>
  static void forward_parts(Context& context, const PointwiseConvShape& s, Split split, const T* x, const float* w,
                            Y* y) {
    choose(s.out_channels, {x, w, y}, s, [&](auto columns, auto aligned) {
      using Store = Bare<(aligned ? 4 : 1), Y>;
      launch(context, pointwise_conv_pipeline_forward<Product, columns, Load<T, aligned>, Load<float, aligned>, Store>,
             dim3(tiles(s.rows, s.out_channels, columns), split.count),
             pipeline_block<Product, columns, Store::width>(), 0, s.rows, s.in_channels, s.out_channels, x, FusedNorm{},
             w, y, FusedNorm{}, Partials{}, split.length);
    });
  }
  template <class Y>
  static void backward_data_parts(Context& context, const PointwiseConvShape& s, Split split, const T* dy,
                                  const float* w, Y* dx) {
    choose(s.in_channels, {dy, w, dx}, s, [&](auto columns, auto aligned) {
      using Store = Bare<(aligned ? 4 : 1), Y>;
      launch(context,
             pointwise_conv_pipeline_backward_data<Product, columns, Load<T, aligned>, Load<float, aligned>, Store>,
             dim3(tiles(s.rows, s.in_channels, columns), split.count), pipeline_block<Product, columns, Store::width>(),
             0, s.rows, s.in_channels, s.out_channels, dy, nullptr, FusedNorm{}, w, dx, nullptr, FusedNorm{},
             Partials{}, split.length);
    });
  }

  static void forward(Context& context, const PointwiseConvShape& s, const T* x, const float* w, T* y) {
    forward_parts(context, s, {1, s.in_channels}, x, w, y);
  }
  static void backward_data(Context& context, const PointwiseConvShape& s, const T* dy, const float* w, T* dx) {
    backward_data_parts(context, s, {1, s.out_channels}, dy, w, dx);
  }
  static void backward_weight(Context& context, const PointwiseConvShape& s, const T* x, const T* dy, float* dw) {
    const Split split = product_split(s.out_channels, s.in_channels, static_cast<int>(s.rows));
    float* parts = split.count == 1 ? dw : static_cast<float*>(context.workspace);
    choose(s.in_channels, {x, dy, parts}, s, [&](auto columns, auto aligned) {
      using LoadT = Load<T, aligned>;
      launch(context, pointwise_conv_pipeline_backward_weight<Product, columns, LoadT, LoadT>,
             dim3(tiles(s.out_channels, s.in_channels, columns), split.count),
             pipeline_block<Product, columns, (LoadT::width < 4 ? 1 : 4)>(), 0, s.rows, s.in_channels, s.out_channels,
             x, FusedNorm{}, dy, nullptr, FusedNorm{}, parts, split.length);
    });
    if (split.count > 1) add(context, int64_t{s.out_channels} * s.in_channels, split.count, parts, dw);
  }

  // The fused passes. What a prologue computes goes through registers: there is no asynchronous copy of x, z and du_z;
  // the weights have it still.
  static int64_t slices(const PointwiseConvShape& s) { return ceil_div(s.rows, product_rows); }

  static void forward_fused(Context& context, const PointwiseConvShape& s, const T* x, const FusedNorm& norm_x,
                            const float* w, T* z, const FusedNorm& norm_z) {
    const Partials partials = partials_at(context.workspace, slices(s), s.out_channels);
    choose(s.out_channels, {x, w, z, norm_x.mean, norm_x.scale, norm_x.bias}, s, [&](auto columns, auto aligned) {
      constexpr int V = aligned ? 4 : 1;
      launch(context,
             pointwise_conv_pipeline_forward<Product, columns, Activated<V, T>, Load<float, aligned>, Counted<V, T>>,
             tiles(s.rows, s.out_channels, columns), pipeline_block<Product, columns, V>(), 0, s.rows, s.in_channels,
             s.out_channels, x, norm_x, w, z, norm_z, partials, s.in_channels);
    });
    fused_finish_statistics(context, s.rows, s.out_channels, static_cast<int>(slices(s)), partials, norm_z);
  }

  static void backward_fused(Context& context, const PointwiseConvShape& s, const T* x, const FusedNorm& norm_x,
                             const float* w, const T* z, const FusedNorm& norm_z, const T* du_z, T* du_x, float* dw) {
    const Split split = product_split(s.out_channels, s.in_channels, static_cast<int>(s.rows));
    const int64_t count = int64_t{s.out_channels} * s.in_channels;
    float* parts = static_cast<float*>(context.workspace);
    const Partials partials =
        partials_at(split.count == 1 ? parts : parts + split.count * count, slices(s), s.in_channels);
    if (split.count == 1) parts = dw;
    choose(s.in_channels,
           {x, w, z, du_z, du_x, parts, norm_x.mean, norm_x.scale, norm_x.bias, norm_z.mean, norm_z.scale, norm_z.slope,
            norm_z.constant},
           s, [&](auto columns, auto aligned) {
             constexpr int V = aligned ? 4 : 1;
             const dim3 block = pipeline_block<Product, columns, V>();
             launch(context,
                    pointwise_conv_pipeline_backward_data<Product, columns, Gradient<V, T>, Load<float, aligned>,
                                                          Masked<V, T>>,
                    tiles(s.rows, s.in_channels, columns), block, 0, s.rows, s.in_channels, s.out_channels, z, du_z,
                    norm_z, w, du_x, x, norm_x, partials, s.out_channels);
             launch(context, pointwise_conv_pipeline_backward_weight<Product, columns, Gradient<V, T>, Activated<V, T>>,
                    dim3(tiles(s.out_channels, s.in_channels, columns), split.count), block, 0, s.rows, s.in_channels,
                    s.out_channels, x, norm_x, z, du_z, norm_z, parts, split.length);
           });
    const WeightPartials weights = {count, split.count, parts, dw};
    fused_finish_gradients(context, s.rows, s.in_channels, static_cast<int>(slices(s)), partials, norm_x,
                           split.count == 1 ? WeightPartials{} : weights);
  }

  static void forward_folded(Context& context, const PointwiseConvShape& s, const T* x, const float* w,
                             const float* bias, T* y) {
    choose(s.out_channels, {x, w, bias, y}, s, [&](auto columns, auto aligned) {
      constexpr int V = aligned ? 4 : 1;
      launch(context,
             pointwise_conv_pipeline_forward<Product, columns, Load<T, aligned>, Load<float, aligned>, Folded<V, T>>,
             tiles(s.rows, s.out_channels, columns), pipeline_block<Product, columns, V>(), 0, s.rows, s.in_channels,
             s.out_channels, x, FusedNorm{}, w, y, FusedNorm{.bias = bias}, Partials{}, s.in_channels);
    });
  }

  static bool supports(const PointwiseConvShape& s) { return s.rows <= std::numeric_limits<int>::max(); }
  static size_t workspace(const PointwiseConvShape& s) {
    return product_workspace(s.out_channels, s.in_channels, static_cast<int>(s.rows)) +
           partials_bytes(slices(s), std::max(s.in_channels, s.out_channels));
  }
};

}  // namespace kernels::KERNEL_TARGET
