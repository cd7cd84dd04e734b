// lamina's own header. The bytes are described in docs/format.md.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "format/header.h"
#include "lamina/result.h"

namespace lamina::format {

/// True if `bytes` begin with the native magic.
bool is_native_header(std::span<const std::byte> bytes);

/// Decodes and validates. Detects every truncation and every changed byte (kCorrupt).
Result<Header> decode_native_header(std::span<const std::byte> bytes);

/// How the extents are written.
enum class ExtentForm {
  kColumns,  ///< 10 bytes each. All versions of lamina read it
  kCompact,  ///< usually 2 to 3 bytes each; versions before 0.3 refuse the header
  kShorter,  ///< compact if there are at least kCompactExtents of them and that is shorter
};

/// Fewer extents are not worth a header that earlier versions cannot read.
inline constexpr std::size_t kCompactExtents = 4096;

/// Encodes. REQUIRES: header.layers is parallel to header.mapping.layers(); for kCompact at most
/// kMaxCompactExtents extents.
std::vector<std::byte> encode_native_header(const Header& header,
                                            ExtentForm form = ExtentForm::kShorter);

}  // namespace lamina::format
