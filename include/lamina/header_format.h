#pragma once

#include <cstdint>
#include <string_view>

namespace lamina {

/// The formats of a snapshot's header file. All are recognised when reading.
enum class HeaderFormat : std::uint8_t {
  kNative,  ///< lamina's own: checksums, pause id, digest of the VM state
  kV1,      ///< version 1: 64 bytes and records of 40, no checksum
  kV3,      ///< the layout of version 1 with version number 3
};

/// "native", "v1" or "v3".
std::string_view header_format_name(HeaderFormat format);

}  // namespace lamina
