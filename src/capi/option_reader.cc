#include "capi/option_reader.h"

#include <algorithm>

namespace lamina::capi {
namespace {

/// Longer waits than a day are mistakes, and the limit keeps arithmetic on times from overflowing.
constexpr std::uint64_t kMaxTimeoutMs = 86'400'000;

}  // namespace

Status copy_versioned(std::string_view name, const void* given, std::size_t given_size, void* known,
                      std::size_t known_size, std::size_t first_size) {
  /// No version has or will have a struct of this size: a struct_size that was never set.
  constexpr std::size_t kMaxSize = 4096;
  // Such a size is of no version either, and half a pointer must not be taken for one.
  const bool ends_in_a_field = given_size < known_size && given_size % sizeof(void*) != 0;
  if (given_size < first_size || given_size > kMaxSize || ends_in_a_field) {
    return with_remedy(
        fail(ErrorKind::kUsage, "{}: struct_size is {}, not {}", name, given_size, known_size),
        "set struct_size to sizeof({})", name);
  }
  const auto* bytes = static_cast<const unsigned char*>(given);
  if (given_size > known_size) {
    const auto* unknown = std::find_if(bytes + known_size, bytes + given_size,
                                       [](unsigned char b) { return b != 0; });
    if (unknown != bytes + given_size) {
      return with_remedy(
          fail(ErrorKind::kUnsupported, "{}: this library knows {} bytes, and byte {} is set", name,
               known_size, unknown - bytes),
          "use a library as new as lamina.h, or leave the field at 0");
    }
  }
  std::memcpy(known, given, std::min(given_size, known_size));
  return {};
}

std::string OptionReader::required(const char* value, std::string_view field) {
  if (value != nullptr && *value != '\0') return value;
  refuse(fail(ErrorKind::kUsage, "{} is not set", field).error());
  return {};
}

bool OptionReader::is_array(bool is_null, std::size_t count, std::string_view field) {
  constexpr std::size_t kMaxCount = std::size_t{1} << 20;
  if (count > kMaxCount) {
    refuse(fail(ErrorKind::kUsage, "{} has a count of {}, more than {}", field, count, kMaxCount)
               .error());
    return false;
  }
  if (!is_null || count == 0) return true;
  refuse(fail(ErrorKind::kUsage, "{} is null, with a count of {}", field, count).error());
  return false;
}

std::vector<std::string> OptionReader::texts(const char* const* values, std::size_t count,
                                             std::string_view field) {
  std::vector<std::string> made;
  if (!is_array(values == nullptr, count, field)) return made;
  made.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    if (values[i] == nullptr) {
      refuse(fail(ErrorKind::kUsage, "{}[{}] is null", field, i).error());
      return made;
    }
    made.emplace_back(values[i]);
  }
  return made;
}

bool OptionReader::flag(lamina_bool value, std::string_view field) {
  if (value > 1) refuse(fail(ErrorKind::kUsage, "{} is {}, not 0 or 1", field, value).error());
  return value == 1;
}

void OptionReader::must_be_zero(std::uint32_t value) {
  if (value != 0) refuse(fail(ErrorKind::kUsage, "reserved is {}, not 0", value).error());
}

std::optional<Uuid> OptionReader::id(const lamina_uuid* value) {
  if (value == nullptr) return std::nullopt;
  Uuid copied;
  static_assert(sizeof copied.bytes == sizeof value->bytes);
  std::memcpy(copied.bytes.data(), value->bytes, sizeof value->bytes);
  return copied;
}

std::chrono::milliseconds OptionReader::milliseconds(std::uint64_t value,
                                                     std::chrono::milliseconds otherwise,
                                                     std::string_view field) {
  if (value == 0) return otherwise;
  if (value > kMaxTimeoutMs) {
    refuse(fail(ErrorKind::kUsage, "{} is {}, more than a day", field, value).error());
    return otherwise;
  }
  return std::chrono::milliseconds(value);
}

Progress* OptionReader::progress(const lamina_progress* handle) {
  if (handle == nullptr) return nullptr;
  auto found = object_of(handle);
  if (!found) {
    refuse(std::move(found.error()));
    return nullptr;
  }
  progress_.push_back(std::move(*found));
  return progress_.back().get();
}

}  // namespace lamina::capi
