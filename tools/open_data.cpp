#include "tools/open_data.h"

#include <CLI/CLI.hpp>

#include "tools/progress.h"

namespace tools {

void add_options(CLI::App& app, DownloadOptions& o) {
  CLI::Option* download =
      app.add_flag("--download", o.download, "fetch cifar10 or cifar100 where it is not there yet (162 and 161 MiB)");
  app.add_option("--url", o.url, "with --download: fetch it from here (http, https or file), not from its authors")
      ->needs(download);
}

data::Opened open_data(const std::string& name_or_folder, int resolution, int64_t limit, const DownloadOptions& o,
                       const Interrupt* interrupt) {
  Progress progress;
  const auto show = [&](const char* what, int64_t done, int64_t total) {
    progress.show({.label = what, .done = done, .total = total, .details = {}});
    return interrupt == nullptr || !interrupt->requested();
  };
  data::Opened opened = data::open(name_or_folder, {.limit = static_cast<size_t>(limit),
                                                    .resolution = resolution,
                                                    .download = o.download,
                                                    .url = o.url,
                                                    .progress = show});
  progress.clear();
  return opened;
}

}  // namespace tools
