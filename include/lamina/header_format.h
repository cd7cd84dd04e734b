#pragma once

#include <cstdint>

namespace lamina {

/// The formats of a snapshot's header file. All are recognised when reading.
enum class HeaderFormat : std::uint8_t {
  kNative,  ///< lamina's own: checksums, pause id, digest of the VM state
  kV1,      ///< version 1: 64 bytes and records of 40, no checksum
  kV3,      ///< the layout of version 1 with version number 3
};

}  // namespace lamina
