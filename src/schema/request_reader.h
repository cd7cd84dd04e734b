// Reads a request from the fields of a JSON object, or of a query. A field that is not described is
// refused: a misspelt one must not pass for one that was not given.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/escape.h"
#include "lamina/result.h"
#include "lamina/words.h"
#include "schema/field.h"
#include "schema/json.h"

namespace lamina::schema {

class RequestReader {
 public:
  enum class Source : std::uint8_t {
    kBody,
    kQuery,  ///< all values are texts
  };

  /// REQUIRES: `object` is a JSON object.
  RequestReader(Json object, Source source) : object_(std::move(object)), source_(source) {}

  // Each sets `value` when the field is there; what is wrong with it is kept for end(), and its
  // message is short and has no control characters.

  /// The store that the request is meant for.
  void store(std::string& value) { text({.name = "store"}, value); }
  /// Not empty, and without NUL.
  void text(const Field& field, std::string& value);
  void path(const Field& field, std::string& value) { text(field, value); }
  void snapshot(const Field& field, std::string& value) { text(field, value); }
  void texts(const Field& field, std::vector<std::string>& values);
  void paths(const Field& field, std::vector<std::string>& values) { texts(field, values); }
  void snapshots(const Field& field, std::vector<std::string>& values) {
    texts(field, values);
    if (field.required && values.empty()) wrong(field, "is empty");
  }
  void flag(const Field& field, bool& value);
  void number(const Field& field, std::uint64_t& value, Range range);
  void seconds(const Field& field, std::chrono::milliseconds& value, Range range) {
    std::uint64_t given = 0;
    number(field, given, range);
    if (given > 0) value = std::chrono::seconds(given);
  }
  template <typename E>
  void choice(const Field& field, E& value) {
    std::string given;
    text(field, given);
    if (given.empty()) return;
    std::string list;
    for (const Word<E>& word : kWords<E>) {
      if (word.text == given) value = word.value;
      list += (list.empty() ? "" : ", ") + std::string(word.text);
    }
    if (!value_of<E>(given)) wrong(field, "is none of " + list);
  }
  template <typename T>
  void items(const Field& field, std::vector<T>& values, const TextForm<T>& form) {
    std::vector<std::string> given;
    texts(field, given);
    for (const std::string& one : given) {
      const auto parsed = form.parse(one);
      if (!parsed) {
        return wrong(field,
                     "has '" + escaped_value(one) + "', which is not a " + std::string(form.name));
      }
      values.push_back(*parsed);
    }
  }

  /// Says what is wrong with a field's value, unless something was wrong before.
  void wrong(const Field& field, const std::string& what);

  /// kUsage for a field that is not described, else for the first thing that was wrong.
  Status end();

 private:
  const Json* find(const Field& field);
  bool is_good_text(const Field& field, const Json& value);

  Json object_;
  Source source_;
  std::set<std::string, std::less<>> known_;
  std::optional<std::string> wrong_;
};

}  // namespace lamina::schema
