// Idea: 16 bytes an access: four channels a thread. Backward, a thread reads its gradients once and writes them to
// every position, where naive read and divided anew for each.
#include "kernels/common/fused.h"
#include "kernels/global_avg_pool/global_avg_pool.h"

namespace kernels::KERNEL_TARGET {

constexpr int global_avg_pool_block = 128;

// Load: what it makes of x (common/fused.h).
template <class Load>
__global__ void __launch_bounds__(global_avg_pool_block)
    global_avg_pool_vectorised_forward(GlobalAvgPoolShape s, const typename Load::Element* __restrict__ x,
                                       FusedNorm norm_x, float* __restrict__ y) {
  constexpr int V = Load::width;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * global_avg_pool_block + threadIdx.x;  // (n · C + c) / V
  if (i * V >= static_cast<int64_t>(s.batch) * s.channels) return;
  const int64_t n = i * V / s.channels, c = i * V % s.channels;
  const Load load(x, nullptr, n * s.positions * s.channels + c, norm_x, static_cast<int>(c));
  auto sum = Floats<V>::zero(), mean = Floats<V>::zero();
#pragma unroll 4
  for (int position = 0; position < s.positions; ++position) sum.add(load(static_cast<int64_t>(position) * s.channels));
  mean.multiply_add(1.0f / s.positions, sum);
  mean.store(y + i * V);
}

// Store: what it does with the gradient. A block of (groups, lanes) threads: a group is V channels, a lane an image.
template <class Store>
__global__ void __launch_bounds__(global_avg_pool_block)
    global_avg_pool_vectorised_backward(GlobalAvgPoolShape s, int channel_blocks, const float* __restrict__ dy,
                                        const typename Store::Element* __restrict__ x, FusedNorm norm_x,
                                        typename Store::Element* __restrict__ dx, Partials partials) {
  constexpr int V = Store::width;
  const int slice = blockIdx.x / channel_blocks, n = slice * blockDim.y + threadIdx.y;
  const int channel = (blockIdx.x % channel_blocks * blockDim.x + threadIdx.x) * V;
  const bool inside = n < s.batch && channel < s.channels;
  const int c = inside ? channel : 0;
  const int64_t image = static_cast<int64_t>(inside ? n : 0) * s.positions * s.channels + c;
  Store store(dx, x, image, norm_x, c);
  if (inside) {
    auto gradient = Floats<V>::zero();
    gradient.multiply_add(1.0f / s.positions, Floats<V>::load(dy + static_cast<int64_t>(n) * s.channels + c));
    for (int position = 0; position < s.positions; ++position) {
      const int64_t to = static_cast<int64_t>(position) * s.channels;
      store(to, gradient, store.fetch(to));
    }
  }
  store.template finish<global_avg_pool_block>(channel, s.channels, slice, partials);
}

namespace {

// V: 4, or 1 where the channels or a pointer do not allow 16-byte accesses.
template <class Load>
void forward(Context& context, const GlobalAvgPoolShape& s, const typename Load::Element* x, const FusedNorm& norm_x,
             float* y) {
  launch(context, global_avg_pool_vectorised_forward<Load>,
         ceil_div(static_cast<int64_t>(s.batch) * s.channels, Load::width * global_avg_pool_block),
         global_avg_pool_block, 0, s, x, norm_x, y);
}

ChannelThreads block_of(const GlobalAvgPoolShape& s, int V) {
  return channel_threads(s.channels / V, global_avg_pool_block);
}
int slices(const GlobalAvgPoolShape& s, int V) { return ceil_div(s.batch, block_of(s, V).lanes); }

template <class Store>
void backward(Context& context, const GlobalAvgPoolShape& s, const float* dy, const typename Store::Element* x,
              const FusedNorm& norm_x, typename Store::Element* dx, const Partials& partials) {
  const ChannelThreads block = block_of(s, Store::width);
  launch(context, global_avg_pool_vectorised_backward<Store>, int64_t{block.blocks} * slices(s, Store::width),
         dim3(block.groups, block.lanes), 0, s, block.blocks, dy, x, norm_x, dx, partials);
}

template <class T>
constexpr GlobalAvgPoolOf<T> vectorised_row = {
    .name = "vectorised",
    .idea = "four channels a thread: 16 bytes an access",
    .provider = Provider::native,
    .supports = [](const GlobalAvgPoolShape&) { return true; },
    .workspace = [](const GlobalAvgPoolShape& s) -> size_t {
      return partials_bytes(std::max(slices(s, 1), s.channels % 4 == 0 ? slices(s, 4) : 0), s.channels);
    },
    .forward =
        [](Context& context, const GlobalAvgPoolShape& s, const T* x, float* y) {
          const bool four = s.channels % 4 == 0 && all_aligned({x, y});
          (four ? forward<Plain<4, T>> : forward<Plain<1, T>>)(context, s, x, {}, y);
        },
    .backward =
        [](Context& context, const GlobalAvgPoolShape& s, const float* dy, T* dx) {
          const bool four = s.channels % 4 == 0 && all_aligned({dy, dx});
          (four ? backward<Bare<4, T>> : backward<Bare<1, T>>)(context, s, dy, nullptr, {}, dx, {});
        },
    .forward_fused =
        [](Context& context, const GlobalAvgPoolShape& s, const T* x, const FusedNorm& norm_x, float* y) {
          const bool four = s.channels % 4 == 0 && all_aligned({x, y}) && norms_aligned({norm_x});
          (four ? forward<Activated<4, T>> : forward<Activated<1, T>>)(context, s, x, norm_x, y);
        },
    .backward_fused =
        [](Context& context, const GlobalAvgPoolShape& s, const T* x, const FusedNorm& norm_x, const float* dy,
           T* du_x) {
          const bool four = s.channels % 4 == 0 && all_aligned({dy, x, du_x}) && norms_aligned({norm_x});
          const int count = slices(s, four ? 4 : 1);
          const Partials partials = partials_at(context.workspace, count, s.channels);
          (four ? backward<Masked<4, T>> : backward<Masked<1, T>>)(context, s, dy, x, norm_x, du_x, partials);
          fused_finish_gradients(context, int64_t{s.batch} * s.positions, s.channels, count, partials, norm_x);
        },
};

}  // namespace

extern const GlobalAvgPool global_avg_pool_vectorised = vectorised_row<float>;
extern const GlobalAvgPoolOf<Bf16> global_avg_pool_vectorised_bf16 = vectorised_row<Bf16>;

}  // namespace kernels::KERNEL_TARGET
