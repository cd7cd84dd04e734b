// Reads a report from the JSON of another process. That may be of another version, or not be a
// report at all.
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
#include "lamina/words.h"
#include "schema/error_json.h"
#include "schema/field.h"
#include "schema/json.h"

namespace lamina::schema {

/// Stops at the first field that is missing or wrong. Ignores unknown fields.
class ReportReader {
 public:
  /// kFailed: the message names the field that is missing or wrong. `where`: the path of the field
  /// that `document` comes from; empty: it is the root.
  template <typename T>
  static Result<T> read(const Json& document, const std::string& where = "") {
    T report{};
    ReportReader reader(document, where);
    describe(reader, report);
    if (!reader.wrong_.empty()) return fail(ErrorKind::kFailed, "{}", reader.wrong_);
    return report;
  }

  void type(std::string_view expected) {
    std::string given;
    const Field field{.name = "message_type"};
    text(field, given);
    if (ok() && given != expected) wrong(field, fmt::format("is not '{}'", expected));
  }

  void text(const Field& field, std::string& place) {
    const Json* value = find(field);
    if (value == nullptr) return;
    if (!value->is_string()) return wrong(field, "is not a text");
    place = value->get<std::string>();
  }

  void texts(const Field& field, std::vector<std::string>& place) {
    const Json* value = find(field);
    if (value == nullptr) return;
    if (!value->is_array()) return wrong(field, "is not a list of texts");
    for (const Json& item : *value) {
      if (!item.is_string()) return wrong(field, "is not a list of texts");
      place.push_back(item.get<std::string>());
    }
  }

  void flag(const Field& field, bool& place) {
    const Json* value = find(field);
    if (value == nullptr) return;
    if (!value->is_boolean()) return wrong(field, "is neither true nor false");
    place = value->get<bool>();
  }

  /// A whole number that fits and is not negative.
  template <typename T>
  void number(const Field& field, T& place) {
    static_assert(std::is_integral_v<T>);
    constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<T>::max());
    const Json* value = find(field);
    if (value == nullptr) return;
    // The parser makes a number unsigned if it can; a number that was set from a signed one is
    // signed.
    const bool is_whole = value->is_number_unsigned() ||
                          (value->is_number_integer() && value->get<std::int64_t>() >= 0);
    if (!is_whole || value->get<std::uint64_t>() > kMost) {
      return wrong(field, "is not a whole number, or out of range");
    }
    place = static_cast<T>(value->get<std::uint64_t>());
  }

  void real(const Field& field, double& place) {
    const Json* value = find(field);
    if (value == nullptr) return;
    if (!value->is_number() || !std::isfinite(value->get<double>())) {
      return wrong(field, "is not a number");
    }
    place = value->get<double>();
  }

  void id(const Field& field, Uuid& place) {
    std::string given;
    text(field, given);
    if (!ok()) return;
    const auto parsed = Uuid::parse(given);
    if (!parsed) return wrong(field, "is not a UUID");
    place = *parsed;
  }

  void optional_id(const Field& field, std::optional<Uuid>& place) {
    if (!ok() || !has(field)) return;
    Uuid given;
    id(field, given);
    if (ok()) place = given;
  }

  void nullable_id(const Field& field, std::optional<Uuid>& place) { optional_id(field, place); }

  template <typename E, typename Words = decltype(kWords<E>)>
  void choice(const Field& field, E& place, const Words& words = kWords<E>) {
    std::string given;
    text(field, given);
    if (!ok()) return;
    for (const auto& word : words) {
      if (word.text != given) continue;
      place = word.value;
      return;
    }
    wrong(field, "is not a known word");
  }

  void error(const Field& field, std::optional<Error>& place) {
    const Json* value = find(field);
    if (value == nullptr || value->is_null()) return;
    auto known = error_from_json(*value);
    if (known) {
      place = std::move(*known);
    } else {
      wrong_ = fmt::format("{}: {}", path_of(field), known.error().message);
    }
  }

  template <typename T>
  void object(const Field& field, T& place) {
    const Json* value = find(field);
    if (value != nullptr) take(read<T>(*value, path_of(field)), place);
  }

  /// Null or missing: `place` stays empty.
  template <typename T>
  void nullable_object(const Field& field, std::optional<T>& place) {
    if (!ok() || !has(field)) return;
    T given{};
    object(field, given);
    if (ok()) place = std::move(given);
  }

  template <typename T>
  void list(const Field& field, std::vector<T>& places) {
    const Json* value = find(field);
    if (value == nullptr) return;
    if (!value->is_array()) return wrong(field, "is not a list");
    for (const Json& item : *value) {
      if (!ok()) return;
      T place{};
      take(read<T>(item, fmt::format("{}[{}]", path_of(field), places.size())), place);
      places.push_back(std::move(place));
    }
  }

  /// Computed from other fields: not read.
  template <typename T>
  void derived(const Field& /*field*/, T /*value*/) {}

 private:
  ReportReader(const Json& document, std::string where)
      : document_(document), where_(std::move(where)) {
    if (document.is_object()) return;
    wrong_ =
        where_.empty() ? "it is not an object" : fmt::format("field '{}' is not an object", where_);
  }

  [[nodiscard]] bool ok() const { return wrong_.empty(); }

  /// True if the field is present and not null.
  [[nodiscard]] bool has(const Field& field) const {
    const auto found = document_.find(std::string(field.name));
    return found != document_.end() && !found->is_null();
  }

  /// The field's value, of any type; nullptr if it is missing or an earlier field was wrong.
  const Json* find(const Field& field) {
    if (!ok()) return nullptr;
    const auto found = document_.find(std::string(field.name));
    if (found != document_.end()) return &*found;
    wrong(field, "is missing");
    return nullptr;
  }

  [[nodiscard]] std::string path_of(const Field& field) const {
    return fmt::format("{}{}{}", where_, where_.empty() ? "" : ".", field.name);
  }

  void wrong(const Field& field, std::string_view what) {
    if (ok()) wrong_ = fmt::format("field '{}' {}", path_of(field), what);
  }

  template <typename T>
  void take(Result<T> part, T& place) {
    if (part) {
      place = std::move(*part);
    } else if (ok()) {
      wrong_ = part.error().message;
    }
  }

  const Json& document_;
  std::string where_;
  std::string wrong_;
};

}  // namespace lamina::schema
