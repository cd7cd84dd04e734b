#include "daemon/fields.h"

#include <charconv>

#include "base/error.h"
#include "base/shown_text.h"

namespace lamina::daemon {

using report::Json;

Result<Fields> Fields::of_body(const Request& request) {
  if (!request.query.empty()) {
    return fail(ErrorKind::kUsage, "'{}' takes its fields in the body, not in the query",
                shown_value(request.path));
  }
  if (request.body.empty()) return Fields(Json::object(), false);
  Json object = Json::parse(request.body, nullptr, false);
  if (!object.is_object()) return fail(ErrorKind::kUsage, "the body is no JSON object");
  return Fields(std::move(object), false);
}

Result<Fields> Fields::of_query(const Request& request) {
  if (!request.body.empty()) {
    return fail(ErrorKind::kUsage, "{} '{}' takes no body", shown_value(request.method),
                shown_value(request.path));
  }
  Json object = Json::object();
  for (const auto& [name, value] : request.query) object[name] = value;
  return Fields(std::move(object), true);
}

const Json* Fields::find(const std::string& name) {
  known_.insert(name);
  const auto found = object_.find(name);
  return found == object_.end() ? nullptr : &*found;
}

void Fields::wrong(const std::string& name, const std::string& what) {
  if (!wrong_) wrong_ = fmt::format("field '{}' {}", name, what);
}

bool Fields::is_good_text(const std::string& name, const Json& value) {
  if (!value.is_string()) {
    wrong(name, "is no text");
    return false;
  }
  const auto& text = value.get_ref<const std::string&>();
  if (text.empty() || text.find('\0') != std::string::npos) {
    wrong(name, text.empty() ? "is empty" : "has a NUL in it");
    return false;
  }
  return true;
}

void Fields::text(const std::string& name, std::string& value, Need need) {
  const Json* found = find(name);
  if (found == nullptr) {
    if (need == Need::kMust) wrong(name, "is missing");
    return;
  }
  if (is_good_text(name, *found)) value = found->get<std::string>();
}

void Fields::texts(const std::string& name, std::vector<std::string>& values, Need need) {
  const Json* found = find(name);
  if (found == nullptr) {
    if (need == Need::kMust) wrong(name, "is missing");
    return;
  }
  if (!found->is_array()) return wrong(name, "is no list of texts");
  for (const Json& value : *found) {
    if (!is_good_text(name, value)) return;
    values.push_back(value.get<std::string>());
  }
}

void Fields::flag(const std::string& name, bool& value) {
  const Json* found = find(name);
  if (found == nullptr) return;
  if (is_query_ && (*found == "true" || *found == "false")) {
    value = *found == "true";
  } else if (found->is_boolean()) {
    value = found->get<bool>();
  } else {
    wrong(name, "is neither true nor false");
  }
}

void Fields::number(const std::string& name, std::uint64_t& value, std::uint64_t least,
                    std::uint64_t most) {
  const Json* found = find(name);
  if (found == nullptr) return;
  std::uint64_t given = 0;
  bool is_number = found->is_number_unsigned();
  if (is_number) given = found->get<std::uint64_t>();
  if (is_query_) {
    const auto& text = found->get_ref<const std::string&>();
    const char* end = text.data() + text.size();
    const auto [stopped, error] = std::from_chars(text.data(), end, given);
    is_number = error == std::errc() && stopped == end;
  }
  if (!is_number || given < least || given > most) {
    return wrong(name, fmt::format("is no whole number from {} to {}", least, most));
  }
  value = given;
}

Status Fields::end() {
  std::string list;
  for (const std::string& name : known_) list += (list.empty() ? "" : ", ") + name;
  for (const auto& [name, value] : object_.items()) {
    if (known_.contains(name)) continue;
    return fail(ErrorKind::kUsage, "field '{}' is not known here; there {}", shown_value(name),
                known_.empty() ? "is none" : "are: " + list);
  }
  // Second: what is misspelt is also missing.
  if (wrong_) return fail(ErrorKind::kUsage, "{}", *wrong_);
  return {};
}

}  // namespace lamina::daemon
