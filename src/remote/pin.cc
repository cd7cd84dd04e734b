#include "remote/pin.h"

#include "base/error.h"
#include "remote/encoding.h"

namespace lamina::remote {
namespace {

constexpr std::string_view kPinMagic = "LAMINARP";
constexpr std::uint32_t kPinVersion = 1;

std::unexpected<Error> bad_pin(const Uuid& push_id, std::string_view why) {
  return fail(ErrorKind::kCorrupt, "pin '{}': {}", pin_key(push_id), why);
}

}  // namespace

std::vector<std::byte> encode_pin(const Pin& pin) {
  ByteWriter writer;
  writer.put_bytes(std::as_bytes(std::span(kPinMagic)));
  writer.put(kPinVersion);
  writer.put(static_cast<std::uint32_t>(pin.reused.size()));
  writer.put(pin.bucket_id);
  writer.put(pin.push_id);
  writer.put(pin.place.number);
  put_text(writer, pin.place.name);
  for (const std::string& key : pin.reused) put_text(writer, key);
  put_checksum(writer);
  return writer.take();
}

Result<Pin> decode_pin(std::span<const std::byte> bytes, const Uuid& push_id) {
  ByteReader reader(bytes);
  if (to_text(reader.get_bytes(kPinMagic.size())) != kPinMagic) {
    return bad_pin(push_id, "it is not a pin");
  }
  const auto version = reader.get<std::uint32_t>();
  if (version != kPinVersion) {
    return bad_pin(push_id, fmt::format("it has version {}; this build reads version {}", version,
                                        kPinVersion));
  }
  if (!has_checksum(bytes)) return bad_pin(push_id, "it is damaged");
  const auto count = reader.get<std::uint32_t>();
  Pin pin;
  pin.bucket_id = reader.get_uuid();
  pin.push_id = reader.get_uuid();
  pin.place.number = reader.get<std::uint64_t>();
  pin.place.name = get_text(reader);
  for (std::uint32_t i = 0; i < count && reader.ok(); ++i) pin.reused.push_back(get_text(reader));
  if (!reader.ok() || reader.remaining() != kChecksumBytes) {
    return bad_pin(push_id, "its lengths are wrong");
  }
  if (pin.push_id != push_id) return bad_pin(push_id, "it was made for another push");
  LAMINA_RETURN_IF_ERROR(check_name(pin.place.name));
  if (pin.place.number == 0 || pin.place.number > kMaxNumber) {
    return bad_pin(push_id, "its number is not that of a record");
  }
  return pin;
}

}  // namespace lamina::remote
