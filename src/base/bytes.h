// Little-endian encoding, and the bounds-checked reader that decodes all untrusted bytes.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "lamina/uuid.h"

namespace lamina {

static_assert(std::endian::native == std::endian::little, "numbers are copied without swapping");

/// Appends numbers to a growing buffer, little-endian.
class ByteWriter {
 public:
  ByteWriter() = default;
  explicit ByteWriter(std::size_t expected_bytes) { bytes_.reserve(expected_bytes); }

  template <std::unsigned_integral T>
  void put(T value) {
    put_column(std::span<const T>(&value, 1));
  }
  void put(const Uuid& id) { put_bytes(std::as_bytes(std::span(id.bytes))); }
  void put_bytes(std::span<const std::byte> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  /// Appends all of `values`.
  template <std::unsigned_integral T>
  void put_column(std::span<const T> values) {
    put_bytes(std::as_bytes(values));
  }
  void put_zeros_until(std::size_t size) {
    if (bytes_.size() < size) bytes_.resize(size);
  }

  [[nodiscard]] std::size_t size() const { return bytes_.size(); }
  [[nodiscard]] std::span<const std::byte> view() const { return bytes_; }
  [[nodiscard]] std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

/// Reads numbers from a buffer that it does not own. A read past the end yields zeros and makes
/// ok() false from then on, so a decoder can read a group of fields and check once.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : rest_(bytes) {}

  template <std::unsigned_integral T>
  T get() {
    T value = 0;
    const auto bytes = get_bytes(sizeof(T));
    if (!bytes.empty()) std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }
  Uuid get_uuid() {
    Uuid id;
    const auto bytes = get_bytes(id.bytes.size());
    if (!bytes.empty()) std::memcpy(id.bytes.data(), bytes.data(), bytes.size());
    return id;
  }
  /// The next `count` bytes. If fewer are left: an empty span, and !ok().
  std::span<const std::byte> get_bytes(std::size_t count) {
    if (count > rest_.size()) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    const auto bytes = rest_.first(count);
    rest_ = rest_.subspan(count);
    return bytes;
  }
  /// `count` numbers. The caller has checked `count` against the bytes that remain.
  template <std::unsigned_integral T>
  std::vector<T> get_column(std::size_t count) {
    if (count > rest_.size() / sizeof(T)) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    std::vector<T> values(count);
    const auto bytes = get_bytes(count * sizeof(T));
    if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }

  [[nodiscard]] std::size_t remaining() const { return rest_.size(); }
  [[nodiscard]] bool ok() const { return ok_; }

 private:
  std::span<const std::byte> rest_;
  bool ok_ = true;
};

}  // namespace lamina
