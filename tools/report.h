// A run as a page for the browser.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tools/run_folder.h"

namespace tools {

// One self-contained HTML page that needs no network: curves of loss and accuracy, a table of the epochs, and `config`
// (config.json's object: a table for each of its objects). Light or dark as the reader's system is.
std::string report_html(const std::string& title, const nlohmann::json& config,
                        const std::vector<EpochResult>& history);

// Makes the folder's report.html anew from its other files. Throws as read_run does.
void write_report(const std::filesystem::path& folder);

}  // namespace tools
