#include "server/control_message.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/error.h"

namespace lamina::server {

ControlMessage message_of(MessageKind kind) {
  ControlMessage message;
  message.kind = kind;
  return message;
}

std::vector<std::byte> encode_control(const ControlMessage& message) {
  constexpr std::size_t kMaxTextBytes = kMaxControlBytes / 2;
  const auto text = std::as_bytes(std::span(message.text));
  ByteWriter writer(kMaxControlBytes);
  writer.put(static_cast<std::uint8_t>(message.kind));
  writer.put(static_cast<std::uint8_t>(message.state));
  writer.put(message.id);
  writer.put_bytes(text.first(std::min(text.size(), kMaxTextBytes)));
  return writer.take();
}

Result<ControlMessage> decode_control(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  ControlMessage message;
  message.kind = static_cast<MessageKind>(reader.get<std::uint8_t>());
  message.state = static_cast<pager::SessionState>(reader.get<std::uint8_t>());
  message.id = reader.get<std::uint64_t>();
  if (!reader.ok()) return fail(ErrorKind::kCorrupt, "a control message of {} bytes", bytes.size());
  for (const std::byte one : reader.get_bytes(reader.remaining())) {
    message.text += static_cast<char>(one);
  }
  return message;
}

}  // namespace lamina::server
