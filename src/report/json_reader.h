// The typed fields of a report that came from another process, which may be of another version, or
// no report at all.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/error.h"
#include "lamina/uuid.h"
#include "report/json.h"

namespace lamina::report {

/// Reads fields of one JSON value, which need be no object, and remembers the first that is missing
/// or wrong; its place is left as it was. Fields that nobody asks for are ignored.
class JsonReader {
 public:
  /// `document` must outlive this. `where` is what it is a field of itself: "phases".
  explicit JsonReader(const Json& document, std::string where = "")
      : document_(document), where_(std::move(where)) {
    if (document.is_object()) return;
    wrong_ = where_.empty() ? "it is no object" : fmt::format("field '{}' is no object", where_);
  }

  /// A whole number that fits; pid_t is one too.
  template <typename T>
  void number(const std::string& name, T& place) {
    static_assert(std::is_integral_v<T>);
    constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<T>::max());
    const Json* value = find(name);
    if (value == nullptr) return;
    // What was parsed is unsigned where it can be; what was made from a signed number is not.
    const bool is_whole = value->is_number_unsigned() ||
                          (value->is_number_integer() && value->get<std::int64_t>() >= 0);
    if (!is_whole || value->get<std::uint64_t>() > kMost) {
      return wrong(name, "is no whole number, or out of range");
    }
    place = static_cast<T>(value->get<std::uint64_t>());
  }

  /// Milliseconds, as a number of any kind.
  void real(const std::string& name, double& place) {
    const Json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_number() || !std::isfinite(value->get<double>())) {
      return wrong(name, "is no number");
    }
    place = value->get<double>();
  }

  void text(const std::string& name, std::string& place) {
    const Json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_string()) return wrong(name, "is no text");
    place = value->get<std::string>();
  }

  void flag(const std::string& name, bool& place) {
    const Json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_boolean()) return wrong(name, "is neither true nor false");
    place = value->get<bool>();
  }

  void uuid(const std::string& name, Uuid& place) {
    std::string given;
    text(name, given);
    if (!ok()) return;
    const auto parsed = Uuid::parse(given);
    if (!parsed) return wrong(name, "is no UUID");
    place = *parsed;
  }

  /// Missing or null: nothing.
  void uuid_if_there(const std::string& name, std::optional<Uuid>& place) {
    if (!has(name)) return;
    Uuid id;
    uuid(name, id);
    if (ok()) place = id;
  }

  void texts(const std::string& name, std::vector<std::string>& place) {
    const Json* value = list(name);
    if (value == nullptr) return;
    for (const Json& item : *value) {
      if (!item.is_string()) return wrong(name, "is no list of texts");
      place.push_back(item.get<std::string>());
    }
  }

  template <typename T>
  void choice(const std::string& name, T& place,
              const std::vector<std::pair<std::string_view, T>>& words) {
    std::string given;
    text(name, given);
    if (!ok()) return;
    for (const auto& [word, meaning] : words) {
      if (word != given) continue;
      place = meaning;
      return;
    }
    wrong(name, "is no word that is known here");
  }

  /// "message_type" must be this.
  void type(std::string_view expected) {
    std::string given;
    text("message_type", given);
    if (ok() && given != expected) wrong("message_type", fmt::format("is not '{}'", expected));
  }

  /// The array; nullptr when it is none.
  const Json* list(const std::string& name) {
    const Json* value = find(name);
    if (value == nullptr || value->is_array()) return value;
    wrong(name, "is no list");
    return nullptr;
  }

  /// The value, of whatever type; nullptr when it is missing or something was wrong before.
  const Json* find(const std::string& name) {
    if (!ok()) return nullptr;
    const auto found = document_.find(name);
    if (found != document_.end()) return &*found;
    wrong(name, "is missing");
    return nullptr;
  }

  /// True when it is there and not null.
  [[nodiscard]] bool has(const std::string& name) const {
    const auto found = document_.find(name);
    return found != document_.end() && !found->is_null();
  }

  void wrong(const std::string& name, std::string_view what) {
    if (!ok()) return;
    wrong_ = fmt::format("field '{}{}{}' {}", where_, where_.empty() ? "" : ".", name, what);
  }

  [[nodiscard]] bool ok() const { return wrong_.empty(); }

  /// kFailed for the first thing that was wrong.
  [[nodiscard]] Status end() const {
    if (ok()) return {};
    return fail(ErrorKind::kFailed, "{}", wrong_);
  }

  /// `value` when nothing was wrong.
  template <typename T>
  Result<T> end_with(T value) const {
    LAMINA_RETURN_IF_ERROR(end());
    return value;
  }

 private:
  const Json& document_;
  std::string where_;
  std::string wrong_;
};

}  // namespace lamina::report
