#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "lamina/result.h"

namespace lamina::os {

/// Which pages a mapping is made of: huge ones (where the kernel gives them) are quicker to use,
/// small ones take from the machine only what is written.
enum class MappedPages : std::uint8_t { kHuge, kSmall };

/// Memory of this process alone, zeros at first. Movable; the bytes stay at their address. None of
/// it is taken from the machine before it is touched.
class AnonymousMapping {
 public:
  AnonymousMapping() = default;
  /// REQUIRES: bytes > 0. `object` says in a message what it is for.
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
