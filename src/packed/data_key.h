// Secret keys in memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "lamina/result.h"

namespace lamina::packed {

/// A 256-bit key. Its memory is cleared when it ends. A value; not shared between threads while it
/// changes.
class DataKey {
 public:
  static constexpr std::size_t kBytes = 32;

  /// A new random key. kFailed if the system has no randomness.
  static Result<DataKey> random();

  explicit DataKey(std::span<const std::byte, kBytes> bytes);
  DataKey(const DataKey&) = default;
  DataKey& operator=(const DataKey&) = default;
  DataKey(DataKey&& other) = default;
  DataKey& operator=(DataKey&&) = default;
  ~DataKey();

  [[nodiscard]] std::span<const std::byte, kBytes> bytes() const { return bytes_; }

  /// A number by which a wrong key is recognised before anything is decrypted with it: the first 8
  /// bytes of the SHA-256 of the text "lamina data key" and the key. It says nothing about the key.
  [[nodiscard]] std::uint64_t check_value() const;

 private:
  DataKey() = default;

  std::array<std::byte, kBytes> bytes_{};
};

/// SHA-256 of `label` followed by `bytes`.
std::array<std::byte, 32> sha256(std::string_view label, std::span<const std::byte> bytes);

/// Fills `bytes` with random ones. kFailed if the system has none.
Status fill_randomly(std::span<std::byte> bytes);

/// Overwrites `bytes` with zeros; the compiler does not leave it out.
void clear_secret(std::span<std::byte> bytes);

}  // namespace lamina::packed
