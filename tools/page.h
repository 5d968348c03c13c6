// A page for the browser that is one file and needs nothing else: no network, no font, no library.
#pragma once

#include <string>

namespace tools {

// Text as it may stand in HTML, between tags or in an attribute's quotes. What is no UTF-8 becomes U+FFFD.
std::string escaped(const std::string& text);

// The whole page, with the style and the script that all pages share. `title` is text, `body` is HTML. Light or dark as
// the reader's system is; for paper, light.
std::string page(const std::string& title, const std::string& body);

}  // namespace tools
