#include "format/header_codec.h"

#include "base/bytes.h"
#include "base/error.h"
#include "format/header_native.h"
#include "format/header_v1.h"

namespace lamina::format {

Result<Header> decode_header(std::span<const std::byte> bytes) {
  if (is_native_header(bytes)) return decode_native_header(bytes);
  if (is_v1_header(bytes)) {
    LAMINA_ASSIGN_OR_RETURN(const HeaderV1 raw, decode_v1(bytes));
    return to_header(raw);
  }
  if (bytes.size() < sizeof(std::uint64_t)) {
    return fail(ErrorKind::kCorrupt, "the header has only {} bytes: it is truncated", bytes.size());
  }
  return fail(ErrorKind::kCorrupt,
              "the header begins with {:#x}, which is neither the native magic nor version 1 or 3",
              ByteReader(bytes).get<std::uint64_t>());
}

Result<std::vector<std::byte>> encode_header(const Header& header) {
  if (header.format == HeaderFormat::kNative) return encode_native_header(header);
  return encode_v1(from_header(header));
}

}  // namespace lamina::format
