#include <algorithm>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "kernels/adam/adam.h"
#include "kernels/add/add.h"
#include "kernels/augment/augment.h"
#include "kernels/batchnorm/batchnorm.h"
#include "kernels/conv2d/conv2d.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/depthwise_conv/depthwise_conv.h"
#include "kernels/global_avg_pool/global_avg_pool.h"
#include "kernels/linear/linear.h"
#include "kernels/loss_totals/loss_totals.h"
#include "kernels/pointwise_conv/pointwise_conv.h"
#include "kernels/relu6/relu6.h"

namespace kernels {
namespace {

template <class Row>
void list_rows(DeviceType device, std::map<std::string, std::vector<std::string>>& all) {
  auto& names = all[Row::operation];
  for (const Row& row : implementations<Row>(device))
    if (std::find(names.begin(), names.end(), row.name) == names.end()) names.emplace_back(row.name);
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

}  // namespace

std::map<std::string, std::vector<std::string>> all_rows(DeviceType device) {
  std::map<std::string, std::vector<std::string>> all;
  list_rows<DepthwiseConv>(device, all);
  list_rows<PointwiseConv>(device, all);
  list_rows<PointwiseConvOf<Bf16>>(device, all);
  list_rows<Conv2d>(device, all);
  list_rows<BatchNorm>(device, all);
  list_rows<Relu6>(device, all);
  list_rows<GlobalAvgPool>(device, all);
  list_rows<Linear>(device, all);
  list_rows<CrossEntropy>(device, all);
  list_rows<LossTotals>(device, all);
  list_rows<Adam>(device, all);
  list_rows<Add>(device, all);
  list_rows<Augment>(device, all);
  return all;
}

Policy parse_policy(const std::string& text, DeviceType device) {
  const auto all = all_rows(device);
  Policy policy;
  std::istringstream words(text + ',');  // so that an empty word at the end, or nothing at all, is a word too
  for (std::string word; std::getline(words, word, ',');) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos) {
      if (word == "auto") {
        policy.preference = Policy::Preference::automatic;
      } else if (word == "native") {
        policy.preference = Policy::Preference::native;
      } else if (word == "vendor") {
        policy.preference = Policy::Preference::vendor;
      } else {
        throw std::invalid_argument("kernels: \"" + word + "\" is none of auto, native, vendor and OP=NAME");
      }
      continue;
    }
    const std::string operation = word.substr(0, equals), row = word.substr(equals + 1);
    const auto found = all.find(operation);
    if (found == all.end()) {
      std::vector<std::string> operations;
      for (const auto& entry : all) operations.push_back(entry.first);
      throw std::invalid_argument("kernels: there is no operation \"" + operation + "\"; there are " +
                                  joined(operations));
    }
    if (std::find(found->second.begin(), found->second.end(), row) == found->second.end())
      throw std::invalid_argument("kernels: " + operation + " has no implementation \"" + row + "\"; it has " +
                                  joined(found->second));
    policy.named[operation] = row;
  }
  return policy;
}

}  // namespace kernels
