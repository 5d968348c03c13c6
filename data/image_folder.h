#pragma once

#include <filesystem>

#include "data/dataset.h"
#include "data/error.h"

namespace data {

// A set as folders of image files:
//   FOLDER/train/CLASS/…, FOLDER/test/CLASS/…
// Class names are the folders' names, sorted bytewise; train and test have the same ones. An image file is one that
// read_image (data/image.h) reads, whatever it is called, at any depth below its class's folder; links are followed.
// Names that start with a dot are passed over. Anything else there is an error, and so is a class without images.
bool is_image_folder(const std::filesystem::path& folder);  // has a folder train or test

struct ImageFolderOptions {
  int resolution = 32;  // side R of the images: resized and cropped to the middle (resize_and_crop)
  int threads = 0;      // that decode; 0: one a core
  Progress progress{};  // "images read", of both parts
};

// The images are in an order that depends on the files' names alone, in which every beginning has about its share of
// every class: the order of take(). Throws data::Error; of several files that cannot be read, it names the first in
// order of names. Where all images would not fit into the memory that is free, it says so before it decodes any.
Split read_image_folder(const std::filesystem::path& folder, const ImageFolderOptions& options);

// Memory that this process can still take, in bytes: what the system has available, or what the limit of its control
// group (version 1 or 2) leaves where that is less. The largest number where neither is known.
uint64_t available_memory();

}  // namespace data
