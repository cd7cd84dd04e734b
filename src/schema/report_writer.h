// Writes a report as JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "lamina/words.h"
#include "schema/error_json.h"
#include "schema/field.h"
#include "schema/json.h"

namespace lamina::schema {

class ReportWriter {
 public:
  template <typename T>
  static Json write(const T& report) {
    ReportWriter writer;
    describe(writer, report);
    return std::move(writer.document_);
  }

  void type(std::string_view type) { document_["message_type"] = type; }
  void text(const Field& field, const std::string& value) { set(field, value); }
  void texts(const Field& field, const std::vector<std::string>& value) { set(field, value); }
  void nullable_text(const Field& field, const std::string& value) {
    set(field, value.empty() ? Json(nullptr) : Json(value));
  }
  void flag(const Field& field, bool value) { set(field, value); }
  template <typename T>
  void number(const Field& field, T value) {
    set(field, value);
  }
  void real(const Field& field, double value) { set(field, value); }
  template <typename T>
  void derived(const Field& field, T value) {
    set(field, value);
  }
  template <typename T>
  void nullable(const Field& field, const T* value) {
    set(field, value == nullptr ? Json(nullptr) : Json(*value));
  }
  void id(const Field& field, const Uuid& value) { set(field, value.to_string()); }
  void optional_id(const Field& field, const std::optional<Uuid>& value) {
    if (value) id(field, *value);
  }
  void nullable_id(const Field& field, const std::optional<Uuid>& value) {
    set(field, value ? Json(value->to_string()) : Json(nullptr));
  }
  template <typename E, typename Words = decltype(kWords<E>)>
  void choice(const Field& field, E value, const Words& words = kWords<E>) {
    for (const auto& word : words) {
      if (word.value == value) set(field, word.text);
    }
  }
  void error(const Field& field, const std::optional<Error>& value) {
    set(field, value ? error_json(*value) : Json(nullptr));
  }
  template <typename T>
  void object(const Field& field, const T& value) {
    set(field, write(value));
  }
  template <typename T>
  void nullable_object(const Field& field, const std::optional<T>& value) {
    set(field, value ? write(*value) : Json(nullptr));
  }
  template <typename T>
  void list(const Field& field, const std::vector<T>& values) {
    Json list = Json::array();
    for (const T& value : values) list.push_back(write(value));
    set(field, std::move(list));
  }
  template <typename T>
  void optional_list(const Field& field, const std::optional<std::vector<T>>& values) {
    if (values) list(field, *values);
  }

 private:
  void set(const Field& field, Json value) {
    document_[std::string(field.name)] = std::move(value);
  }

  Json document_ = Json::object();
};

}  // namespace lamina::schema
