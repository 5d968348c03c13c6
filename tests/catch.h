// Catch2 in either generation: Debian 12 has version 2, newer systems version 3.
#pragma once
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Catch::Approx;  // which version 2 has in the global namespace
#else
#include <catch2/catch.hpp>
#endif
