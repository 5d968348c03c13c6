// Idea: 16 bytes an access (8 of bfloat16) and several accesses a thread. Neighbouring threads take neighbouring groups
// of four elements, so a warp moves 512 bytes with one instruction; a thread has all its loads under way before it
// needs the first, so fewer threads hide the memory's latency, and each costs less of its index arithmetic. Should run
// at the bandwidth of memory.
#include "kernels/common/floats.h"
#include "kernels/common/launch.h"
#include "kernels/relu6/relu6.h"

namespace kernels::KERNEL_TARGET {

constexpr int relu6_block = 256;             // threads
constexpr int relu6_step = relu6_block * 4;  // elements that a block's accesses take at once
constexpr int relu6_tile = relu6_step * 4;   // elements a block: four accesses a thread

// aligned: all pointers are multiples of 16 bytes. The last block's tile, and all without it, goes element by element.
template <class T>
__global__ void __launch_bounds__(relu6_block) relu6_vectorised_forward(int64_t count, bool aligned, const T* x, T* y) {
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * relu6_tile;
  if (aligned && begin + relu6_tile <= count) {
    const T* from = x + begin + threadIdx.x * 4;
    T* to = y + begin + threadIdx.x * 4;
    const auto a = Floats<4>::load(from), b = Floats<4>::load(from + relu6_step),
               c = Floats<4>::load(from + 2 * relu6_step), d = Floats<4>::load(from + 3 * relu6_step);
    a.relu6().store(to), b.relu6().store(to + relu6_step);
    c.relu6().store(to + 2 * relu6_step), d.relu6().store(to + 3 * relu6_step);
  } else {
    const int64_t end = begin + relu6_tile < count ? begin + relu6_tile : count;
    for (int64_t i = begin + threadIdx.x; i < end; i += relu6_block) Floats<1>::load(x + i).relu6().store(y + i);
  }
}

template <class T>
__global__ void __launch_bounds__(relu6_block)
    relu6_vectorised_backward(int64_t count, bool aligned, const T* x, const T* dy, T* dx) {
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * relu6_tile;
  if (aligned && begin + relu6_tile <= count) {
    const T *from = x + begin + threadIdx.x * 4, *gradient = dy + begin + threadIdx.x * 4;
    T* to = dx + begin + threadIdx.x * 4;
    const auto a = Floats<4>::load(from), b = Floats<4>::load(from + relu6_step),
               c = Floats<4>::load(from + 2 * relu6_step), d = Floats<4>::load(from + 3 * relu6_step);
    const auto da = Floats<4>::load(gradient), db = Floats<4>::load(gradient + relu6_step),
               dc = Floats<4>::load(gradient + 2 * relu6_step), dd = Floats<4>::load(gradient + 3 * relu6_step);
    a.relu6_gradient(da).store(to), b.relu6_gradient(db).store(to + relu6_step);
    c.relu6_gradient(dc).store(to + 2 * relu6_step), d.relu6_gradient(dd).store(to + 3 * relu6_step);
  } else {
    const int64_t end = begin + relu6_tile < count ? begin + relu6_tile : count;
    for (int64_t i = begin + threadIdx.x; i < end; i += relu6_block)
      Floats<1>::load(x + i).relu6_gradient(Floats<1>::load(dy + i)).store(dx + i);
  }
}

template <class T>
static constexpr Relu6Of<T> vectorised_row = {
    .name = "vectorised",
    .idea = "16 bytes an access, four accesses a thread",
    .provider = Provider::native,
    .supports = [](const Relu6Shape&) { return true; },
    .workspace = [](const Relu6Shape&) -> size_t { return 0; },
    .forward =
        [](Context& context, const Relu6Shape& s, const T* x, T* y) {
          launch(context, relu6_vectorised_forward<T>, ceil_div(s.count, relu6_tile), relu6_block, 0, s.count,
                 all_aligned({x, y}), x, y);
        },
    .backward =
        [](Context& context, const Relu6Shape& s, const T* x, const T* dy, T* dx) {
          launch(context, relu6_vectorised_backward<T>, ceil_div(s.count, relu6_tile), relu6_block, 0, s.count,
                 all_aligned({x, dy, dx}), x, dy, dx);
        },
};

extern const Relu6 relu6_vectorised = vectorised_row<float>;
extern const Relu6Of<Bf16> relu6_vectorised_bf16 = vectorised_row<Bf16>;

}  // namespace kernels::KERNEL_TARGET
