#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

#include "data/dataset.h"
#include "data/error.h"

namespace data {

struct OpenOptions {
  size_t shapes_train = 10000, shapes_test = 2000;  // how many images of the built-in set
  uint64_t shapes_seed = 0;  // which ones; not the training's seed: the test images should stay the same
  size_t limit = 0;          // not 0: the first so many training images, and of the test images the same share
  int resolution = 32;       // side of an image folder's images; the other sets have a size of their own
  int threads = 0;           // that decode an image folder; 0: one a core
  bool download = false;     // fetch cifar10 or cifar100 where it is not found (auto: cifar10); see data/download.h
  std::string url{};         // from here; empty: from its authors
  Progress progress{};       // of whatever takes long
};

struct Opened {
  Split split;
  std::string name;     // "shapes", "cifar10", "cifar100" or "images": what was opened
  std::string message;  // one line for the user: which set, from where, how many images and, after "auto", why this one
};

// Opens what --data names:
//   shapes             the built-in set (data/shapes.h)
//   cifar10, cifar100  the official binary files (data/cifar.h) in data_folder()
//   auto               cifar10 where data_folder() has it, else shapes
//   a folder           CIFAR-10's or CIFAR-100's binary files in it, or folders of images (data/image_folder.h)
// Where data_folder() lacks a CIFAR set but holds its official archive, that is checked and unpacked. Throws
// data::Error where there is no such set, saying what was expected and where.
Opened open(const std::string& name_or_folder, const OpenOptions& options = {});

// Where data sets live: $MOBILENET_DATA, else $XDG_CACHE_HOME/mobilenet, else $HOME/.cache/mobilenet; empty where none
// is set.
std::filesystem::path data_folder();

}  // namespace data
