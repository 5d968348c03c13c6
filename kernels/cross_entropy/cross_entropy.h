// Softmax cross-entropy of integer labels, forward and backward in one pass, stable for any finite logits.
//
//   target[n,k] = (1 - s)·[k = label[n]] + s/K                             (s: the label smoothing, 0 ≤ s < 1)
//   loss[n] = log Σ_k exp(z[n,k] - max_k z[n,k]) - Σ_k target[n,k]·(z[n,k] - max_k z[n,k])
//   mean_loss = 1/N Σ_n loss[n]
//   dz[n,k] = (softmax(z[n])[k] - target[n,k]) / N                           (the gradient of mean_loss)
//   correct[n] = 1 where argmax_k z[n,k] (the first of equals) is label[n], else 0
//
// With s = 0 the sum over the targets is z[n,label[n]] - max_k z[n,k]. Smoothing is that of Szegedy et al. 2016
// ("Rethinking the Inception architecture", section 7) and of PyTorch's cross_entropy(label_smoothing=s); with it, a
// logit of -∞ makes its row's loss ∞.
// A NaN in a row makes that row's loss, and so mean_loss, NaN, and its answer not correct. Labels must lie in [0,
// classes): data sets check theirs when they are read.
#pragma once

#include "kernels/common/table.h"

namespace kernels {

struct CrossEntropyShape {
  int batch, classes;
};

struct CrossEntropy {
  static constexpr const char* operation = "cross_entropy";
  const char* name;
  const char* idea;
  Provider provider;
  bool (*supports)(const CrossEntropyShape&);
  size_t (*workspace)(const CrossEntropyShape&);
  void (*forward_backward)(Context&, const CrossEntropyShape&,
                           const float* logits,    // (N, K)
                           const int32_t* labels,  // (N)
                           float label_smoothing,  // s
                           float* losses,          // (N)
                           int32_t* correct,       // (N)
                           float* mean_loss,       // (1) summed in a fixed order
                           float* dlogits);        // (N, K), or nullptr where no gradient is wanted
};

namespace reference {
void cross_entropy(const CrossEntropyShape&, const double* logits, const int32_t* labels, double label_smoothing,
                   double* losses, int32_t* correct, double* mean_loss, double* dlogits);
}  // namespace reference

}  // namespace kernels
