#include "report.h"

#include <cxxabi.h>
#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <sstream>

namespace simt::detail {
namespace {

template <class V>
std::string text(const V& v) {
  std::ostringstream out;
  out << '(' << v.x << ',' << v.y << ',' << v.z << ')';
  return out.str();
}

std::string text(unsigned mask) {
  std::ostringstream out;
  out << "0x" << std::hex << mask;
  return out.str();
}

std::string kernel_and_block(const Launch& launch, uint3 block) {
  return "kernel " + kernel_name(launch.call.kernel) + ", block " + text(block) + " of " + text(launch.grid);
}

bool same(const ThreadState& a, const ThreadState& b) { return a.waits_at == b.waits_at && a.mask == b.mask; }

// "0-31, 40"
std::string ranges(const std::vector<unsigned>& numbers) {
  std::ostringstream out;
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t end = i + 1;
    while (end < numbers.size() && numbers[end] == numbers[end - 1] + 1) ++end;
    out << (i == 0 ? "" : ", ") << numbers[i];
    if (end > i + 1) out << '-' << numbers[end - 1];
    i = end;
  }
  return out.str();
}

}  // namespace

std::string kernel_name(void (*kernel)()) {
  void* address = reinterpret_cast<void*>(kernel);
  std::ostringstream out;
  Dl_info info;
  if (dladdr(address, &info) == 0) {
    out << "at " << address;
  } else if (info.dli_sname == nullptr || info.dli_saddr != address) {
    out << "at " << info.dli_fname << "+0x" << std::hex
        << static_cast<char*>(address) - static_cast<char*>(info.dli_fbase);  // for addr2line
  } else {
    int status = 0;
    char* demangled = abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status);
    out << (demangled != nullptr ? demangled : info.dli_sname);
    std::free(demangled);
  }
  return out.str();
}

std::string failure_in_thread(const Launch& launch, uint3 block, uint3 thread, const std::string& what) {
  return kernel_and_block(launch, block) + ", thread " + text(thread) + ": " + what;
}

std::string outside_mask(const char* operation, unsigned mask) {
  return std::string(operation) + " with mask " + text(mask) + ", which does not name the calling lane";
}

std::string deadlock(const Launch& launch, uint3 block, const std::vector<ThreadState>& threads) {
  // One entry a state, in the order in which the states first occur.
  std::vector<ThreadState> states;
  std::vector<std::vector<unsigned>> members;
  for (unsigned i = 0; i < threads.size(); ++i) {
    std::size_t s = 0;
    while (s < states.size() && !same(states[s], threads[i])) ++s;
    if (s == states.size()) {
      states.push_back(threads[i]);
      members.emplace_back();
    }
    members[s].push_back(i);
  }

  std::string message = kernel_and_block(launch, block) + ", threads " + text(launch.block) + ": no thread can go on:";
  for (std::size_t s = 0; s < states.size(); ++s) {
    message += s == 0 ? " " : "; ";
    bool one = members[s].size() == 1;
    message += (one ? "thread " : "threads ") + ranges(members[s]);
    if (states[s].waits_at == nullptr) {
      message += one ? " has ended" : " have ended";
    } else {
      message += std::string(one ? " waits" : " wait") + " at " + states[s].waits_at;
      if (states[s].mask != 0) message += "(mask " + text(states[s].mask) + ")";
    }
  }
  return message;
}

}  // namespace simt::detail
