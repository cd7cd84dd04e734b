// Sealing (encryption and authentication) of the parts of an object: its frames and its index.
//
// Each object has a random key of its own, so the nonces need only differ within the object: they
// are the part's kind and number. What identifies a part goes into the associated data: the format,
// the object's name, the number of the part and how many there are, and lengths. A part that is
// moved to another place, to another object, or into an object of another length does not open. The
// bytes are described in docs/format.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lamina/result.h"
#include "packed/aes_gcm.h"
#include "packed/data_key.h"

namespace lamina::packed {

/// How an object is sealed. The values are those of the formats.
enum class SealAlgorithm : std::uint8_t { kNone = 0, kAes256Gcm = 1 };

inline constexpr std::uint8_t kLastSealAlgorithm = 1;

/// What every part of an object is bound to.
struct SealedObject {
  std::string_view format;  ///< the magic of the object's format; 8 characters
  std::uint32_t version = 0;
  std::string name;
  std::uint64_t frame_count = 0;
};

enum class PartKind : std::uint32_t { kFrame = 0, kIndex = 1 };

/// One part of an object.
struct Part {
  PartKind kind = PartKind::kFrame;
  std::uint64_t number = 0;  ///< of the frame; 0 for the index
  std::uint32_t method = 0;  ///< of a frame
  std::uint32_t blocks = 0;  ///< of a frame
};

/// Seals and opens the parts of one object. Not thread-safe.
class Sealer {
 public:
  static Result<Sealer> create(const DataKey& key, const SealedObject& object);

  /// Encrypts all but the last kTagBytes of `bytes` in place, and writes the tag there. A part may
  /// be sealed once only; a writer that starts again needs a new key.
  Status seal(const Part& part, std::span<std::byte> bytes);

  /// Decrypts `sealed` into `plain`, which is smaller by kTagBytes. False if `sealed` was altered,
  /// is another part, or belongs to another object. REQUIRES: sealed.size() >= kTagBytes.
  Result<bool> open(const Part& part, std::span<const std::byte> sealed,
                    std::span<std::byte> plain);

 private:
  Sealer(AesGcm cipher, std::vector<std::byte> identity)
      : cipher_(std::move(cipher)), identity_(std::move(identity)) {}

  [[nodiscard]] std::span<const std::byte> associated_data(const Part& part, std::size_t length);

  AesGcm cipher_;
  std::vector<std::byte> identity_;    ///< the beginning of the associated data of every part
  std::vector<std::byte> associated_;  ///< of the part at hand
};

}  // namespace lamina::packed
