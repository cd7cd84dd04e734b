#include "packed/data_key.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <vector>

#include "base/error.h"

namespace lamina::packed {

Result<DataKey> DataKey::random() {
  DataKey key;
  LAMINA_RETURN_IF_ERROR(fill_randomly(key.bytes_));
  return key;
}

DataKey::DataKey(std::span<const std::byte, kBytes> bytes) {
  std::copy(bytes.begin(), bytes.end(), bytes_.begin());
}

DataKey::~DataKey() { clear_secret(bytes_); }

std::uint64_t DataKey::check_value() const {
  const auto digest = sha256("lamina data key", bytes_);
  std::uint64_t value = 0;
  std::memcpy(&value, digest.data(), sizeof(value));
  return value;
}

std::array<std::byte, 32> sha256(std::string_view label, std::span<const std::byte> bytes) {
  std::array<std::byte, 32> digest{};
  std::vector<std::byte> whole(label.size() + bytes.size());
  std::copy_n(std::as_bytes(std::span(label)).begin(), label.size(), whole.begin());
  std::copy(bytes.begin(), bytes.end(), whole.begin() + static_cast<std::ptrdiff_t>(label.size()));
  const int done =
      ::EVP_Digest(whole.data(), whole.size(), reinterpret_cast<unsigned char*>(digest.data()),
                   nullptr, ::EVP_sha256(), nullptr);
  clear_secret(whole);
  if (done != 1) throw std::bad_alloc();  // it fails only without memory
  return digest;
}

Status fill_randomly(std::span<std::byte> bytes) {
  if (::RAND_priv_bytes(reinterpret_cast<unsigned char*>(bytes.data()),
                        static_cast<int>(bytes.size())) == 1) {
    return {};
  }
  return fail(ErrorKind::kFailed, "OpenSSL has no random numbers for a key");
}

void clear_secret(std::span<std::byte> bytes) { ::OPENSSL_cleanse(bytes.data(), bytes.size()); }

}  // namespace lamina::packed
