#include "data/hold_out.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>
#include <vector>

#include "data/error.h"
#include "data/random.h"

namespace data {
namespace {

// Takes out the images for which is_held_out[i]. The rest moves together in place, so that no second copy is needed.
HeldOut split(Dataset set, const std::vector<bool>& is_held_out) {
  HeldOut result{{}, {set.height, set.width, set.class_names, {}, {}}};
  Dataset& validation = result.validation;
  const size_t bytes = set.image_bytes();
  const auto count = size_t(std::count(is_held_out.begin(), is_held_out.end(), true));
  validation.images.reserve(count * bytes);
  validation.labels.reserve(count);
  size_t kept = 0;
  for (size_t i = 0; i < set.size(); ++i) {
    if (is_held_out[i]) {
      validation.images.insert(validation.images.end(), set.image(i), set.image(i) + bytes);
      validation.labels.push_back(set.labels[i]);
    } else {
      if (kept < i) std::copy_n(set.image(i), bytes, set.image(kept));
      set.labels[kept++] = set.labels[i];
    }
  }
  result.rest = take(std::move(set), kept);
  return result;
}

}  // namespace

HeldOut hold_out(Dataset set, double fraction, uint64_t seed) {
  if (!(fraction > 0 && fraction < 1)) {
    throw std::invalid_argument(fmt::format("hold_out: a fraction of {}; expected 0 < fraction < 1", fraction));
  }
  const size_t n = set.size();
  if (n < 2) throw Error(fmt::format("a set of {} images has none to hold out; expected at least 2", n));
  const size_t count = std::clamp<size_t>(size_t(std::llround(fraction * double(n))), 1, n - 1);
  const std::vector<size_t> order = shuffled_indices(n, seed, 0, Purpose::hold_out);
  std::vector<bool> is_held_out(n);
  for (size_t i = 0; i < count; ++i) is_held_out[order[i]] = true;
  return split(std::move(set), is_held_out);
}

HeldOut hold_out_first(Dataset set, size_t n) {
  if (set.size() <= n) {
    throw Error(fmt::format("a test set of {} images; expected more than {}, the first {} of which validate",
                            set.size(), n, n));
  }
  std::vector<bool> is_held_out(set.size());
  std::fill_n(is_held_out.begin(), n, true);
  return split(std::move(set), is_held_out);
}

}  // namespace data
