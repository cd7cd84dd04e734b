#include "format/checksum.h"

#include <xxhash.h>

#include <algorithm>

namespace lamina::format {

std::uint64_t checksum64(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

Digest128 digest128(std::span<const std::byte> bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  Digest128 digest{};
  std::copy_n(static_cast<const unsigned char*>(canonical.digest), digest.size(), digest.begin());
  return digest;
}

}  // namespace lamina::format
