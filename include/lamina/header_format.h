#pragma once

#include <array>
#include <cstdint>

#include "lamina/words.h"

namespace lamina {

/// The format of a snapshot's header file. A reader recognises the format by itself.
/// docs/format.md describes all three.
enum class HeaderFormat : std::uint8_t {
  kNative,  ///< lamina's own: checksums, pause id, digest of the VM state
  kV1,      ///< wrenn's version 1: 64 bytes and records of 40 bytes, no checksum
  kV3,      ///< the layout of version 1 with version number 3
};

template <>
inline constexpr std::array kWords<HeaderFormat> = {
    Word<HeaderFormat>{"native", HeaderFormat::kNative},
    Word<HeaderFormat>{"v1", HeaderFormat::kV1}, Word<HeaderFormat>{"v3", HeaderFormat::kV3}};

}  // namespace lamina
