// Random numbers without a state: a counter-based generator maps a key (the seed) and a counter (what the numbers are
// for) to random bits, so that every thread, on every device, can draw its own.
#pragma once

#include <cstdint>

#include "kernels/common/host_device.h"

namespace kernels {

struct PhiloxWords {
  uint32_t word[4];
};

// Philox4x32-10. J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011,
// section 4. The constants are those of the authors' Random123 library, whose known answers the tests check. Its key
// words are the seed's low and high half.
HOST_DEVICE constexpr PhiloxWords philox4x32_10(PhiloxWords counter, uint64_t seed) {
  uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter.word[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter.word[2];
    counter = {{static_cast<uint32_t>(product1 >> 32) ^ counter.word[1] ^ key0, static_cast<uint32_t>(product1),
                static_cast<uint32_t>(product0 >> 32) ^ counter.word[3] ^ key1, static_cast<uint32_t>(product0)}};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return counter;
}

}  // namespace kernels
