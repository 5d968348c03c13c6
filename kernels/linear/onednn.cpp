// oneDNN's inner product.
#include "kernels/common/onednn.h"
#include "kernels/linear/linear.h"

namespace kernels::KERNEL_TARGET {
namespace {

void run(Context& context, onednn::Direction direction, const LinearShape& s,
         std::initializer_list<const void*> arrays) {
  const auto make = [&](const onednn::Library& library) {
    return onednn::product(library, direction, s.rows, s.in_features, s.out_features, true);
  };
  onednn::run(context, Linear::operation, {direction, s.rows, s.in_features, s.out_features}, make, arrays);
}

}  // namespace

extern const Linear linear_onednn = {
    .name = "onednn",
    .idea = "oneDNN's inner product",
    .provider = Provider::vendor,
    .supports = [](const LinearShape&) { return true; },
    .workspace = [](const LinearShape&) -> size_t { return 0; },
    .forward =
        [](Context& context, const LinearShape& s, const float* x, const float* w, const float* b, float* y) {
          run(context, onednn::forward, s, {x, w, b, y});
        },
    .backward_data =
        [](Context& context, const LinearShape& s, const float* dy, const float* w, float* dx) {
          run(context, onednn::backward_data, s, {dy, w, dx});
        },
    .backward_weight =
        [](Context& context, const LinearShape& s, const float* x, const float* dy, float* dw, float* db) {
          run(context, onednn::backward_weight, s, {x, dy, dw, db});
        },
};

}  // namespace kernels::KERNEL_TARGET
