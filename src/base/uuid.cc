#include "lamina/uuid.h"

#include <uuid/uuid.h>

#include <string>

#include "base/error.h"

namespace lamina {
namespace {

constexpr std::size_t kTextLength = 36;

}  // namespace

Uuid Uuid::random() {
  Uuid id;
  uuid_generate_random(id.bytes.data());
  return id;
}

Result<Uuid> Uuid::parse(std::string_view text) {
  Uuid id;
  const std::string terminated(text);
  if (text.size() != kTextLength || uuid_parse(terminated.c_str(), id.bytes.data()) != 0) {
    return fail(ErrorKind::kUsage,
                "'{}' is not a UUID; write it like a0b0c001-1111-4222-8333-000000000008", text);
  }
  return id;
}

std::string Uuid::to_string() const {
  std::array<char, kTextLength + 1> text{};
  uuid_unparse_lower(bytes.data(), text.data());
  return {text.data(), kTextLength};
}

}  // namespace lamina
