// Writes a request as the fields of a JSON object. Fields that have their default are left out.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "lamina/words.h"
#include "schema/field.h"
#include "schema/json.h"

namespace lamina::schema {

class RequestWriter {
 public:
  /// `path` converts a path for the process that executes the request; `name` converts the path of
  /// a snapshot to its name.
  struct Translation {
    std::function<std::string(const std::string&)> path;
    std::function<std::string(const std::string&)> name;
  };

  template <typename T>
  static Json write(const T& request, const Translation& translation) {
    const Translation same{.path = [](const std::string& path) { return path; },
                           .name = [](const std::string& name) { return name; }};
    RequestWriter given(translation);
    describe(given, request);
    RequestWriter defaults(same);
    const T default_request{};
    describe(defaults, default_request);
    for (const auto& [name, value] : defaults.fields_.items()) {
      const auto found = given.fields_.find(name);
      const bool is_default = found != given.fields_.end() && *found == value;
      if (is_default && !given.always_.contains(name)) given.fields_.erase(name);
    }
    return std::move(given.fields_);
  }

  /// The sender adds the store.
  void store(const std::string& /*value*/) {}
  void text(const Field& field, const std::string& value) { set(field, value); }
  void path(const Field& field, const std::string& value) {
    set(field, value.empty() ? value : translation_.path(value));
  }
  void snapshot(const Field& field, const std::string& value) {
    set(field, translation_.name(value));
  }
  void paths(const Field& field, const std::vector<std::string>& values) {
    texts(field, values, translation_.path);
  }
  void snapshots(const Field& field, const std::vector<std::string>& values) {
    texts(field, values, translation_.name);
  }
  void flag(const Field& field, bool value) { set(field, value); }
  void number(const Field& field, std::uint64_t value, Range /*range*/) { set(field, value); }
  void seconds(const Field& field, std::chrono::milliseconds value, Range /*range*/) {
    set(field, std::chrono::duration_cast<std::chrono::seconds>(value).count());
  }
  template <typename E>
  void choice(const Field& field, E value) {
    set(field, word_of(value));
  }
  template <typename T>
  void item(const Field& field, const std::optional<T>& value, const TextFormat<T>& format) {
    set(field, value ? format.format(*value) : std::string());
  }
  template <typename T>
  void items(const Field& field, const std::vector<T>& values, const TextFormat<T>& format) {
    texts(field, values, format.format);
  }
  template <typename T>
  void list(const Field& field, const std::vector<T>& values) {
    Json made = Json::array();
    for (const T& value : values) made.push_back(write(value, translation_));
    set(field, std::move(made));
  }

 private:
  explicit RequestWriter(const Translation& translation) : translation_(translation) {}

  void set(const Field& field, Json value) {
    const std::string name(field.name);
    fields_[name] = std::move(value);
    if (field.required || field.is_always_sent) always_.insert(name);
  }

  template <typename T, typename ToText>
  void texts(const Field& field, const std::vector<T>& values, const ToText& to_text) {
    Json made = Json::array();
    for (const T& value : values) made.push_back(to_text(value));
    set(field, std::move(made));
  }

  const Translation& translation_;
  Json fields_ = Json::object();
  std::set<std::string> always_;
};

}  // namespace lamina::schema
