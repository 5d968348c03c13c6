#include "engine/nn/state.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "engine/error.h"

namespace engine {
namespace {

// "missing: a, b, c, d, e and 3 more"
void append(std::string& message, const char* what, const std::vector<std::string>& items) {
  constexpr size_t shown = 5;
  if (items.empty()) return;
  message += fmt::format("{}{}: {}", message.empty() ? "" : "; ", what, items[0]);
  for (size_t i = 1; i < std::min(items.size(), shown); ++i) message += ", " + items[i];
  if (items.size() > shown) message += fmt::format(" and {} more", items.size() - shown);
}

}  // namespace

void check_same(const std::vector<Signature>& expected, const std::vector<Signature>& given, std::string_view what) {
  std::map<std::string, const Signature*> left;
  for (const Signature& s : given)
    if (!left.emplace(s.name, &s).second) throw InputError(what, "there are two tensors of the name " + s.name);
  std::vector<std::string> missing, unexpected, different;
  for (const Signature& s : expected) {
    const auto found = left.find(s.name);
    if (found == left.end()) {
      missing.push_back(s.name);
      continue;
    }
    const Signature& g = *found->second;
    if (g.shape != s.shape || g.dtype != s.dtype)
      different.push_back(
          fmt::format("{} is {} {}, expected {} {}", s.name, g.dtype, to_string(g.shape), s.dtype, to_string(s.shape)));
    left.erase(found);
  }
  for (const auto& [name, s] : left) unexpected.push_back(name);
  std::string message;
  append(message, "missing", missing);
  append(message, "unexpected", unexpected);
  append(message, "different", different);
  if (!message.empty()) throw InputError(what, message);
}

void copy_state(const State& to, const State& from, std::string_view what) {
  const auto signatures = [](const State& state) {
    std::vector<Signature> all;
    for (const NamedTensor& n : state) all.push_back({n.name, to_string(n.tensor.dtype()), n.tensor.shape()});
    return all;
  };
  check_same(signatures(to), signatures(from), what);
  std::map<std::string_view, const NamedTensor*> by_name;
  for (const NamedTensor& n : from) by_name[n.name] = &n;
  for (const NamedTensor& n : to) Tensor(n.tensor).copy_from(by_name.at(n.name)->tensor);
}

}  // namespace engine
