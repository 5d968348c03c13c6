// Runs as pages for the browser, made from their folders' files alone.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tools/run_folder.h"

namespace tools {

// One run: summary, curves, confusion matrix, accuracy of each class, test images with what was predicted, the first
// layer's filters, all epochs, the configuration. What the run does not have yet is left out.
std::string report_html(const Run&);

// Several runs on one page: a table of their results, their curves over each other, and the options that differ.
std::string comparison_html(const std::vector<Run>&);

// Makes the folder's report.html anew from its other files. Throws as read_run does.
void write_report(const std::filesystem::path& folder);

}  // namespace tools
