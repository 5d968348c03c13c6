// Small CIFAR sets, made up.
#pragma once

#include <vector>

#include "files.h"

// The byte of channel c at (y, x) in record r of a made-up file that starts with record `start`.
inline uint8_t made_up_pixel(int record, int c, int y, int x) { return uint8_t(record * 71 + c * 85 + y * 7 + x * 3); }

// Records first, first + 1, … of a file: each label bytes (labels[i] last, 7 before it) and three planes.
inline std::vector<uint8_t> made_up_records(int first, const std::vector<int>& labels, int label_bytes) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i < labels.size(); ++i) {
    for (int b = 1; b < label_bytes; ++b) bytes.push_back(7);
    bytes.push_back(uint8_t(labels[i]));
    for (int c = 0; c < 3; ++c) {
      for (int y = 0; y < 32; ++y) {
        for (int x = 0; x < 32; ++x) bytes.push_back(made_up_pixel(first + int(i), c, y, x));
      }
    }
  }
  return bytes;
}

// CIFAR-10: two records in each of the five training files, labels 0 … 9 in order, and three test records.
inline void make_cifar10(const std::filesystem::path& folder) {
  for (int batch = 0; batch < 5; ++batch) {
    write_bytes(folder / ("data_batch_" + std::to_string(batch + 1) + ".bin"),
                made_up_records(2 * batch, {2 * batch, 2 * batch + 1}, 1));
  }
  write_bytes(folder / "test_batch.bin", made_up_records(100, {9, 0, 5}, 1));
}

// CIFAR-100: four training and two test records.
inline void make_cifar100(const std::filesystem::path& folder) {
  write_bytes(folder / "train.bin", made_up_records(0, {99, 0, 50, 1}, 2));
  write_bytes(folder / "test.bin", made_up_records(100, {98, 2}, 2));
}
