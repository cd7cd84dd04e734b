// Writes a request as the fields of a JSON object, without those that have their default.
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
  /// `path` says how the process that carries the request out finds a path of ours, `name` what a
  /// snapshot is called there.
  struct Translation {
    std::function<std::string(const std::string&)> path;
    std::function<std::string(const std::string&)> name;
  };

  template <typename T>
  static Json write(const T& request, const Translation& translation) {
    const Translation same{[](const std::string& path) { return path; },
                           [](const std::string& name) { return name; }};
    RequestWriter given(translation);
    describe(given, request);
    RequestWriter usual(same);
    const T unchanged{};
    describe(usual, unchanged);
    for (const auto& [name, value] : usual.fields_.items()) {
      const auto found = given.fields_.find(name);
      const bool is_default = found != given.fields_.end() && *found == value;
      if (is_default && !given.always_.contains(name)) given.fields_.erase(name);
    }
    return std::move(given.fields_);
  }

  /// Known to who sends the request.
  void store(const std::string& /*value*/) {}
  void text(const Field& field, const std::string& value) { set(field, value); }
  void path(const Field& field, const std::string& value) {
    set(field, value.empty() ? value : translation_.path(value));
  }
  void snapshot(const Field& field, const std::string& value) {
    set(field, translation_.name(value));
  }
  void paths(const Field& field, const std::vector<std::string>& values) {
    list(field, values, translation_.path);
  }
  void snapshots(const Field& field, const std::vector<std::string>& values) {
    list(field, values, translation_.name);
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
  void items(const Field& field, const std::vector<T>& values, const TextForm<T>& form) {
    list(field, values, form.format);
  }

 private:
  explicit RequestWriter(const Translation& translation) : translation_(translation) {}

  void set(const Field& field, Json value) {
    const std::string name(field.name);
    fields_[name] = std::move(value);
    if (field.required || field.is_always_sent) always_.insert(name);
  }

  template <typename T, typename ToText>
  void list(const Field& field, const std::vector<T>& values, const ToText& to_text) {
    Json made = Json::array();
    for (const T& value : values) made.push_back(to_text(value));
    set(field, std::move(made));
  }

  const Translation& translation_;
  Json fields_ = Json::object();
  std::set<std::string> always_;
};

}  // namespace lamina::schema
