// cuBLASLt for the rows of that name: products of the row-major matrices that pointwise convolution and linear have.
// What was made for a shape (descriptors, the algorithm) is kept in Context::cublas: a pass's first call makes it,
// those after it allocate nothing and wait for nothing, so that they can be captured.
#pragma once

#include <cublasLt.h>
#include <dlfcn.h>

#include <array>
#include <map>
#include <string>
#include <vector>

#include "kernels/common/bf16.h"
#include "kernels/common/launch.h"
#include "kernels/common/table.h"

namespace kernels::KERNEL_TARGET::cublas {

// cuBLASLt's functions. The library is loaded when the first of them is called: bringing in its hundreds of megabytes
// takes a program a tenth of a second, which one that trains or predicts on the CPU does not have to wait for.
class Functions {
  void* library_ = open();

  static void* open() {
    const std::string name = "libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR);
    if (void* library = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
    throw Error(std::string("cuBLASLt: ") + ::dlerror());
  }
  template <class F>
  void load(F*& function, const char* name) {
    function = reinterpret_cast<F*>(::dlsym(library_, name));
    if (function == nullptr) throw Error(std::string("cuBLASLt: ") + ::dlerror());
  }

 public:
  Functions() {
    load(create, "cublasLtCreate");
    load(destroy, "cublasLtDestroy");
    load(status_string, "cublasLtGetStatusString");
    load(matmul, "cublasLtMatmul");
    load(heuristic, "cublasLtMatmulAlgoGetHeuristic");
    load(operation_create, "cublasLtMatmulDescCreate");
    load(operation_destroy, "cublasLtMatmulDescDestroy");
    load(operation_set, "cublasLtMatmulDescSetAttribute");
    load(operation_get, "cublasLtMatmulDescGetAttribute");
    load(layout_create, "cublasLtMatrixLayoutCreate");
    load(layout_destroy, "cublasLtMatrixLayoutDestroy");
    load(layout_get, "cublasLtMatrixLayoutGetAttribute");
    load(preference_create, "cublasLtMatmulPreferenceCreate");
    load(preference_destroy, "cublasLtMatmulPreferenceDestroy");
    load(preference_set, "cublasLtMatmulPreferenceSetAttribute");
    load(preference_get, "cublasLtMatmulPreferenceGetAttribute");
    load(version, "cublasLtGetVersion");
  }

  decltype(cublasLtCreate)* create;
  decltype(cublasLtDestroy)* destroy;
  decltype(cublasLtGetStatusString)* status_string;
  decltype(cublasLtMatmul)* matmul;
  decltype(cublasLtMatmulAlgoGetHeuristic)* heuristic;
  decltype(cublasLtMatmulDescCreate)* operation_create;
  decltype(cublasLtMatmulDescDestroy)* operation_destroy;
  decltype(cublasLtMatmulDescSetAttribute)* operation_set;
  decltype(cublasLtMatmulDescGetAttribute)* operation_get;
  decltype(cublasLtMatrixLayoutCreate)* layout_create;
  decltype(cublasLtMatrixLayoutDestroy)* layout_destroy;
  decltype(cublasLtMatrixLayoutGetAttribute)* layout_get;
  decltype(cublasLtMatmulPreferenceCreate)* preference_create;
  decltype(cublasLtMatmulPreferenceDestroy)* preference_destroy;
  decltype(cublasLtMatmulPreferenceSetAttribute)* preference_set;
  decltype(cublasLtMatmulPreferenceGetAttribute)* preference_get;
  decltype(cublasLtGetVersion)* version;
};

inline const Functions& lt() {
  static const Functions functions;
  return functions;
}

inline void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS) throw Error(std::string(what) + ": " + lt().status_string(status));
}

// A cuBLASLt object that is destroyed with its owner.
template <class T, auto destroy>
struct Object {
  T value = nullptr;
  Object() = default;
  ~Object() {
    if (value != nullptr) (lt().*destroy)(value);
  }
  Object(const Object&) = delete;
  operator T() const { return value; }
};
using Handle = Object<cublasLtHandle_t, &Functions::destroy>;
using Operation = Object<cublasLtMatmulDesc_t, &Functions::operation_destroy>;
using Layout = Object<cublasLtMatrixLayout_t, &Functions::layout_destroy>;
using Preference = Object<cublasLtMatmulPreference_t, &Functions::preference_destroy>;

// Scratch memory that a product may use, and so a row's workspace.
constexpr size_t scratch_bytes = size_t{4} << 20;

template <class T>
constexpr cudaDataType_t type_of = std::is_same_v<T, Bf16> ? CUDA_R_16BF : CUDA_R_32F;

// cuBLASLt's matrices are column-major, so it sees each of ours transposed and is asked for the transposed result:
// d (m, n) = op(a) · op(b), sums over k in fp32.
struct Shape {
  bool transpose_a, transpose_b;
  int64_t m, n, k;
  cudaDataType_t type_a, type_b, type_d;
  Precision precision;  // of the factors
  bool bias;            // (m), added to every column
  std::array<int64_t, 10> key() const {
    return {transpose_a, transpose_b, m, n, k, type_a, type_b, type_d, static_cast<int64_t>(precision), bias};
  }
};

// y (rows, out) = x (rows, in) · wᵀ,   w (out, in)
template <class T, class W>
Shape forward_shape(int64_t rows, int64_t in, int64_t out, Precision precision, bool bias = false) {
  return {true, false, out, rows, in, type_of<W>, type_of<T>, type_of<T>, precision, bias};
}
// dx (rows, in) = dy (rows, out) · w
template <class T, class W>
Shape backward_data_shape(int64_t rows, int64_t in, int64_t out, Precision precision) {
  return {false, false, in, rows, out, type_of<W>, type_of<T>, type_of<T>, precision, false};
}
// dw (out, in) = dyᵀ · x
template <class T>
Shape backward_weight_shape(int64_t rows, int64_t in, int64_t out, Precision precision) {
  return {false, true, in, out, rows, type_of<T>, type_of<T>, CUDA_R_32F, precision, false};
}

struct Product {
  Operation operation;
  Layout a, b, d;
  std::map<uint32_t, cublasLtMatmulAlgo_t> algorithms;  // by the arrays' common alignment in bytes

  explicit Product(const Shape& s) {
    const bool tf32 = s.precision == Precision::tf32;  // must be asked for: CUBLAS_COMPUTE_32F keeps fp32 products fp32
    check(lt().operation_create(&operation.value, tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F),
          "cublasLtMatmulDescCreate");
    set(CUBLASLT_MATMUL_DESC_TRANSA, s.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, s.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, s.bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT);
    lay_out(a, s.type_a, s.transpose_a, s.m, s.k);
    lay_out(b, s.type_b, s.transpose_b, s.k, s.n);
    lay_out(d, s.type_d, false, s.m, s.n);
  }
  template <class T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    check(lt().operation_set(operation, attribute, &value, sizeof value), "cublasLtMatmulDescSetAttribute");
  }

 private:
  static void lay_out(Layout& layout, cudaDataType_t type, bool transpose, int64_t rows, int64_t columns) {
    if (transpose) std::swap(rows, columns);
    check(lt().layout_create(&layout.value, type, rows, columns, rows), "cublasLtMatrixLayoutCreate");
  }
};

// What an algorithm must keep to. Where it splits a sum, the parts are added in fp32 from the workspace, in a fixed
// order: the other schemes add in place or round the parts to the output's type.
inline void prefer(Preference& preference, uint32_t alignment) {
  check(lt().preference_create(&preference.value), "cublasLtMatmulPreferenceCreate");
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    check(lt().preference_set(preference, attribute, &value, sizeof value), "cublasLtMatmulPreferenceSetAttribute");
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{scratch_bytes});
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  for (const auto attribute : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                               CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
    set(attribute, alignment);
}

// The largest power of two, at most 256, that divides all addresses.
inline uint32_t alignment(std::initializer_list<const void*> arrays) {
  uintptr_t bits = 256;
  for (const void* array : arrays) bits |= reinterpret_cast<uintptr_t>(array);
  return static_cast<uint32_t>(bits & (~bits + 1));
}

// What Context::cublas points to.
struct Library {
  Handle handle;
  std::map<std::array<int64_t, 10>, Product> products;
  float* ones = nullptr;  // (ones_count), device
  int64_t ones_count = 0;
  std::vector<float*> shorter;  // that it took the place of: captured graphs read them yet

  Library() { check(lt().create(&handle.value), "cublasLtCreate"); }
  ~Library() {
    cudaFree(ones);
    for (float* array : shorter) cudaFree(array);
  }
  Library(const Library&) = delete;
};

inline Library& library(Context& context) {
  if (context.cublas == nullptr) context.cublas = std::make_shared<Library>();
  return *static_cast<Library*>(context.cublas.get());
}

// A vector of at least `count` ones in device memory: with it, sums over rows are products too.
inline const float* ones(Context& context, int64_t count) {
  Library& library = cublas::library(context);
  if (count > library.ones_count) {
    using KERNEL_TARGET::check;
    if (library.ones != nullptr) library.shorter.push_back(library.ones);
    library.ones = nullptr, library.ones_count = 0;
    const std::vector<float> host(count, 1.0f);
    check(cudaMalloc(&library.ones, count * sizeof(float)), "cudaMalloc", __FILE__, __LINE__);
    check(cudaMemcpy(library.ones, host.data(), count * sizeof(float), cudaMemcpyHostToDevice), "cudaMemcpy", __FILE__,
          __LINE__);
    library.ones_count = count;
  }
  return library.ones;
}

// The workspace of a row with a bias of `out` floats: scratch memory, then the bias, where it has to be moved.
inline size_t workspace_with_bias(int out) { return scratch_bytes + out * sizeof(float); }

// `scratch`: scratch_bytes, aligned to 256; workspace_with_bias where the shape has a bias, which is read only then.
inline void run(Context& context, const Shape& s, const void* a, const void* b, void* d, void* scratch,
                const float* bias = nullptr) {
  Library& library = cublas::library(context);
  Product& product = library.products.try_emplace(s.key(), s).first->second;
  if (s.bias) {
    // Algorithms are chosen for the alignment of a, b and d, and may take it that a bias has 16 bytes
    // (https://github.com/pytorch/pytorch/pull/194497).
    if (alignment({bias}) < 16) {
      const auto moved = reinterpret_cast<float*>(static_cast<char*>(scratch) + scratch_bytes);
      KERNEL_TARGET::check(cudaMemcpyAsync(moved, bias, s.m * sizeof(float), cudaMemcpyDeviceToDevice,
                                           static_cast<cudaStream_t>(context.stream)),
                           "cudaMemcpyAsync", __FILE__, __LINE__);
      bias = moved;
    }
    product.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  }
  const uint32_t aligned = alignment({a, b, d});
  auto found = product.algorithms.find(aligned);
  if (found == product.algorithms.end()) {
    Preference preference;
    prefer(preference, aligned);
    cublasLtMatmulHeuristicResult_t result{};
    int count = 0;
    check(lt().heuristic(library.handle, product.operation, product.a, product.b, product.d, product.d, preference, 1,
                         &result, &count),
          "cublasLtMatmulAlgoGetHeuristic");
    if (count == 0) throw Error("cublasLtMatmulAlgoGetHeuristic: cuBLASLt has no algorithm for this shape");
    found = product.algorithms.emplace(aligned, result.algo).first;
  }
  const float one = 1, zero = 0;
  check(lt().matmul(library.handle, product.operation, &one, a, product.a, b, product.b, &zero, d, product.d, d,
                    product.d, &found->second, scratch, scratch_bytes, static_cast<cudaStream_t>(context.stream)),
        "cublasLtMatmul");
}

}  // namespace kernels::KERNEL_TARGET::cublas
