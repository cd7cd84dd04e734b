// Where builds are kept: a directory (build_directory.h), or an object store (build_bucket.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "lamina/result.h"
#include "lamina/uuid.h"

namespace lamina::e2b {

/// An object of a build, to be read from the beginning to the end. Not thread-safe.
class StoredObject {
 public:
  StoredObject() = default;
  StoredObject(const StoredObject&) = delete;
  StoredObject& operator=(const StoredObject&) = delete;
  StoredObject(StoredObject&&) = delete;
  StoredObject& operator=(StoredObject&&) = delete;
  virtual ~StoredObject() = default;

  [[nodiscard]] virtual std::uint64_t size_bytes() const = 0;

  /// Says that read() will be called for these bytes, so that they can be fetched before. REQUIRES:
  /// the ranges ascend, do not overlap, and are inside the object.
  virtual void announce(std::uint64_t offset, std::uint64_t length) = 0;

  /// Reads bytes. REQUIRES: they were announced with this offset and length, and all that were
  /// announced before have been read. kCorrupt: the object has become shorter.
  virtual Status read(std::uint64_t offset, std::span<std::byte> into) = 0;
};

/// Reads only. Not thread-safe.
class ObjectSource {
 public:
  ObjectSource() = default;
  ObjectSource(const ObjectSource&) = delete;
  ObjectSource& operator=(const ObjectSource&) = delete;
  ObjectSource(ObjectSource&&) = delete;
  ObjectSource& operator=(ObjectSource&&) = delete;
  virtual ~ObjectSource() = default;

  /// The name of an object for messages: its path or URL.
  [[nodiscard]] virtual std::string path_of(const Uuid& build, const std::string& name) const = 0;

  /// Opens an object of a build, which must not outlive the source. Null: it certainly does not
  /// exist. A failure to find out is an error, of another kind than kNotFound.
  virtual Result<std::unique_ptr<StoredObject>> open(const Uuid& build,
                                                     const std::string& name) = 0;

  /// Whether there is an object of that name.
  virtual Result<bool> exists(const Uuid& build, const std::string& name) = 0;
};

}  // namespace lamina::e2b
