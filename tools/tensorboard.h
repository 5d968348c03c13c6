// TensorBoard's event files, for `tensorboard --logdir FOLDER`.
//
// A file is a TFRecord file: for each record its length (8 bytes, little-endian), the length's masked CRC-32C (4), the
// bytes, and their masked CRC-32C (4); each record is a protobuf message `Event`. Sources: tensorflow's
// core/lib/io/record_writer.h, core/util/event.proto and core/framework/summary.proto.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace tools {

// Writes one event file of its own. A run that goes on opens a new writer in the same folder: what older files there
// say of `first_step` and later steps no longer counts for TensorBoard, which also passes over a record that a killed
// program did not finish.
class TensorboardWriter {
 public:
  // Makes the folder. Throws engine::InputError where it or the file cannot be made.
  TensorboardWriter(const std::filesystem::path& folder, int64_t first_step, double wall_time);

  // One point of the curve `tag` ("train/loss"); `wall_time` in seconds since 1970. It is in the file when this
  // returns. Throws engine::Error where it cannot be written (disk full).
  void scalar(std::string_view tag, int64_t step, double wall_time, double value);

  const std::filesystem::path& path() const { return path_; }

 private:
  void write(const std::string& event);

  std::filesystem::path path_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
};

uint32_t crc32c(std::string_view bytes);  // Castagnoli's, reflected: crc32c("123456789") == 0xe3069283

}  // namespace tools
