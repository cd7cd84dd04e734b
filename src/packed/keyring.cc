#include "packed/keyring.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/bytes.h"
#include "base/error.h"
#include "format/checksum.h"
#include "packed/aes_gcm.h"

namespace lamina::packed {
namespace {

constexpr std::string_view kKeyringMagic = "LAMINAKR";
constexpr std::uint32_t kKeyringVersion = 1;
constexpr std::size_t kKeyringFixedBytes = 32;
constexpr std::size_t kKeyringChecksumBytes = sizeof(std::uint64_t);
constexpr std::size_t kSealedKeyBytes = DataKey::kBytes + kTagBytes;
constexpr std::uint8_t kEntryAlgorithm = 1;  // AES-256-GCM
constexpr std::size_t kMaxObjectNameBytes = 1024;

/// The fields of a keyring, and the entries as they are stored.
struct KeyringParts {
  KeyringFacts facts;
  std::span<const std::byte> wrapped_key;
  std::uint32_t entry_count = 0;
  std::span<const std::byte> entries;
};

Nonce nonce_of_entry(std::uint32_t number) {
  ByteWriter writer;
  writer.put(number);
  writer.put(std::uint64_t{0});
  Nonce nonce{};
  std::copy_n(writer.view().begin(), nonce.size(), nonce.begin());
  return nonce;
}

std::vector<std::byte> identity_of_entry(std::uint32_t number, std::uint32_t count,
                                         std::span<const std::byte> name) {
  ByteWriter writer;
  writer.put_bytes(std::as_bytes(std::span(kKeyringMagic)));
  writer.put(kKeyringVersion);
  writer.put(number);
  writer.put(count);
  writer.put_bytes(name);
  return writer.take();
}

/// Puts a keyring together from entries that are sealed.
Result<std::vector<std::byte>> assemble(const KeyWrapper& tenant,
                                        std::span<const std::byte> wrapped_key,
                                        std::uint32_t entry_count,
                                        std::span<const std::byte> entries) {
  const std::string& key_id = tenant.key_id();
  if (key_id.size() > kMaxKeyIdBytes || wrapped_key.size() > kMaxWrappedKeyBytes) {
    return fail(ErrorKind::kFailed, "a wrapped key of {} bytes, or its id of {}, is too long",
                wrapped_key.size(), key_id.size());
  }
  ByteWriter writer;
  writer.put_bytes(std::as_bytes(std::span(kKeyringMagic)));
  writer.put(kKeyringVersion);
  writer.put(static_cast<std::uint32_t>(kKeyringFixedBytes + key_id.size() + wrapped_key.size() +
                                        entries.size() + kKeyringChecksumBytes));
  writer.put(static_cast<std::uint8_t>(tenant.algorithm()));
  writer.put(kEntryAlgorithm);
  writer.put(static_cast<std::uint16_t>(key_id.size()));
  writer.put(static_cast<std::uint32_t>(wrapped_key.size()));
  writer.put(entry_count);
  writer.put(std::uint32_t{0});
  writer.put_bytes(std::as_bytes(std::span(key_id)));
  writer.put_bytes(wrapped_key);
  writer.put_bytes(entries);
  writer.put(format::checksum64(writer.view()));
  if (writer.size() <= kMaxKeyringBytes) return writer.take();
  return fail(ErrorKind::kUnsupported, "a keyring of {} bytes is not supported; at most {} are",
              writer.size(), kMaxKeyringBytes);
}

Status check_keyring_start(ByteReader& reader, std::span<const std::byte> bytes) {
  const auto magic = reader.get_bytes(kKeyringMagic.size());
  if (!std::equal(magic.begin(), magic.end(), std::as_bytes(std::span(kKeyringMagic)).begin(),
                  std::as_bytes(std::span(kKeyringMagic)).end())) {
    return fail(ErrorKind::kCorrupt, "not a keyring");
  }
  const auto version = reader.get<std::uint32_t>();
  if (version != kKeyringVersion) {
    return fail(ErrorKind::kCorrupt, "the keyring has version {}; this build reads version {}",
                version, kKeyringVersion);
  }
  const auto stated_bytes = reader.get<std::uint32_t>();
  if (!reader.ok() || bytes.size() < kKeyringFixedBytes + kKeyringChecksumBytes ||
      bytes.size() > kMaxKeyringBytes || stated_bytes != bytes.size()) {
    return fail(ErrorKind::kCorrupt, "the keyring has {} bytes, but says {}: it is truncated",
                bytes.size(), stated_bytes);
  }
  const auto covered = bytes.first(bytes.size() - kKeyringChecksumBytes);
  if (ByteReader(bytes.subspan(covered.size())).get<std::uint64_t>() !=
      format::checksum64(covered)) {
    return fail(ErrorKind::kCorrupt, "the keyring does not match its checksum");
  }
  return {};
}

Result<KeyringParts> decode_parts(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  LAMINA_RETURN_IF_ERROR(check_keyring_start(reader, bytes));
  const auto wrap_algorithm = reader.get<std::uint8_t>();
  const auto entry_algorithm = reader.get<std::uint8_t>();
  if (wrap_algorithm < kFirstWrapAlgorithm || wrap_algorithm > kLastWrapAlgorithm ||
      entry_algorithm != kEntryAlgorithm) {
    return fail(ErrorKind::kCorrupt,
                "the keyring uses algorithms {} and {}, which this build does not know",
                wrap_algorithm, entry_algorithm);
  }
  KeyringParts parts;
  parts.facts.algorithm = static_cast<WrapAlgorithm>(wrap_algorithm);
  const auto id_bytes = reader.get<std::uint16_t>();
  const auto wrapped_bytes = reader.get<std::uint32_t>();
  parts.entry_count = reader.get<std::uint32_t>();
  reader.get<std::uint32_t>();  // reserved
  const auto id = reader.get_bytes(id_bytes);
  parts.facts.key_id.assign(reinterpret_cast<const char*>(id.data()), id.size());
  parts.wrapped_key = reader.get_bytes(wrapped_bytes);
  if (!reader.ok() || reader.remaining() < kKeyringChecksumBytes || id_bytes > kMaxKeyIdBytes ||
      wrapped_bytes > kMaxWrappedKeyBytes) {
    return fail(ErrorKind::kCorrupt, "the keyring has a key id of {} bytes, a wrapped key of {}",
                id_bytes, wrapped_bytes);
  }
  parts.entries = reader.get_bytes(reader.remaining() - kKeyringChecksumBytes);
  return parts;
}

Status check_tenant(const KeyringFacts& facts, const KeyWrapper& tenant) {
  const std::string& given = tenant.key_id();
  const std::string& needed = facts.key_id;
  if (facts.algorithm == tenant.algorithm() && tenant.opens(needed)) return {};
  const bool by_command = facts.algorithm == WrapAlgorithm::kCommand;
  return fail(ErrorKind::kPermission, "the keyring is for {}, not for {}",
              by_command ? std::string("a key command") : "the key " + needed,
              tenant.algorithm() == WrapAlgorithm::kCommand ? std::string("a key command")
                                                            : "the key " + given);
}

Result<DataKey> unwrap_keyring_key(const KeyringParts& parts, KeyWrapper& tenant) {
  LAMINA_RETURN_IF_ERROR(check_tenant(parts.facts, tenant));
  return tenant.unwrap(parts.wrapped_key);
}

}  // namespace

Result<std::vector<std::byte>> encode_keyring(const ObjectKeys& keys, KeyWrapper& tenant) {
  LAMINA_ASSIGN_OR_RETURN(const DataKey keyring_key, DataKey::random());
  LAMINA_ASSIGN_OR_RETURN(AesGcm cipher, AesGcm::create(keyring_key));
  const auto count = static_cast<std::uint32_t>(keys.size());
  ByteWriter entries;
  std::uint32_t number = 0;
  for (const auto& [name, key] : keys) {
    if (name.empty() || name.size() > kMaxObjectNameBytes) {
      return fail(ErrorKind::kFailed, "an object's name of {} bytes is not supported", name.size());
    }
    const auto name_bytes = std::as_bytes(std::span(name));
    std::array<std::byte, kSealedKeyBytes> sealed{};
    const auto secret = std::span(sealed).first<DataKey::kBytes>();
    std::copy(key.bytes().begin(), key.bytes().end(), secret.begin());
    LAMINA_RETURN_IF_ERROR(cipher.encrypt(nonce_of_entry(number),
                                          identity_of_entry(number, count, name_bytes), secret,
                                          std::span(sealed).last<kTagBytes>()));
    entries.put(static_cast<std::uint16_t>(name.size()));
    entries.put_bytes(name_bytes);
    entries.put_bytes(sealed);
    ++number;
  }
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> wrapped, tenant.wrap(keyring_key));
  return assemble(tenant, wrapped, count, entries.view());
}

Result<KeyringFacts> keyring_facts(std::span<const std::byte> bytes) {
  LAMINA_ASSIGN_OR_RETURN(KeyringParts parts, decode_parts(bytes));
  return std::move(parts.facts);
}

Status check_keyring_key(std::span<const std::byte> bytes, KeyWrapper& tenant) {
  LAMINA_ASSIGN_OR_RETURN(const KeyringParts parts, decode_parts(bytes));
  if (parts.facts.algorithm == WrapAlgorithm::kAes256Gcm) return check_tenant(parts.facts, tenant);
  LAMINA_RETURN_IF_ERROR(unwrap_keyring_key(parts, tenant));
  return {};
}

Result<ObjectKeys> open_keyring(std::span<const std::byte> bytes, KeyWrapper& tenant) {
  LAMINA_ASSIGN_OR_RETURN(const KeyringParts parts, decode_parts(bytes));
  LAMINA_ASSIGN_OR_RETURN(const DataKey keyring_key, unwrap_keyring_key(parts, tenant));
  LAMINA_ASSIGN_OR_RETURN(AesGcm cipher, AesGcm::create(keyring_key));
  ObjectKeys keys;
  ByteReader reader(parts.entries);
  for (std::uint32_t i = 0; i < parts.entry_count; ++i) {
    const auto name = reader.get_bytes(reader.get<std::uint16_t>());
    const auto sealed = reader.get_bytes(kSealedKeyBytes);
    if (!reader.ok()) {
      return fail(ErrorKind::kCorrupt, "the keyring has bytes for {} of its {} keys", i,
                  parts.entry_count);
    }
    std::array<std::byte, DataKey::kBytes> plain{};
    LAMINA_ASSIGN_OR_RETURN(
        const bool opened,
        cipher.decrypt(nonce_of_entry(i), identity_of_entry(i, parts.entry_count, name),
                       sealed.first<DataKey::kBytes>(), sealed.last<kTagBytes>(), plain));
    if (!opened) {
      return fail(
          ErrorKind::kCorrupt,
          "key {} of the keyring cannot be decrypted: it was altered, or the tenant's key is "
          "another one",
          i);
    }
    keys.insert_or_assign(std::string(reinterpret_cast<const char*>(name.data()), name.size()),
                          DataKey(std::span<const std::byte, DataKey::kBytes>(plain)));
    clear_secret(plain);
  }
  if (reader.remaining() != 0 || keys.size() != parts.entry_count) {
    return fail(ErrorKind::kCorrupt, "the keyring has other bytes behind its {} keys",
                parts.entry_count);
  }
  return keys;
}

Result<std::vector<std::byte>> rewrap_keyring(std::span<const std::byte> bytes, KeyWrapper& before,
                                              KeyWrapper& after) {
  LAMINA_ASSIGN_OR_RETURN(const KeyringParts parts, decode_parts(bytes));
  // Opened whole, so that a damaged keyring is not passed on.
  LAMINA_RETURN_IF_ERROR(open_keyring(bytes, before));
  LAMINA_ASSIGN_OR_RETURN(const DataKey keyring_key, unwrap_keyring_key(parts, before));
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> wrapped, after.wrap(keyring_key));
  return assemble(after, wrapped, parts.entry_count, parts.entries);
}

}  // namespace lamina::packed
