// Reads a request from the fields of a JSON object, or of a URL's query. An unknown field is an
// error: it may be a misspelt one.
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
    kQuery,  ///< all values are strings
  };

  /// REQUIRES: `object` is a JSON object.
  RequestReader(Json object, Source source) : object_(std::move(object)), source_(source) {}

  // Each sets `value` if the field is present. An error is kept for end(). Its message is short and
  // has no control characters.

  /// The store that the request names.
  void store(std::string& value) { text({.name = "store"}, value); }
  /// A text that is not empty and has no NUL.
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
    if (!value_of<E>(given)) wrong(field, "is not one of " + list);
  }
  template <typename T>
  void item(const Field& field, std::optional<T>& value, const TextFormat<T>& format) {
    std::string given;
    text(field, given);
    if (!given.empty()) value = parsed(field, given, format);
  }
  template <typename T>
  void items(const Field& field, std::vector<T>& values, const TextFormat<T>& format) {
    std::vector<std::string> given;
    texts(field, given);
    for (const std::string& one : given) {
      auto value = parsed(field, one, format);
      if (!value) return;
      values.push_back(std::move(*value));
    }
  }

  /// A list of objects. An error in one names it ("clones[0].api_socket") and ends the list.
  template <typename T>
  void list(const Field& field, std::vector<T>& values) {
    Json* found = find(field);
    if (found == nullptr) return;
    if (!found->is_array()) return wrong(field, "is not a list of objects");
    for (Json& item : *found) {
      const std::string place =
          where_ + std::string(field.name) + "[" + std::to_string(values.size()) + "]";
      if (!item.is_object()) return wrong_at(place, "is not an object");
      // Moved: a copy of what is nested deeply is made by recursion.
      RequestReader reader(std::move(item), source_);
      reader.where_ = place + ".";
      describe(reader, values.emplace_back());
      if (const Status read = reader.end(); !read) {
        if (!wrong_) wrong_ = read.error().message;
        return;
      }
    }
  }

  /// Keeps the error of a field, unless there is one already. `what`: "is empty".
  void wrong(const Field& field, const std::string& what);

  /// kUsage for an unknown field, else for the first wrong one.
  Status end();

 private:
  template <typename T>
  std::optional<T> parsed(const Field& field, const std::string& text,
                          const TextFormat<T>& format) {
    auto value = format.parse(text);
    if (!value) {
      wrong(field, "has '" + escaped_value(text) + "', which is not a " + std::string(format.name));
    }
    return value;
  }

  Json* find(const Field& field);
  void wrong_at(const std::string& place, const std::string& what);
  bool is_good_text(const Field& field, const Json& value);

  Json object_;
  Source source_;
  std::string where_;  ///< before the names of fields in messages: "clones[0]."
  std::set<std::string, std::less<>> known_;
  std::optional<std::string> wrong_;
};

}  // namespace lamina::schema
