// The matrix product as a pipeline: while a block multiplies one tile of its operands, the next ones are on their way.
//
//   C[m,n] = Σ_k A(m,k) · B(n,k)      A: M × K,  B: N × K,  C: (M, N), as in product.h
//
// A block computes 128 × 64 outputs (× 32 where N is small). Shared memory holds a ring of stages, each with a tile of
// A and one of B as they lie in memory, 64 bytes deep along k:
//
//   memory ──loader──▶ stage s+2   (still coming)
//                      stage s+1   (still coming)
//                      stage s     ──Product──▶ sums in registers ──▶ shared memory ──Store──▶ C
//
// How an operand is brought there is a loader's business: Copied goes past the registers (cp.async), and what
// common/fused.h calls a prologue goes through them, for it has to compute: then the registers are a stage, and two in
// shared memory are enough. How a tile is multiplied is the Product's: ThreadTile in fp32, WarpMma on tensor cores.
// What is done with C is an epilogue of common/fused.h. All three are template policies, so there is one such kernel.
#pragma once

#include "kernels/common/async_copy.h"
#include "kernels/common/fused.h"
#include "kernels/common/mma.h"
#include "kernels/common/product.h"

namespace kernels::KERNEL_TARGET {

// Of a block. Threads lie as (columns / V, …), so that each stores V neighbours; their number is always the same.
template <class Product, int columns>
constexpr int pipeline_threads = Product::threads_a_column* columns;
__device__ __forceinline__ int thread_of_block() { return static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x); }

// The shape of an operand's tile in shared memory: R rows × `depth` of E. Lines are as long as they are apart in memory
// plus a padding, with which neither 16-byte writes nor the reads of the Products below meet in a bank.
template <class E, Contiguous contiguous, int R>
struct Tile {
  using Element = E;
  static constexpr bool along_k = contiguous == Contiguous::k;
  static constexpr int rows = R;
  static constexpr int depth = 64 / sizeof(E);
  static constexpr int line = along_k ? depth : R;  // elements
  static constexpr int lines = along_k ? R : depth;
  static constexpr int stride = along_k ? depth * 5 / 4 : R + 8;
  static constexpr int size = lines * stride;
  __device__ static __forceinline__ int at(int row, int k) { return along_k ? row * stride + k : k * stride + row; }
};

// An operand in memory: (row, k) at x[row · stride + k] or, with Contiguous::row, at x[k · stride + row]. A line has
// `stride` elements, the channels, to which `norm` belongs where a prologue needs it (with `du`, if Gradient).
template <class T>
struct Source {
  const T* x;
  const T* du;
  int stride;
  FusedNorm norm;
};

// As it lies in memory, V elements a copy. Not a prologue: nothing can be computed on the way.
template <int V, class T>
struct Copied {
  using Element = T;
  static constexpr int width = V;
};

// Which groups of V elements of a tile are a thread's: neighbouring threads take neighbouring ones of a line.
template <class Shape, int V, int threads>
struct LoaderPlace {
  static constexpr int groups = Shape::line / V, step = threads / groups, count = Shape::lines / step;
  static_assert(threads % groups == 0 && Shape::lines % step == 0);
  int stride;
  int line, place;  // of the thread's first group; the others are `step` lines further on each
  int64_t offset;   // in memory, of that group of the next tile
  int across;       // how many elements of a line there are, and
  int lines_left;   // how many lines, from the next tile's start on
  // The first tile begins at (row, k). Below `rows` and `k_end` there are elements, beyond are zeros.
  __device__ __forceinline__ LoaderPlace(int stride, int64_t row, int64_t rows, int k, int k_end)
      : stride(stride), line(thread_of_block() / groups), place(thread_of_block() % groups * V) {
    offset = ((Shape::along_k ? row : k) + line) * stride + (Shape::along_k ? k : row) + place;
    const int rows_left = rows - row < Shape::rows ? static_cast<int>(rows - row) : Shape::rows;
    across = Shape::along_k ? k_end - k : rows_left;
    lines_left = Shape::along_k ? rows_left : k_end - k;
  }
  __device__ __forceinline__ bool inside(int i) const { return place < across && line + i * step < lines_left; }
  __device__ __forceinline__ int64_t from(int i) const { return offset + static_cast<int64_t>(i * step) * stride; }
  __device__ __forceinline__ int to(int i) const { return (line + i * step) * Shape::stride + place; }
  __device__ __forceinline__ void next() {
    if constexpr (Shape::along_k) {
      offset += Shape::depth;
      across -= Shape::depth;
    } else {
      offset += static_cast<int64_t>(Shape::depth) * stride;
      lines_left -= Shape::depth;
    }
  }
};

// Brings one operand's tiles to shared memory, one after the other along k, in two halves between which the block
// multiplies: start(…), finish(tile). This one goes through registers: Load is a prologue of fused.h, of which start()
// fetches and finish() computes, so that nobody waits for memory before the block has multiplied.
template <class Load, class Shape, int threads, int registers_ahead>
struct Loader {
  static constexpr int V = Load::width;
  using Place = LoaderPlace<Shape, V, threads>;
  // So many groups are fetched ahead, as registers allow. Where a thread has more, it waits for the others.
  static constexpr int registers = Load::arrays * ((V * sizeof(typename Load::Element) + 3) / 4);
  static constexpr int ahead = Place::count * registers <= registers_ahead ? Place::count : registers_ahead / registers;
  static_assert(Place::count % ahead == 0);
  Place place;
  Source<typename Load::Element> source;
  int channel;
  Load load;
  typename Load::Fetched fetched[ahead];

  __device__ __forceinline__ Loader(const Source<typename Load::Element>& source, int64_t row, int64_t rows, int k,
                                    int k_end)
      : place(source.stride, row, rows, k, k_end),
        source(source),
        channel((Shape::along_k ? k : static_cast<int>(row)) + place.place),
        load(make_load()) {}
  __device__ __forceinline__ Load make_load() const {
    return Load(source.x, source.du, 0, source.norm, channel < source.stride ? channel : 0);
  }
  __device__ __forceinline__ void start(AsyncCopies&, typename Shape::Element*) {
    if constexpr (Shape::along_k) {
      load = make_load();
      channel += Shape::depth;
    }
    fetch(0);
  }
  __device__ __forceinline__ void finish(typename Shape::Element* tile) {
#pragma unroll
    for (int first = 0; first < place.count; first += ahead) {
      if (first > 0) fetch(first);
#pragma unroll
      for (int i = first; i < first + ahead; ++i)
        load.value(fetched[i - first]).where(place.inside(i)).store(tile + place.to(i));
    }
    place.next();
  }
  __device__ __forceinline__ void fetch(int first) {
#pragma unroll
    for (int i = first; i < first + ahead; ++i)
      fetched[i - first] = place.inside(i) ? load.fetch(place.from(i)) : typename Load::Fetched{};
  }
};

// And this one past them.
template <int V, class T, class Shape, int threads, int registers_ahead>
struct Loader<Copied<V, T>, Shape, threads, registers_ahead> {
  static_assert(std::is_same_v<T, typename Shape::Element>);
  LoaderPlace<Shape, V, threads> place;
  const T* x;
  __device__ __forceinline__ Loader(const Source<T>& source, int64_t row, int64_t rows, int k, int k_end)
      : place(source.stride, row, rows, k, k_end), x(source.x) {}
  __device__ __forceinline__ void start(AsyncCopies& copies, T* tile) {
#pragma unroll
    for (int i = 0; i < place.count; ++i) {
      const bool inside = place.inside(i);
      copies.copy<V * sizeof(T)>(tile + place.to(i), x + (inside ? place.from(i) : 0), inside);
    }
    place.next();
  }
  __device__ __forceinline__ void finish(T*) {}
};

// With a padding, so that the writes of both Products and 16-byte reads of a line meet in no bank.
template <int columns>
constexpr int result_stride = columns + 4;

// A Product names the Element of its tiles, how many threads a block has, how many registers each of them may fill with
// what an operand's next tile is computed from, and the Sums of a thread: zeros at first; multiply(a, b)
// adds a tile's products, write(result) puts them where they belong in (128, columns) floats of shared memory.

// In fp32: 8 × 8 sums a thread. Read along k, four steps with one 16-byte load for each of its rows.
struct ThreadTile {
  using Element = float;
  static constexpr int threads_a_column = 2;
  template <int columns>
  static constexpr int registers_ahead = columns == product_wide ? 32 : 16;

  template <class A, class B, int columns>
  struct Sums {
    Float8 sums[8];
    int row, column;  // of 16 and of columns / 8: which threads

    __device__ __forceinline__ Sums(int, int)
        : row(thread_of_block() / (columns / 8)), column(thread_of_block() % (columns / 8)) {
#pragma unroll
      for (int i = 0; i < 8; ++i) set_zero(sums[i]);
    }
    // The i-th row, or column, of thread t of so many. Along k threads take neighbouring lines, else neighbouring
    // groups of four: neither way do 16-byte reads of a warp meet in a bank.
    template <class Shape>
    __device__ static __forceinline__ int nth(int i, int t) {
      return Shape::along_k ? t + i * (Shape::rows / 8) : t * 4 + i % 4 + i / 4 * (Shape::rows / 2);
    }
    // values[k].v[i]: of row nth(i, t), at k0 + k
    template <class Shape>
    __device__ static __forceinline__ void read(const float* tile, int t, int k0, Float8 (&values)[4]) {
      if constexpr (Shape::along_k) {
        float4 lines[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) lines[i] = *reinterpret_cast<const float4*>(tile + Shape::at(nth<Shape>(i, t), k0));
        set(values[0], [&](int i) { return lines[i].x; });
        set(values[1], [&](int i) { return lines[i].y; });
        set(values[2], [&](int i) { return lines[i].z; });
        set(values[3], [&](int i) { return lines[i].w; });
      } else {
#pragma unroll
        for (int k = 0; k < 4; ++k)
          load(values[k], tile + Shape::at(t * 4, k0 + k), tile + Shape::at(t * 4 + Shape::rows / 2, k0 + k));
      }
    }
    __device__ __forceinline__ void multiply(const float* a, const float* b) {
#pragma unroll 1
      for (int k0 = 0; k0 < A::depth; k0 += 4) {
        Float8 a_values[4], b_values[4];
        read<A>(a, row, k0, a_values);
        read<B>(b, column, k0, b_values);
#pragma unroll
        for (int k = 0; k < 4; ++k)
#pragma unroll
          for (int i = 0; i < 8; ++i) multiply_add(sums[i], a_values[k].v[i], b_values[k]);
      }
    }
    __device__ __forceinline__ void write(float* result) const {
#pragma unroll
      for (int i = 0; i < 8; ++i)
#pragma unroll
        for (int j = 0; j < 8; ++j) result[nth<A>(i, row) * result_stride<columns> + nth<B>(j, column)] = sums[i].v[j];
    }
  };
};

// On tensor cores. Kind: Tf32, of which a warp owns 64 × 32 outputs, 4 × 4 of mma's, or Bf16, of which it owns half as
// many rows: with fewer bytes to read from shared memory, more warps to hide the latency of memory are worth more (on
// an H200, by batches of 128: fused passes 15 to 18 % faster; in tf32, plain ones 6 to 12 % slower).
template <class Kind>
struct WarpMma {
  static constexpr bool tf32 = std::is_same_v<Kind, Tf32>;
  using Element = std::conditional_t<tf32, float, Bf16>;
  static constexpr int rows = tf32 ? 4 : 2;  // of mma's
  static constexpr int threads_a_column = 8 / rows;
  template <int columns>
  static constexpr int registers_ahead = tf32&& columns == product_wide ? 32
                                         : tf32                         ? 16
                                                                        : 8;

  template <class A, class B, int columns>
  struct Sums {
    FragmentC sums[rows][4];
    int row, column;  // where the warp's outputs begin
    bool idle;        // all of them lie beyond the end
    int lane;

    __device__ __forceinline__ Sums(int rows_left, int columns_left) : lane(thread_of_block() % 32) {
      const int warp = thread_of_block() / 32;
      row = warp / (columns / 32) * (16 * rows), column = warp % (columns / 32) * 32;
      idle = row >= rows_left || column >= columns_left;
#pragma unroll
      for (int i = 0; i < 4 * rows; ++i) sums[i / 4][i % 4] = {{0, 0, 0, 0}};
    }

    __device__ __forceinline__ void read_a(const Element* tile, int k, FragmentA (&a)[rows]) const {
      if constexpr (tf32) {
#pragma unroll
        for (int i = 0; i < rows; ++i)
#pragma unroll
          for (int v = 0; v < 4; ++v)
            a[i].v[v] = to_tf32(tile[A::at(row + i * 16 + lane / 4 + v % 2 * 8, k + lane % 4 + v / 2 * 4)]);
      } else {
        // The matrices of one ldmatrix: (rows 0-7, k 0-7), (8-15, 0-7), (0-7, 8-15), (8-15, 8-15).
        const int matrix = lane / 8, r = lane % 8;
#pragma unroll
        for (int i = 0; i < rows; ++i) {
          const int r0 = row + i * 16 + matrix % 2 * 8, k0 = k + matrix / 2 * 8;
          if constexpr (A::along_k)
            ldmatrix(a[i].v, tile + A::at(r0 + r, k0));
          else
            ldmatrix_transposed(a[i].v, tile + A::at(r0, k0 + r));
        }
      }
    }
    __device__ __forceinline__ void read_b(const Element* tile, int k, FragmentB (&b)[4]) const {
      if constexpr (tf32) {
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
          for (int v = 0; v < 2; ++v) b[j].v[v] = to_tf32(tile[B::at(column + j * 8 + lane / 4, k + lane % 4 + v * 4)]);
      } else {
        // For two fragments: (columns 0-7, k 0-7), (0-7, 8-15), (8-15, 0-7), (8-15, 8-15).
        const int matrix = lane / 8, r = lane % 8;
#pragma unroll
        for (int j = 0; j < 4; j += 2) {
          const int n0 = column + j * 8 + matrix / 2 * 8, k0 = k + matrix % 2 * 8;
          unsigned four[4];
          if constexpr (B::along_k)
            ldmatrix(four, tile + B::at(n0 + r, k0));
          else
            ldmatrix_transposed(four, tile + B::at(n0, k0 + r));
          b[j] = {{four[0], four[1]}}, b[j + 1] = {{four[2], four[3]}};
        }
      }
    }
    __device__ __forceinline__ void multiply(const Element* a, const Element* b) {
      if (idle) return;
#pragma unroll
      for (int k = 0; k < A::depth; k += mma_depth<Kind>) {
        FragmentA a_fragments[rows];
        FragmentB b_fragments[4];
        read_a(a, k, a_fragments);
        read_b(b, k, b_fragments);
        mma<Kind>(sums, a_fragments, b_fragments);
      }
    }
    __device__ __forceinline__ void write(float* result) const {
#pragma unroll
      for (int i = 0; i < rows; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
          for (int half = 0; half < 2; ++half)
            *reinterpret_cast<float2*>(result + (row + i * 16 + lane / 4 + half * 8) * result_stride<columns> + column +
                                       j * 8 + lane % 4 * 2) = {sums[i][j].v[half * 2], sums[i][j].v[half * 2 + 1]};
    }
  };
};

// What a block's result becomes: `y` and `x` of the epilogue, (M, N), and what else it takes.
template <class T>
struct Target {
  T* y;
  const T* x;
  FusedNorm norm;
  Partials partials;
};

template <class Load>
constexpr bool is_copied = false;
template <int V, class T>
constexpr bool is_copied<Copied<V, T>> = true;

// The block's tile of C (blockIdx.x counts tiles, row by row of tiles), summed over k in [k_begin, k_end) in this
// order. For a block of pipeline_block<Product, columns, V of Store>() threads. LoadA, LoadB: Copied or a prologue;
// Store: an epilogue, whose slices are the rows of tiles.
template <class Product, Contiguous a_contiguous, Contiguous b_contiguous, int columns, class LoadA, class LoadB,
          class Store>
__device__ __forceinline__ void pipeline_product(const Source<typename LoadA::Element>& a,
                                                 const Source<typename LoadB::Element>& b,
                                                 const Target<typename Store::Element>& c, int64_t m, int n,
                                                 int k_begin, int k_end) {
  using E = typename Product::Element;
  using A = Tile<E, a_contiguous, product_rows>;
  using B = Tile<E, b_contiguous, columns>;
  constexpr int stages = is_copied<LoadA> ? 3 : 2, threads = pipeline_threads<Product, columns>, V = Store::width;
  constexpr int stage_bytes = (A::size + B::size) * static_cast<int>(sizeof(E));
  constexpr int result_bytes = product_rows * result_stride<columns> * static_cast<int>(sizeof(float));
  __shared__ __align__(
      16) unsigned char memory[stages * stage_bytes > result_bytes ? stages * stage_bytes : result_bytes];
  const auto stage_a = [&](int s) { return reinterpret_cast<E*>(memory + s % stages * stage_bytes); };
  const auto stage_b = [&](int s) { return stage_a(s) + A::size; };

  const unsigned tiles_across = (n + columns - 1u) / columns;
  const int64_t slice = blockIdx.x / tiles_across, row = slice * product_rows;
  const int column = static_cast<int>(blockIdx.x % tiles_across) * columns;
  const int rows_left = m - row < product_rows ? static_cast<int>(m - row) : product_rows;
  const int steps = (k_end - k_begin + A::depth - 1) / A::depth;

  Loader<LoadA, A, threads, Product::template registers_ahead<columns>> load_a(a, row, m, k_begin, k_end);
  Loader<LoadB, B, threads, Product::template registers_ahead<columns>> load_b(b, column, n, k_begin, k_end);
  AsyncCopies copies;
  const auto start = [&](int s) {
    if (s < steps) load_a.start(copies, stage_a(s)), load_b.start(copies, stage_b(s));
    copies.commit();
  };
  const auto finish = [&](int s) {
    if (s < steps) load_a.finish(stage_a(s)), load_b.finish(stage_b(s));
  };
#pragma unroll
  for (int s = 0; s < stages - 1; ++s) start(s), finish(s);
  typename Product::template Sums<A, B, columns> sums(rows_left, n - column);
#pragma unroll 1
  for (int s = 0; s < steps; ++s) {
    copies.template wait<stages - 2>();
    __syncthreads();  // stage s has landed, all threads' parts; and all are done with stage s - 1, whose place is next
    start(s + stages - 1);
    sums.multiply(stage_a(s), stage_b(s));
    finish(s + stages - 1);
  }
  __syncthreads();

  float* result = reinterpret_cast<float*>(memory);
  sums.write(result);
  __syncthreads();
  const int place = static_cast<int>(threadIdx.x) * V, channel = column + place;
  const bool inside = channel < n;
  Store store(c.y, c.x, inside ? row * n + channel : 0, c.norm, inside ? channel : 0);
  // Several rows at a time: what the epilogue fetches, it waits for once.
  constexpr int batch = 4, step = threads / (columns / V);
  if (inside)
    for (int first = static_cast<int>(threadIdx.y); first < rows_left; first += batch * step) {
      decltype(store.fetch(0)) fetched[batch] = {};
#pragma unroll
      for (int i = 0; i < batch; ++i)
        if (first + i * step < rows_left) fetched[i] = store.fetch(static_cast<int64_t>(first + i * step) * n);
#pragma unroll
      for (int i = 0; i < batch; ++i) {
        const int r = first + i * step;
        if (r < rows_left)
          store(static_cast<int64_t>(r) * n, Floats<V>::load(result + r * result_stride<columns> + place), fetched[i]);
      }
    }
  store.template finish<threads>(channel, n, slice, c.partials);
}

template <class Product, int columns, int V>
inline dim3 pipeline_block() {
  return dim3(columns / V, pipeline_threads<Product, columns> / (columns / V));
}

}  // namespace kernels::KERNEL_TARGET
