// The table of implementations that every operation has, and how one row is chosen from it.
//
// An operation's header declares a row type: name, idea, provider, supports(shape), workspace(shape) and one function
// pointer a pass (nullptr where the row does not have that pass). Rows stand in the order in which a learner climbs:
// naive first, each next one adding one idea, the vendor's library last. Its table.cpp, compiled once a device, defines
//   template <> std::span<const Row> rows<Row, target>() { … }
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "kernels/common/context.h"

namespace kernels {

template <class Row, DeviceType device>
std::span<const Row> rows();

// All implementations of an operation on a device. Throws Error where this build has no such device.
template <class Row>
std::span<const Row> implementations(DeviceType device) {
  if (device == DeviceType::cpu) return rows<Row, DeviceType::cpu>();
#ifdef MOBILENET_CUDA
  return rows<Row, DeviceType::cuda>();
#else
  throw Error("this build has no device cuda: it was made without the CUDA toolkit");
#endif
}

// How a row computes. A row without a word about it computes in fp32.
//   fp32  as it says
//   tf32  on tensor cores: arrays are float, but the factors of a product are rounded to 11 bits of mantissa
//   bf16  on tensor cores: the factors are bfloat16
// tf32 is no type of an array. bf16 is one (common/bf16.h): operations whose activations can be of it have a table for
// it of their own, as PointwiseConvOf<Bf16>.
enum class Precision { fp32, tf32, bf16 };

// Which rows to take: `--kernels auto|native|vendor|OP=NAME,…`. A name given for an operation wins; then a row of the
// preferred provider; then any row that supports the shape, so that no shape is left without one.
struct Policy {
  enum class Preference { automatic, native, vendor };
  Preference preference = Preference::automatic;
  std::map<std::string, std::string> named;  // operation -> row
  Precision precision = Precision::fp32;     // `--precision`: rows of a lower one are taken only where they are named
};

// Row::precision where the row type has it.
template <class Row>
Precision precision_of(const Row& row) {
  if constexpr (requires { row.precision; })
    return row.precision;
  else
    return Precision::fp32;
}

// Reads "auto", "native", "vendor", "depthwise_conv=tiled,linear=naive" or "vendor,depthwise_conv=tiled".
// Throws std::invalid_argument that says which word is wrong and what would be right. Operation and row names are
// checked against the tables of `device`.
Policy parse_policy(const std::string& text, DeviceType device);

// Operation -> the names of its rows on a device, in the table's order.
std::map<std::string, std::vector<std::string>> all_rows(DeviceType device);

// The last row (the top of the ladder) of the preferred provider that has `pass`, supports `shape` and is not of a
// lower precision than the policy's. Row::operation is the operation's name. Throws Error where none does.
template <class Row, class Shape, class Pass>
const Row& choose(DeviceType device, const Policy& policy, const Shape& shape, Pass Row::*pass) {
  const auto table = implementations<Row>(device);
  const auto named = policy.named.find(Row::operation);
  // On the CPU, native rows run emulated: automatic prefers the vendor there, and our own kernels on a GPU.
  const bool vendor_first = policy.preference == Policy::Preference::vendor ||
                            (policy.preference == Policy::Preference::automatic && device == DeviceType::cpu);
  const Row *best = nullptr, *fallback = nullptr;
  for (const Row& row : table) {
    if (row.*pass == nullptr || !row.supports(shape)) continue;
    if (named != policy.named.end() && named->second == row.name) return row;
    if (precision_of(row) > policy.precision) continue;
    const bool preferred = (row.provider == Provider::vendor) == vendor_first;
    (preferred ? best : fallback) = &row;
  }
  if (best == nullptr) best = fallback;
  if (best == nullptr) throw Error(std::string(Row::operation) + ": no implementation supports this shape");
  return *best;
}

}  // namespace kernels
