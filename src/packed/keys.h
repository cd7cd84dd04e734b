// The tenant's key, which wraps the keys of objects: a key file, or a command that asks a key
// management service.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "packed/data_key.h"

namespace lamina::packed {

/// How a key is wrapped. The values are those of the keyring's format.
enum class WrapAlgorithm : std::uint8_t {
  kAes256Gcm = 1,  ///< by a key file: nonce, encrypted key, tag
  kCommand = 2,    ///< by a command: whatever it printed
};

inline constexpr std::uint8_t kFirstWrapAlgorithm = 1;
inline constexpr std::uint8_t kLastWrapAlgorithm = 2;
inline constexpr std::size_t kMaxKeyIdBytes = 200;
inline constexpr std::size_t kMaxWrappedKeyBytes = 4096;

/// Wraps and unwraps keys. Not thread-safe.
class KeyWrapper {
 public:
  KeyWrapper() = default;
  KeyWrapper(const KeyWrapper&) = delete;
  KeyWrapper& operator=(const KeyWrapper&) = delete;
  KeyWrapper(KeyWrapper&&) = delete;
  KeyWrapper& operator=(KeyWrapper&&) = delete;
  virtual ~KeyWrapper() = default;

  [[nodiscard]] virtual WrapAlgorithm algorithm() const = 0;
  /// Names the tenant's key, and says nothing about it; empty if unknown.
  [[nodiscard]] virtual const std::string& key_id() const = 0;
  /// True if unwrap() unwraps what the key of this id wrapped: older keys of a key file too.
  [[nodiscard]] virtual bool opens(const std::string& id) const { return id == key_id(); }
  /// At most kMaxWrappedKeyBytes.
  virtual Result<std::vector<std::byte>> wrap(const DataKey& key) = 0;
  /// kPermission: `wrapped` was not wrapped by this key, or was altered.
  virtual Result<DataKey> unwrap(std::span<const std::byte> wrapped) = 0;
};

/// A key file has at most so many keys.
inline constexpr std::size_t kMaxKeysOfFile = 16;

/// Reads a key file: 32 bytes, or lines of 64 hexadecimal digits, of which the last may lack its
/// newline. The first key wraps, all of them unwrap. kPermission if users other than its owner may
/// read or write it; kUsage: not a key file; kNotFound. The id of a key is "file:" and 16 digits
/// that depend on the key.
Result<std::unique_ptr<KeyWrapper>> read_key_file(const std::string& path);

/// A wrapper that runs `command` with sh(1). LAMINA_KEY_OPERATION in its environment is "wrap" or
/// "unwrap". It reads a key of 32 bytes, or a wrapped one of at most 4096, from its standard input,
/// and writes the other to its standard output. It has a minute. Its errors are kFailed.
std::unique_ptr<KeyWrapper> make_key_command(std::string command);

}  // namespace lamina::packed
