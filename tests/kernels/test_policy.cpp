// How a row is chosen from a table, on a table made for it; and how --kernels is read, on the real ones.
#include <set>

#include "catch.h"
#include "kernels/common/table.h"
#include "kernels/pointwise_conv/pointwise_conv.h"

using kernels::DeviceType, kernels::Policy, kernels::Precision, kernels::Provider;
using Preference = Policy::Preference;

namespace policy_test {

struct Row {
  static constexpr const char* operation = "op";
  const char* name;
  Provider provider;
  bool (*supports)(const int& size);
  void (*forward)();
  void (*backward)();
  Precision precision = Precision::fp32;
};

void pass() {}
bool natural(const int& size) { return size >= 0; }
bool even(const int& size) { return size >= 0 && size % 2 == 0; }
bool never(const int&) { return false; }

const Row table[] = {
    {"naive", Provider::native, natural, pass, pass},
    {"tiled", Provider::native, even, pass, nullptr},
    {"unfinished", Provider::native, never, pass, pass},
    {"library", Provider::vendor, even, pass, pass},
    {"forward_only", Provider::vendor, even, pass, nullptr},
    {"tf32", Provider::native, even, pass, pass, Precision::tf32},
    {"bf16", Provider::native, even, pass, pass, Precision::bf16},
};

}  // namespace policy_test

using policy_test::Row;

namespace kernels {
template <>
std::span<const Row> rows<Row, DeviceType::cpu>() {
  return policy_test::table;
}
template <>
std::span<const Row> rows<Row, DeviceType::cuda>() {
  return policy_test::table;
}
}  // namespace kernels

namespace {

const Policy automatic = {Preference::automatic, {}}, native = {Preference::native, {}},
             vendor = {Preference::vendor, {}};

std::string chosen(const Policy& policy, int size, void (*Row::*of)(), DeviceType device = DeviceType::cpu) {
  return kernels::choose<Row>(device, policy, size, of).name;
}

std::string message_of(const std::string& text) {
  try {
    kernels::parse_policy(text, DeviceType::cpu);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "nothing was thrown";
}
void check_has(const std::string& text, const std::string& part) {
  INFO(text);
  CHECK(text.find(part) != std::string::npos);
}

}  // namespace

TEST_CASE("choose takes the last row of the preferred provider", "[policy]") {
  CHECK(chosen(native, 4, &Row::forward) == "tiled");
  CHECK(chosen(vendor, 4, &Row::forward) == "forward_only");
  CHECK(chosen(automatic, 4, &Row::forward) == "forward_only");  // on the CPU native rows run emulated
#ifdef MOBILENET_CUDA
  CHECK(chosen(automatic, 4, &Row::forward, DeviceType::cuda) == "tiled");
  CHECK(chosen(vendor, 4, &Row::forward, DeviceType::cuda) == "forward_only");
#else
  CHECK_THROWS_AS(kernels::implementations<Row>(DeviceType::cuda), kernels::Error);
#endif
}

TEST_CASE("choose passes over rows without the pass or the shape", "[policy]") {
  CHECK(chosen(native, 4, &Row::backward) == "naive");
  CHECK(chosen(vendor, 4, &Row::backward) == "library");
  CHECK(chosen(native, 3, &Row::forward) == "naive");
  CHECK(chosen(vendor, 3, &Row::forward) == "naive");  // no vendor row has the shape
  CHECK(chosen(automatic, 3, &Row::backward) == "naive");
}

TEST_CASE("choose takes a named row where it can", "[policy]") {
  const Policy tiled = {Preference::vendor, {{"op", "tiled"}, {"other", "naive"}}};
  CHECK(chosen(tiled, 4, &Row::forward) == "tiled");
  CHECK(chosen(tiled, 3, &Row::forward) == "naive");
  CHECK(chosen(tiled, 4, &Row::backward) == "library");
  CHECK(chosen({Preference::native, {{"op", "library"}}}, 4, &Row::forward) == "library");
  CHECK(chosen({Preference::native, {{"op", "unfinished"}}}, 4, &Row::forward) == "tiled");
  CHECK(chosen({Preference::native, {{"other", "library"}}}, 4, &Row::forward) == "tiled");
}

TEST_CASE("choose takes a row of a lower precision only where it is allowed or named", "[policy]") {
  Policy policy = native;
  CHECK(chosen(policy, 4, &Row::forward) == "tiled");
  policy.precision = Precision::tf32;
  CHECK(chosen(policy, 4, &Row::forward) == "tf32");
  CHECK(chosen(policy, 3, &Row::forward) == "naive");
  policy.precision = Precision::bf16;
  CHECK(chosen(policy, 4, &Row::forward) == "bf16");
  CHECK(chosen({Preference::native, {{"op", "tf32"}}}, 4, &Row::forward) == "tf32");
  CHECK(kernels::precision_of(policy_test::table[5]) == Precision::tf32);
  CHECK(kernels::precision_of(3) == Precision::fp32);  // a row type that has no word about it
}

TEST_CASE("the pointwise convolution's rows by precision", "[policy]") {
  using kernels::Bf16, kernels::PointwiseConv, kernels::PointwiseConvOf;
  const kernels::PointwiseConvShape many = {32768, 128, 128}, few = {16, 512, 512};
  Policy policy = native;
  const auto name = [&](const kernels::PointwiseConvShape& s) {
    return std::string(kernels::choose(DeviceType::cpu, policy, s, &PointwiseConv::forward).name);
  };
  CHECK(name(many) == "async");
  CHECK(name(few) == "split_k");
  policy.precision = Precision::tf32;
  CHECK(name(many) == "tf32");
  policy.precision = Precision::bf16;  // float arrays that are left, as a classifier's, may be rounded less
  CHECK(name(many) == "tf32");
  CHECK(std::string(kernels::choose(DeviceType::cpu, policy, many, &PointwiseConvOf<Bf16>::forward).name) == "bf16");
}

TEST_CASE("choose says so where no row has the shape", "[policy]") {
  try {
    chosen(native, -2, &Row::forward);
    FAIL("nothing was thrown");
  } catch (const kernels::Error& error) {
    check_has(error.what(), "op: no implementation supports this shape");
  }
}

TEST_CASE("parse_policy reads preferences and names", "[policy]") {
  const auto parse = [](const std::string& text) { return kernels::parse_policy(text, DeviceType::cpu); };
  CHECK(parse("auto").preference == Preference::automatic);
  CHECK(parse("native").preference == Preference::native);
  CHECK(parse("vendor").preference == Preference::vendor);
  CHECK(parse("auto").named.empty());
  CHECK(parse("relu6=naive").preference == Preference::automatic);
  using Names = std::map<std::string, std::string>;
  CHECK(parse("relu6=naive,batchnorm=split").named == Names{{"relu6", "naive"}, {"batchnorm", "split"}});
  CHECK(parse("vendor,adam=vectorised").preference == Preference::vendor);
  CHECK(parse("vendor,adam=vectorised").named == Names{{"adam", "vectorised"}});
}

TEST_CASE("parse_policy names the wrong word and what would be right", "[policy]") {
  for (const char* text : {"fast", "native,fast", "fast,native"}) {
    check_has(message_of(text), "\"fast\"");
    check_has(message_of(text), "auto, native, vendor");
  }
  check_has(message_of("Native"), "\"Native\"");
  check_has(message_of("relu7=naive"), "\"relu7\"");
  check_has(message_of("relu7=naive"), "adam, add, augment, batchnorm");
  check_has(message_of("relu6=fast"), "relu6 has no implementation \"fast\"");
  check_has(message_of("relu6=fast"), "naive, vectorised");
  check_has(message_of("relu6=naive,adam=warp"), "adam has no implementation \"warp\"");
  check_has(message_of("relu6="), "\"\"");
  check_has(message_of("=naive"), "no operation \"\"");
  for (const char* text : {"", ",", "native,", "native,,vendor"}) check_has(message_of(text), "\"\"");
  check_has(message_of(" native"), "\" native\"");
}

TEST_CASE("every operation has rows with names of their own, naive first", "[policy]") {
  const auto all = kernels::all_rows(DeviceType::cpu);
  CHECK(all.size() == 12);
  for (const auto& entry : all) {
    INFO(entry.first);
    CHECK(entry.second.front() == "naive");
    CHECK(std::set<std::string>(entry.second.begin(), entry.second.end()).size() == entry.second.size());
  }
#ifndef MOBILENET_CUDA
  CHECK_THROWS_AS(kernels::all_rows(DeviceType::cuda), kernels::Error);
#endif
}
