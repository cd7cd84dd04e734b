// A keyring: the wrapped keys of objects, apart from the objects.
//
// Each object has a random key. The keyring seals these keys with a random key of its own, and that
// one is wrapped by the tenant's key, once. So the tenant's key is asked once for a keyring,
// however many objects it is for, and a change of the tenant's key rewrites the keyring alone.
// Destroying the tenant's key destroys what it wraps. The bytes are described in docs/format.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "packed/data_key.h"
#include "packed/keys.h"

namespace lamina::packed {

inline constexpr std::uint64_t kMaxKeyringBytes = std::uint64_t{64} << 20;

/// Keys by the names of their objects.
using ObjectKeys = std::map<std::string, DataKey>;

/// A keyring of `keys`, for the tenant's key `tenant`. Errors are those of the tenant's key.
Result<std::vector<std::byte>> encode_keyring(const ObjectKeys& keys, KeyWrapper& tenant);

/// What a keyring says about the tenant's key.
struct KeyringFacts {
  WrapAlgorithm algorithm = WrapAlgorithm::kAes256Gcm;
  std::string key_id;
};

/// kCorrupt: not a whole keyring.
Result<KeyringFacts> keyring_facts(std::span<const std::byte> bytes);

/// Success if `tenant` is the key that the keyring is for: by its id, or, of a key command, because
/// it unwraps the keyring's key. kCorrupt: not a whole keyring; kPermission: it is for another key;
/// kFailed: the command does not unwrap it.
Status check_keyring_key(std::span<const std::byte> bytes, KeyWrapper& tenant);

/// Opens a keyring. kCorrupt: it was altered; kPermission: it is for another key of a tenant, which
/// the message names.
Result<ObjectKeys> open_keyring(std::span<const std::byte> bytes, KeyWrapper& tenant);

/// The same keyring, for another key of the tenant. Errors as for open_keyring().
Result<std::vector<std::byte>> rewrap_keyring(std::span<const std::byte> bytes, KeyWrapper& before,
                                              KeyWrapper& after);

}  // namespace lamina::packed
