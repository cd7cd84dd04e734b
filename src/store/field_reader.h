// Reads typed fields of the small JSON documents in a store.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "lamina/uuid.h"

namespace lamina::store {

/// Reads fields of one JSON object. For a field that is missing or wrong it returns an empty value,
/// and keeps the name of the first such field.
class FieldReader {
 public:
  using Json = nlohmann::json;

  /// `object` must outlive this.
  explicit FieldReader(const Json& object) : object_(object) {}

  std::uint64_t number(const char* name, std::uint64_t limit = UINT64_MAX) {
    const Json* value = find(name);
    if (value == nullptr || !value->is_number_unsigned() || value->get<std::uint64_t>() > limit) {
      return bad(name), 0;
    }
    return value->get<std::uint64_t>();
  }
  std::string text(const char* name) {
    const Json* value = find(name);
    if (value == nullptr || !value->is_string()) return bad(name), std::string();
    return value->get<std::string>();
  }
  bool flag(const char* name) {
    const Json* value = find(name);
    if (value == nullptr || !value->is_boolean()) return bad(name), false;
    return value->get<bool>();
  }
  Uuid uuid(const char* name) {
    const auto parsed = Uuid::parse(text(name));
    if (!parsed) return bad(name), Uuid{};
    return *parsed;
  }

  /// A list of UUIDs that may be missing.
  std::vector<Uuid> optional_uuids(const char* name) {
    const Json* list = find(name);
    if (list == nullptr) return {};
    if (!list->is_array()) return bad(name), std::vector<Uuid>();
    std::vector<Uuid> ids;
    ids.reserve(list->size());
    for (const Json& one : *list) {
      const auto id = Uuid::parse(one.is_string() ? one.get<std::string>() : std::string());
      if (!id) return bad(name), std::vector<Uuid>();
      ids.push_back(*id);
    }
    return ids;
  }

  /// The value of an optional field; nullptr if it is missing or null.
  const Json* find(const char* name) const {
    const auto found = object_.find(name);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  void bad(const char* name) {
    if (bad_field_.empty()) bad_field_ = name;
  }
  [[nodiscard]] bool ok() const { return bad_field_.empty(); }
  [[nodiscard]] const std::string& bad_field() const { return bad_field_; }

 private:
  const Json& object_;
  std::string bad_field_;
};

/// The JSON of optional_uuids().
inline nlohmann::json texts_of(const std::vector<Uuid>& ids) {
  nlohmann::json texts = nlohmann::json::array();
  for (const Uuid& id : ids) texts.push_back(id.to_string());
  return texts;
}

}  // namespace lamina::store
