// The warp operations: what the last lane to arrive does for all.

#include <bit>
#include <functional>

#include "include/simt/execution.h"

namespace simt::detail {
namespace {

// Applies f to the values of the lanes in mask, and gives all of them the result.
template <class F>
void reduce(Lane* lanes, unsigned mask, F f) {
  std::uint64_t result = lanes[std::countr_zero(mask)].value;
  for (unsigned rest = mask & (mask - 1); rest != 0; rest &= rest - 1) {
    result = f(result, lanes[std::countr_zero(rest)].value);
  }
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) lanes[std::countr_zero(rest)].result = result;
}

void complete_shuffle(Lane* lanes, unsigned mask) {
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
    Lane& lane = lanes[std::countr_zero(rest)];
    bool named = (mask >> lane.source & 1) != 0;
    lane.result = named ? lanes[lane.source].value : ~std::uint64_t{0};
  }
}

// The bit mask of the lanes whose predicate holds.
void complete_ballot(Lane* lanes, unsigned mask) {
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
    int i = std::countr_zero(rest);
    lanes[i].value = lanes[i].value != 0 ? 1u << i : 0;
  }
  reduce(lanes, mask, [](std::uint64_t a, std::uint64_t b) { return a | b; });
}

void complete_match_any(Lane* lanes, unsigned mask) {
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
    Lane& lane = lanes[std::countr_zero(rest)];
    unsigned same = 0;
    for (unsigned others = mask; others != 0; others &= others - 1) {
      int i = std::countr_zero(others);
      if (lanes[i].value == lane.value) same |= 1u << i;
    }
    lane.result = same;
  }
}

void complete_match_all(Lane* lanes, unsigned mask) {
  std::uint64_t first = lanes[std::countr_zero(mask)].value;
  bool same = true;
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) same &= lanes[std::countr_zero(rest)].value == first;
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) lanes[std::countr_zero(rest)].result = same ? mask : 0;
}

void complete_nothing(Lane*, unsigned) {}

template <class T, class F>
constexpr auto reduction(F) {
  return [](Lane* lanes, unsigned mask) {
    reduce(lanes, mask, [](std::uint64_t a, std::uint64_t b) {
      return static_cast<std::uint64_t>(static_cast<std::uint32_t>(F()(static_cast<T>(a), static_cast<T>(b))));
    });
  };
}

constexpr auto smaller = [](auto a, auto b) { return b < a ? b : a; };
constexpr auto larger = [](auto a, auto b) { return b > a ? b : a; };

}  // namespace

constinit const WarpOperation syncwarp_operation = {"__syncwarp", complete_nothing};
constinit const WarpOperation shuffle_operation = {"__shfl_sync", complete_shuffle};
constinit const WarpOperation shuffle_up_operation = {"__shfl_up_sync", complete_shuffle};
constinit const WarpOperation shuffle_down_operation = {"__shfl_down_sync", complete_shuffle};
constinit const WarpOperation shuffle_xor_operation = {"__shfl_xor_sync", complete_shuffle};
constinit const WarpOperation ballot_operation = {"__ballot_sync", complete_ballot};
constinit const WarpOperation any_operation = {"__any_sync", complete_ballot};
constinit const WarpOperation all_operation = {"__all_sync", complete_ballot};
constinit const WarpOperation match_any_operation = {"__match_any_sync", complete_match_any};
constinit const WarpOperation match_all_operation = {"__match_all_sync", complete_match_all};
constinit const WarpOperation add_operation = {"__reduce_add_sync", reduction<unsigned>(std::plus<>())};
constinit const WarpOperation and_operation = {"__reduce_and_sync", reduction<unsigned>(std::bit_and<>())};
constinit const WarpOperation or_operation = {"__reduce_or_sync", reduction<unsigned>(std::bit_or<>())};
constinit const WarpOperation xor_operation = {"__reduce_xor_sync", reduction<unsigned>(std::bit_xor<>())};
constinit const WarpOperation min_operation = {"__reduce_min_sync", reduction<unsigned>(smaller)};
constinit const WarpOperation max_operation = {"__reduce_max_sync", reduction<unsigned>(larger)};
constinit const WarpOperation signed_min_operation = {"__reduce_min_sync", reduction<int>(smaller)};
constinit const WarpOperation signed_max_operation = {"__reduce_max_sync", reduction<int>(larger)};

}  // namespace simt::detail
