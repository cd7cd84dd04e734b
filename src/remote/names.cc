#include "remote/names.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <system_error>

#include "base/error.h"
#include "base/escape.h"

namespace lamina::remote {
namespace {

constexpr std::size_t kUuidChars = 36;
constexpr std::size_t kNumberDigits = 16;
constexpr std::size_t kMaxNameBytes = 200;
constexpr std::string_view kHexDigits = "0123456789ABCDEF";

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/// As store::parse_snapshot_path(), which this folder's names must agree with.
bool is_name_char(char c) {
  return is_letter_or_digit(c) || std::string_view("._-+@=:,").find(c) != std::string_view::npos;
}

std::string escape_name(std::string_view name) {
  std::string escaped;
  for (const char c : name) {
    if (is_letter_or_digit(c) || c == '-') {
      escaped += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      escaped += {'_', kHexDigits[byte >> 4U], kHexDigits[byte & 15U]};
    }
  }
  return escaped;
}

/// The name that escape_name() makes `escaped` of, if there is one.
std::optional<std::string> unescape_name(std::string_view escaped) {
  std::string name;
  for (std::size_t i = 0; i < escaped.size(); ++i) {
    if (escaped[i] != '_') {
      name += escaped[i];
    } else {
      if (i + 2 >= escaped.size()) return std::nullopt;
      const std::size_t high = kHexDigits.find(escaped[i + 1]);
      const std::size_t low = kHexDigits.find(escaped[i + 2]);
      if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
      name += static_cast<char>(high * 16 + low);
      i += 2;
    }
  }
  if (!check_name(name) || escape_name(name) != escaped) return std::nullopt;
  return name;
}

/// A number without leading zeros.
std::optional<std::uint32_t> parse_short_number(std::string_view text) {
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  if (std::to_string(number) != text) return std::nullopt;
  return number;
}

/// A UUID as it is written: lower case.
std::optional<Uuid> parse_uuid(std::string_view text) {
  const auto id = Uuid::parse(text);
  if (!id || id->to_string() != text) return std::nullopt;
  return *id;
}

bool take_prefix(std::string_view& key, std::string_view prefix) {
  if (!key.starts_with(prefix)) return false;
  key.remove_prefix(prefix.size());
  return true;
}

/// A kind of objects: the prefix of their keys, and what tombstones call it.
struct ObjectKind {
  KindOfObject kind;
  std::string_view prefix;
  std::string_view word;
};
constexpr std::array kObjectKinds = {ObjectKind{KindOfObject::kLayer, kLayersPrefix, "layers."},
                                     ObjectKind{KindOfObject::kPack, kPacksPrefix, "packs."},
                                     ObjectKind{KindOfObject::kFile, kFilesPrefix, "files."}};

std::string object_key(std::string_view prefix, const Uuid& id, const Uuid& push_id,
                       std::uint32_t number) {
  return fmt::format("{}{}.{}-{}", prefix, id.to_string(), push_id.to_string(), number);
}

}  // namespace

Status check_name(std::string_view name) {
  bool is_valid = !name.empty() && name.size() <= kMaxNameBytes && is_letter_or_digit(name.front());
  for (const char c : name) is_valid = is_valid && is_name_char(c);
  if (!is_valid) {
    return fail(ErrorKind::kUsage,
                "'{}' is not a name for a snapshot: 1 to {} letters, digits and ._-+@=:, of which "
                "the first is a letter or digit",
                escaped_value(name), kMaxNameBytes);
  }
  if (escape_name(name).size() <= kMaxEscapedNameBytes) return {};
  return fail(ErrorKind::kUsage,
              "name '{}' is too long for a bucket: escaped, it has {} bytes of {}", name,
              escape_name(name).size(), kMaxEscapedNameBytes);
}

std::string conflict_name(std::string_view name, const Uuid& pause_id) {
  const std::string suffix = "@" + pause_id.to_string();
  const auto fits = [&] { return check_name(std::string(name) + suffix).has_value(); };
  while (name.size() > 1 && !fits()) name.remove_suffix(1);
  return std::string(name) + suffix;
}

bool is_conflict_name(std::string_view other, std::string_view name) {
  const std::size_t sign = other.rfind('@');
  if (sign == std::string_view::npos) return false;
  const auto pause_id = Uuid::parse(std::string(other.substr(sign + 1)));
  return pause_id && conflict_name(name, *pause_id) == other;
}

std::string record_prefix(std::string_view name) {
  return fmt::format("{}{}.", kRecordsPrefix, escape_name(name));
}

std::string record_key(const RecordPlace& place) {
  return fmt::format("{}{:016}", record_prefix(place.name), place.number);
}

std::optional<RecordPlace> parse_record_key(std::string_view key) {
  if (!take_prefix(key, kRecordsPrefix)) return std::nullopt;
  const std::size_t dot = key.find('.');
  if (dot == std::string_view::npos || key.size() - dot - 1 != kNumberDigits) return std::nullopt;
  const auto name = unescape_name(key.substr(0, dot));
  RecordPlace place;
  const std::string_view digits = key.substr(dot + 1);
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), place.number);
  if (!name || error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  if (place.number == 0) return std::nullopt;
  place.name = *name;
  return place;
}

std::string layer_prefix(const Uuid& build_id) {
  return fmt::format("{}{}.", kLayersPrefix, build_id.to_string());
}

std::string layer_key(const Uuid& build_id, const Uuid& push_id, std::uint32_t number) {
  return object_key(kLayersPrefix, build_id, push_id, number);
}

std::string file_key(const Uuid& pause_id, const Uuid& push_id, std::uint32_t number) {
  return object_key(kFilesPrefix, pause_id, push_id, number);
}

std::string pack_key(const Uuid& pause_id, const Uuid& push_id, std::uint32_t number) {
  return object_key(kPacksPrefix, pause_id, push_id, number);
}

std::optional<ObjectName> parse_object_key(std::string_view key) {
  const auto* const kind = std::ranges::find_if(
      kObjectKinds, [&](const ObjectKind& one) { return key.starts_with(one.prefix); });
  if (kind == kObjectKinds.end()) return std::nullopt;
  key.remove_prefix(kind->prefix.size());
  constexpr std::size_t kNumberAt = 2 * kUuidChars + 2;
  if (key.size() <= kNumberAt || key[kUuidChars] != '.' || key[kNumberAt - 1] != '-') {
    return std::nullopt;
  }
  const auto id = parse_uuid(key.substr(0, kUuidChars));
  const auto push_id = parse_uuid(key.substr(kUuidChars + 1, kUuidChars));
  if (!id || !push_id || !parse_short_number(key.substr(kNumberAt))) return std::nullopt;
  return ObjectName{kind->kind, *id, *push_id};
}

std::string pin_key(const Uuid& push_id) {
  return fmt::format("{}{}", kPinsPrefix, push_id.to_string());
}

std::optional<Uuid> parse_pin_key(std::string_view key) {
  if (!take_prefix(key, kPinsPrefix)) return std::nullopt;
  return parse_uuid(key);
}

std::string tombstone_prefix(std::string_view object) {
  for (const ObjectKind& kind : kObjectKinds) {
    std::string_view name = object;
    if (take_prefix(name, kind.prefix)) {
      return fmt::format("{}{}{}.", kTombstonesPrefix, kind.word, name);
    }
  }
  return {};
}

std::string tombstone_key(std::string_view object, const Uuid& cycle_id) {
  return tombstone_prefix(object) + cycle_id.to_string();
}

std::optional<std::string> parse_tombstone_key(std::string_view key) {
  if (!take_prefix(key, kTombstonesPrefix)) return std::nullopt;
  if (key.size() <= kUuidChars + 1 || key[key.size() - kUuidChars - 1] != '.') return std::nullopt;
  if (!parse_uuid(key.substr(key.size() - kUuidChars))) return std::nullopt;
  key.remove_suffix(kUuidChars + 1);
  for (const ObjectKind& kind : kObjectKinds) {
    std::string_view name = key;
    if (!take_prefix(name, kind.word)) continue;
    std::string object = std::string(kind.prefix).append(name);
    if (parse_object_key(object)) return object;
  }
  return std::nullopt;
}

}  // namespace lamina::remote
