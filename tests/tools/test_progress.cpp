// The lines of the progress bar, and of metrics.csv.
#include "tools/progress.h"

#include <cmath>

#include "catch.h"
#include "program.h"
#include "tools/run_folder.h"

using namespace tools;

namespace {

int width(const std::string& text) {
  int columns = 0;
  for (const char c : text) columns += (static_cast<unsigned char>(c) & 0xC0) != 0x80;  // UTF-8
  return columns;
}

int count(const std::string& text, const std::string& part) {
  int n = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; ++at) ++n;
  return n;
}

const ProgressState state{"epoch 3/20", 30, 40, {"loss 1.2345", "accuracy 56.7 %", "812 images/s"}, 3725};

}  // namespace

TEST_CASE("durations read as on a clock") {
  CHECK(duration(0) == "0:00");
  CHECK(duration(7.4) == "0:07");
  CHECK(duration(59.6) == "1:00");
  CHECK(duration(725) == "12:05");
  CHECK(duration(3600 * 3 + 65) == "3:01:05");
  CHECK(duration(-1) == "0:00");
}

TEST_CASE("a progress line fits any width and says as much as fits") {
  for (int columns = 0; columns <= 200; ++columns) {
    CAPTURE(columns, progress_line(state, columns));
    CHECK(width(progress_line(state, columns)) <= columns);
  }
  const std::string wide = progress_line(state, 120);
  for (const char* part : {"epoch 3/20", "30/40", "loss 1.2345", "accuracy 56.7 %", "812 images/s", "1:02:05 left"})
    CHECK(program::contains(wide, part));
  CHECK(count(wide, "━") == 3 * count(wide, "─"));  // 30 of 40
  const std::string narrow = progress_line(state, 60);
  CHECK(program::contains(narrow, "loss"));  // the most important detail stays longest
  CHECK(!program::contains(narrow, "images/s"));
  CHECK(plain_line(state) == "epoch 3/20  step 30/40  loss 1.2345  accuracy 56.7 %  812 images/s  1:02:05 left");
}

TEST_CASE("metrics.csv has a row an epoch, and NaN for what is no number") {
  const std::string csv = metrics_csv({{1, 2.25, 0.125, std::nan(""), 0.25, 0.001, 812.25, 61, 0.5}});
  CHECK(csv ==
        "epoch,train_loss,train_accuracy,val_loss,accuracy,lr,images_per_second,seconds,data_wait\n"
        "1,2.25,0.125,nan,0.25,0.001,812.25,61,0.5\n");
}

TEST_CASE("an epoch's result survives JSON, NaN too") {
  const EpochResult r{7, 1.0 / 3, 0.1, std::nan(""), 0.2, 1e-3, 812.3, 61.7};
  const EpochResult back = epoch_result(nlohmann::json::parse(to_json(r).dump()));
  CHECK(back.epoch == 7);
  CHECK(back.train_loss == r.train_loss);
  CHECK(std::isnan(back.val_loss));
  CHECK(back.seconds == r.seconds);
}
