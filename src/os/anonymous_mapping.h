#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "lamina/result.h"

namespace lamina::os {

/// Page size of a mapping. Huge pages (if the kernel provides them) are faster; with small pages
/// only written pages use memory.
enum class MappedPages : std::uint8_t { kHuge, kSmall };

/// Private zero-filled memory. Movable; the address of the bytes does not change. A page is
/// allocated when it is first touched.
class AnonymousMapping {
 public:
  AnonymousMapping() = default;
  /// REQUIRES: bytes > 0. `object` names the purpose in error messages.
  static Result<AnonymousMapping> map(std::size_t bytes, const std::string& object,
                                      MappedPages pages = MappedPages::kHuge);

  AnonymousMapping(AnonymousMapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  AnonymousMapping& operator=(AnonymousMapping&& other) noexcept;
  AnonymousMapping(const AnonymousMapping&) = delete;
  AnonymousMapping& operator=(const AnonymousMapping&) = delete;
  ~AnonymousMapping();

  [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

}  // namespace lamina::os
