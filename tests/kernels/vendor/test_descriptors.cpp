// What cuBLASLt's and cuDNN's rows make for a shape, as far as the libraries do it without a GPU: descriptors and the
// output sizes that follow from them. What they compute is tested on one: kernels_gpu.
#include "catch.h"
#ifdef MOBILENET_CUBLAS
#include "kernels/common/cublas.h"

namespace cublas = kernels::cuda::cublas;
using kernels::Bf16, kernels::Precision;

namespace {

template <class T>
T read(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t attribute) {
  T value{};
  cublas::check(cublas::lt().layout_get(layout, attribute, &value, sizeof value, nullptr), "layout");
  return value;
}
template <class T>
T read(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute) {
  T value{};
  cublas::check(cublas::lt().operation_get(operation, attribute, &value, sizeof value, nullptr), "operation");
  return value;
}

// Row-major (rows, columns) of ours is column-major (columns, rows) to cuBLASLt, with `columns` from one to the next.
void check_layout(cublasLtMatrixLayout_t layout, int64_t rows, int64_t columns, cudaDataType_t type) {
  CHECK(read<uint64_t>(layout, CUBLASLT_MATRIX_LAYOUT_ROWS) == static_cast<uint64_t>(columns));
  CHECK(read<uint64_t>(layout, CUBLASLT_MATRIX_LAYOUT_COLS) == static_cast<uint64_t>(rows));
  CHECK(read<int64_t>(layout, CUBLASLT_MATRIX_LAYOUT_LD) == columns);
  CHECK(read<uint32_t>(layout, CUBLASLT_MATRIX_LAYOUT_TYPE) == static_cast<uint32_t>(type));
}

}  // namespace

TEST_CASE("cuBLASLt sees the arrays of each pass as they lie in memory", "[vendor]") {
  const int64_t M = 7, in = 3, out = 5;
  {
    const cublas::Product p(cublas::forward_shape<float, float>(M, in, out, Precision::fp32, true));
    check_layout(p.a, out, in, CUDA_R_32F), check_layout(p.b, M, in, CUDA_R_32F), check_layout(p.d, M, out, CUDA_R_32F);
    CHECK(read<uint32_t>(p.operation, CUBLASLT_MATMUL_DESC_EPILOGUE) == CUBLASLT_EPILOGUE_BIAS);
    CHECK(read<int32_t>(p.operation, CUBLASLT_MATMUL_DESC_TRANSA) == CUBLAS_OP_T);
    CHECK(read<int32_t>(p.operation, CUBLASLT_MATMUL_DESC_TRANSB) == CUBLAS_OP_N);
  }
  {
    const cublas::Product p(cublas::backward_data_shape<Bf16, Bf16>(M, in, out, Precision::bf16));
    check_layout(p.a, out, in, CUDA_R_16BF), check_layout(p.b, M, out, CUDA_R_16BF);
    check_layout(p.d, M, in, CUDA_R_16BF);
    CHECK(read<uint32_t>(p.operation, CUBLASLT_MATMUL_DESC_EPILOGUE) == CUBLASLT_EPILOGUE_DEFAULT);
    CHECK(read<int32_t>(p.operation, CUBLASLT_MATMUL_DESC_TRANSA) == CUBLAS_OP_N);
    CHECK(read<int32_t>(p.operation, CUBLASLT_MATMUL_DESC_TRANSB) == CUBLAS_OP_N);
  }
  {
    const cublas::Product p(cublas::backward_weight_shape<Bf16>(M, in, out, Precision::bf16));
    check_layout(p.a, M, in, CUDA_R_16BF), check_layout(p.b, M, out, CUDA_R_16BF);
    check_layout(p.d, out, in, CUDA_R_32F);  // a weight's gradient is fp32
    CHECK(read<int32_t>(p.operation, CUBLASLT_MATMUL_DESC_TRANSA) == CUBLAS_OP_N);
    CHECK(read<int32_t>(p.operation, CUBLASLT_MATMUL_DESC_TRANSB) == CUBLAS_OP_T);
  }
}

TEST_CASE("only a tf32 row asks cuBLASLt for TF32, and all sum in fp32", "[vendor]") {
  for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16}) {
    const cublas::Product p(cublas::backward_weight_shape<float>(8, 4, 4, precision));
    CHECK(read<int32_t>(p.operation, CUBLASLT_MATMUL_DESC_COMPUTE_TYPE) ==
          (precision == Precision::tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F));
    CHECK(read<int32_t>(p.operation, CUBLASLT_MATMUL_DESC_SCALE_TYPE) == CUDA_R_32F);
  }
}

TEST_CASE("cuBLASLt's algorithms are chosen for the arrays' alignment", "[vendor]") {
  alignas(256) char memory[512];
  CHECK(cublas::alignment({memory, memory + 256}) == 256);
  CHECK(cublas::alignment({memory, memory + 16}) == 16);
  CHECK(cublas::alignment({memory + 2, memory + 16, memory}) == 2);
  cublas::Preference preference;
  cublas::prefer(preference, 4);
  uint32_t value = 0;
  const auto attribute = CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES;
  cublas::check(cublas::lt().preference_get(preference, attribute, &value, sizeof value, nullptr), "read");
  CHECK(value == 4);
}
#endif

#ifdef MOBILENET_CUDNN
#include "kernels/common/cudnn.h"

namespace cudnn = kernels::cuda::cudnn;

TEST_CASE("cuDNN's convolution has the output that the shape says, groups, and no TF32", "[vendor]") {
  for (const int size : {1, 2, 5, 6, 32})
    for (const int stride : {1, 2})
      for (const int groups : {1, 24}) {
        const cudnn::Shape s{3, size, size + 1, 24, 48, groups, stride};
        const cudnn::Convolution c(s);
        int n, channels, h, w, count;
        cudnn::check(cudnnGetConvolution2dForwardOutputDim(c.op, c.x, c.w, &n, &channels, &h, &w), "output");
        CHECK((n == 3 && channels == 48 && h == (size - 1) / stride + 1 && w == size / stride + 1));
        cudnnDataType_t type;
        int strides[4], sizes[4];
        cudnn::check(cudnnGetTensor4dDescriptor(c.y, &type, sizes, sizes + 1, sizes + 2, sizes + 3, strides,
                                                strides + 1, strides + 2, strides + 3),
                     "y");
        CHECK((sizes[0] == n && sizes[1] == channels && sizes[2] == h && sizes[3] == w));
        CHECK((strides[0] == 48 * h * w && strides[1] == 1 && strides[2] == 48 * w && strides[3] == 48));
        cudnn::check(cudnnGetConvolutionGroupCount(c.op, &count), "groups");
        CHECK(count == groups);
        cudnnMathType_t math;
        cudnn::check(cudnnGetConvolutionMathType(c.op, &math), "math");
        CHECK(math == CUDNN_FMA_MATH);
      }
}

TEST_CASE("cuDNN's pooling leaves one position", "[vendor]") {
  for (const int positions : {1, 4, 49}) {
    const cudnn::Tensor image;
    cudnn::set_nhwc(image, 2, 5, positions, 1);
    const cudnn::Pooling pooling;
    cudnn::set_average(pooling, positions);
    int n, c, h, w;
    cudnn::check(cudnnGetPooling2dForwardOutputDim(pooling, image, &n, &c, &h, &w), "output");
    CHECK((n == 2 && c == 5 && h == 1 && w == 1));
  }
}

TEST_CASE("cuDNN's clipped ReLU ends at 6 and keeps NaN", "[vendor]") {
  const cudnn::Activation activation;
  cudnn::set_relu6(activation);
  cudnnActivationMode_t mode;
  cudnnNanPropagation_t nan;
  double ceiling;
  cudnn::check(cudnnGetActivationDescriptor(activation, &mode, &nan, &ceiling), "activation");
  CHECK((mode == CUDNN_ACTIVATION_CLIPPED_RELU && nan == CUDNN_PROPAGATE_NAN && ceiling == 6));
}

TEST_CASE("cuDNN takes one factor a channel for the batch norm", "[vendor]") {
  const cudnn::Tensor x, derived;
  cudnn::set_nhwc(x, 1, 24, 1000, 1);
  cudnn::check(cudnnDeriveBNTensorDescriptor(derived, x, CUDNN_BATCHNORM_SPATIAL), "derive");
  size_t bytes = 0;
  cudnn::check(cudnnGetTensorSizeInBytes(derived, &bytes), "size");
  CHECK(bytes == 24 * sizeof(float));
}
#endif
