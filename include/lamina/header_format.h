#pragma once

#include <array>
#include <cstdint>

#include "lamina/words.h"

namespace lamina {

/// The formats of a snapshot's header file. All are recognised when reading.
enum class HeaderFormat : std::uint8_t {
  kNative,  ///< lamina's own: checksums, pause id, digest of the VM state
  kV1,      ///< version 1: 64 bytes and records of 40, no checksum
  kV3,      ///< the layout of version 1 with version number 3
};

template <>
inline constexpr std::array kWords<HeaderFormat> = {
    Word<HeaderFormat>{"native", HeaderFormat::kNative},
    Word<HeaderFormat>{"v1", HeaderFormat::kV1}, Word<HeaderFormat>{"v3", HeaderFormat::kV3}};

}  // namespace lamina
