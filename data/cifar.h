#pragma once

#include <filesystem>
#include <string>

#include "data/dataset.h"

namespace data {

// The binary versions of A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009
// (https://www.cs.toronto.edu/~kriz/cifar.html): 32×32 RGB. A file is a sequence of records, each one label byte
// (CIFAR-100: two, coarse and fine; the fine one is used) and 3072 bytes, the red, green and blue planes in turn.
//   CIFAR-10:  data_batch_1.bin … data_batch_5.bin, test_batch.bin; class names in batches.meta.txt
//   CIFAR-100: train.bin, test.bin;                                 class names in fine_label_names.txt
// How many records a file holds follows from its size, so subsets read as well. Where the names' file is missing the
// standard names are used.
enum class Cifar { cifar10, cifar100 };

// The folder that holds any of the set's .bin files: `folder` itself or the one in it that the official archive unpacks
// to (cifar-10-batches-bin, cifar-100-binary). Empty where neither does.
std::filesystem::path find_cifar(const std::filesystem::path& folder, Cifar which);

// Reads the set from where find_cifar finds it. Throws data::Error where a file is missing, is not a whole number of
// records (at least one), or holds a label that is out of range.
Split read_cifar(const std::filesystem::path& folder, Cifar which);

// For messages: "data_batch_1.bin … data_batch_5.bin and test_batch.bin (CIFAR-10, binary version)".
std::string cifar_files(Cifar which);
std::string cifar_folder(Cifar which);  // "cifar-10-batches-bin"

}  // namespace data
