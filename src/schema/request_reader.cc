#include "schema/request_reader.h"

#include <charconv>

#include "base/error.h"

namespace lamina::schema {

Json* RequestReader::find(const Field& field) {
  known_.emplace(field.name);
  const auto found = object_.find(std::string(field.name));
  if (found != object_.end()) return &*found;
  if (field.required) wrong(field, "is missing");
  return nullptr;
}

void RequestReader::wrong(const Field& field, const std::string& what) {
  wrong_at(where_ + std::string(field.name), what);
}

void RequestReader::wrong_at(const std::string& place, const std::string& what) {
  if (!wrong_) wrong_ = fmt::format("field '{}' {}", place, what);
}

bool RequestReader::is_good_text(const Field& field, const Json& value) {
  if (!value.is_string()) {
    wrong(field, "is not a text");
    return false;
  }
  const auto& text = value.get_ref<const std::string&>();
  if (text.empty() || text.find('\0') != std::string::npos) {
    wrong(field, text.empty() ? "is empty" : "has a NUL in it");
    return false;
  }
  return true;
}

void RequestReader::text(const Field& field, std::string& value) {
  const Json* found = find(field);
  if (found != nullptr && is_good_text(field, *found)) value = found->get<std::string>();
}

void RequestReader::texts(const Field& field, std::vector<std::string>& values) {
  const Json* found = find(field);
  if (found == nullptr) return;
  if (!found->is_array()) return wrong(field, "is not a list of texts");
  for (const Json& value : *found) {
    if (!is_good_text(field, value)) return;
    values.push_back(value.get<std::string>());
  }
}

void RequestReader::flag(const Field& field, bool& value) {
  const Json* found = find(field);
  if (found == nullptr) return;
  if (source_ == Source::kQuery && (*found == "true" || *found == "false")) {
    value = *found == "true";
  } else if (found->is_boolean()) {
    value = found->get<bool>();
  } else {
    wrong(field, "is neither true nor false");
  }
}

void RequestReader::number(const Field& field, std::uint64_t& value, Range range) {
  const Json* found = find(field);
  if (found == nullptr) return;
  std::uint64_t given = 0;
  bool is_number = found->is_number_unsigned();
  if (is_number) given = found->get<std::uint64_t>();
  if (source_ == Source::kQuery) {
    const auto& text = found->get_ref<const std::string&>();
    const char* end = text.data() + text.size();
    const auto [stopped, error] = std::from_chars(text.data(), end, given);
    is_number = error == std::errc() && stopped == end;
  }
  if (!is_number || given < range.least || given > range.most) {
    return wrong(field,
                 fmt::format("is not a whole number from {} to {}", range.least, range.most));
  }
  value = given;
}

Status RequestReader::end() {
  std::string list;
  for (const std::string& name : known_) list += (list.empty() ? "" : ", ") + name;
  for (const auto& [name, value] : object_.items()) {
    if (known_.contains(name)) continue;
    return fail(ErrorKind::kUsage, "field '{}{}' is not known here; there {}", where_,
                escaped_value(name), known_.empty() ? "is none" : "are: " + list);
  }
  // After unknown fields: a misspelt field is also a missing one.
  if (wrong_) return fail(ErrorKind::kUsage, "{}", *wrong_);
  return {};
}

}  // namespace lamina::schema
