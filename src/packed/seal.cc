#include "packed/seal.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "base/error.h"

namespace lamina::packed {
namespace {

Nonce nonce_of(const Part& part) {
  ByteWriter writer;
  writer.put(static_cast<std::uint32_t>(part.kind));
  writer.put(part.number);
  Nonce nonce{};
  std::copy_n(writer.view().begin(), nonce.size(), nonce.begin());
  return nonce;
}

}  // namespace

Result<Sealer> Sealer::create(const DataKey& key, const SealedObject& object) {
  LAMINA_ASSIGN_OR_RETURN(AesGcm cipher, AesGcm::create(key));
  ByteWriter identity;
  identity.put_bytes(std::as_bytes(std::span(object.format)));
  identity.put(object.version);
  identity.put(static_cast<std::uint32_t>(SealAlgorithm::kAes256Gcm));
  identity.put(static_cast<std::uint32_t>(object.name.size()));
  identity.put_bytes(std::as_bytes(std::span(object.name)));
  identity.put(object.frame_count);
  return Sealer(std::move(cipher), identity.take());
}

std::span<const std::byte> Sealer::associated_data(const Part& part, std::size_t length) {
  ByteWriter writer(identity_.size() + 2 * sizeof(std::uint64_t) + 3 * sizeof(std::uint32_t));
  writer.put_bytes(identity_);
  writer.put(static_cast<std::uint32_t>(part.kind));
  writer.put(part.number);
  writer.put(part.method);
  writer.put(part.blocks);
  writer.put(std::uint64_t{length});
  associated_ = writer.take();
  return associated_;
}

Status Sealer::seal(const Part& part, std::span<std::byte> bytes) {
  const auto data = bytes.first(bytes.size() - kTagBytes);
  return cipher_.encrypt(nonce_of(part), associated_data(part, data.size()), data,
                         bytes.last<kTagBytes>());
}

Result<bool> Sealer::open(const Part& part, std::span<const std::byte> sealed,
                          std::span<std::byte> plain) {
  const auto data = sealed.first(sealed.size() - kTagBytes);
  return cipher_.decrypt(nonce_of(part), associated_data(part, data.size()), data,
                         sealed.last<kTagBytes>(), plain);
}

}  // namespace lamina::packed
