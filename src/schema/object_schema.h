// Writes the schemas of requests and reports for the OpenAPI document (version 3.0).
#pragma once

#include <cctype>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "lamina/words.h"
#include "schema/field.h"
#include "schema/json.h"

namespace lamina::schema {

/// The named schemas of the document.
using Components = Json;

inline Json reference_to(std::string_view component) {
  return {{"$ref", "#/components/schemas/" + std::string(component)}};
}

/// Common base of RequestSchema and ReportSchema.
class ObjectSchema {
 public:
  explicit ObjectSchema(Components& components) : components_(components) {}

  Json take() && {
    Json made = {{"type", "object"}};
    if (!required_.empty()) made["required"] = std::move(required_);
    made["properties"] = std::move(properties_);
    return made;
  }

 protected:
  static Json text_schema() { return {{"type", "string"}}; }
  static Json id_schema() { return {{"type", "string"}, {"format", "uuid"}}; }
  static Json number_schema() { return {{"type", "integer"}, {"format", "int64"}, {"minimum", 0}}; }
  static Json list_of(Json items) { return {{"type", "array"}, {"items", std::move(items)}}; }

  template <typename T>
  static Json schema_of() {
    if constexpr (std::is_same_v<T, bool>) {
      return {{"type", "boolean"}};
    } else if constexpr (std::is_integral_v<T>) {
      return number_schema();
    } else if constexpr (std::is_floating_point_v<T>) {
      return {{"type", "number"}};
    } else {
      return text_schema();
    }
  }

  template <typename Words>
  static Json words_schema(const Words& words) {
    Json schema = text_schema();
    for (const auto& word : words) schema["enum"].push_back(word.text);
    return schema;
  }

  void add(const Field& field, Json schema, bool is_required) {
    std::string text(field.api_help.empty() ? field.help : field.api_help);
    if (!text.empty()) {
      text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
      schema["description"] = std::move(text);
    }
    properties_[std::string(field.name)] = std::move(schema);
    if (is_required) required_.push_back(field.name);
  }

  Components& components_;

 private:
  Json properties_ = Json::object();
  Json required_ = Json::array();
};

class RequestSchema : public ObjectSchema {
 public:
  template <typename T>
  static Json write(Components& components) {
    RequestSchema schema(components);
    schema.store();
    return fill<T>(std::move(schema));
  }

  void store(const std::string& /*value*/) {}
  void text(const Field& field, const std::string& /*value*/) { put(field, text_schema()); }
  void path(const Field& field, const std::string& /*value*/) { put(field, text_schema()); }
  void snapshot(const Field& field, const std::string& /*value*/) { put(field, text_schema()); }
  void paths(const Field& field, const std::vector<std::string>& /*values*/) {
    put(field, list_of(text_schema()));
  }
  void snapshots(const Field& field, const std::vector<std::string>& /*values*/) {
    put(field, list_of(text_schema()));
  }
  void flag(const Field& field, bool value) {
    put(field, {{"type", "boolean"}, {"default", value}});
  }
  void number(const Field& field, std::uint64_t /*value*/, Range range) {
    put(field, {{"type", "integer"},
                {"format", "int64"},
                {"minimum", range.least},
                {"maximum", range.most}});
  }
  void seconds(const Field& field, std::chrono::milliseconds value, Range range) {
    Field described = field;
    const std::string text = "Seconds: " + std::string(field.help);
    described.api_help = text;
    put(described, {{"type", "integer"},
                    {"minimum", range.least},
                    {"maximum", range.most},
                    {"default", std::chrono::duration_cast<std::chrono::seconds>(value).count()}});
  }
  template <typename E>
  void choice(const Field& field, E value) {
    Json schema = words_schema(kWords<E>);
    schema["default"] = word_of(value);
    put(field, std::move(schema));
  }
  template <typename T>
  void item(const Field& field, const std::optional<T>& /*value*/,
            const TextFormat<T>& /*format*/) {
    put(field, text_schema());
  }
  template <typename T>
  void items(const Field& field, const std::vector<T>& /*values*/,
             const TextFormat<T>& /*format*/) {
    put(field, list_of(text_schema()));
  }
  /// `field` has a component.
  template <typename T>
  void list(const Field& field, const std::vector<T>& /*values*/) {
    const std::string name(field.component);
    if (!components_.contains(name)) {
      Json schema = fill<T>(RequestSchema(components_));
      components_[name] = std::move(schema);
    }
    put(field, list_of(reference_to(name)));
  }

 private:
  using ObjectSchema::ObjectSchema;

  template <typename T>
  static Json fill(RequestSchema schema) {
    const T request{};
    describe(schema, request);
    Json made = std::move(schema).take();
    made["additionalProperties"] = false;
    return made;
  }
  void store() {
    put({.name = "store",
         .help = "Path of the store, as the daemon sees it. A daemon of another store refuses the "
                 "request with 421. Default: the daemon's store"},
        text_schema());
  }
  void put(const Field& field, Json schema) { add(field, std::move(schema), field.required); }
};

class ReportSchema : public ObjectSchema {
 public:
  template <typename T>
  static Json write(Components& components) {
    ReportSchema schema(components);
    const T report{};
    describe(schema, report);
    return std::move(schema).take();
  }

  void type(std::string_view type) {
    Json schema = text_schema();
    schema["enum"] = Json::array({type});
    put({.name = "message_type"}, std::move(schema));
  }
  void text(const Field& field, const std::string& /*value*/) { put(field, text_schema()); }
  void texts(const Field& field, const std::vector<std::string>& /*value*/) {
    put(field, list_of(text_schema()));
  }
  void nullable_text(const Field& field, const std::string& /*value*/) {
    put_nullable(field, text_schema());
  }
  void flag(const Field& field, bool /*value*/) { put(field, schema_of<bool>()); }
  template <typename T>
  void number(const Field& field, T /*value*/) {
    put(field, number_schema());
  }
  void real(const Field& field, double /*value*/) { put(field, schema_of<double>()); }
  template <typename T>
  void derived(const Field& field, T /*value*/) {
    put(field, schema_of<T>());
  }
  template <typename T>
  void nullable(const Field& field, const T* /*value*/) {
    put_nullable(field, schema_of<T>());
  }
  void id(const Field& field, const Uuid& /*value*/) { put(field, id_schema()); }
  void optional_id(const Field& field, const std::optional<Uuid>& /*value*/) {
    add(field, id_schema(), false);
  }
  void nullable_id(const Field& field, const std::optional<Uuid>& /*value*/) {
    put_nullable(field, id_schema());
  }
  template <typename E, typename Words = decltype(kWords<E>)>
  void choice(const Field& field, E /*value*/, const Words& words = kWords<E>) {
    put(field, words_schema(words));
  }
  void error(const Field& field, const std::optional<Error>& /*value*/) {
    put_nullable(field, {{"allOf", Json::array({reference_to("ItemError")})}});
  }
  template <typename T>
  void object(const Field& field, const T& /*value*/) {
    put(field, object_schema<T>(field));
  }
  /// `field` has a component.
  template <typename T>
  void nullable_object(const Field& field, const std::optional<T>& /*value*/) {
    put_nullable(field, {{"allOf", Json::array({object_schema<T>(field)})}});
  }
  template <typename T>
  void list(const Field& field, const std::vector<T>& /*values*/) {
    put(field, list_of(object_schema<T>(field)));
  }
  template <typename T>
  void optional_list(const Field& field, const std::optional<std::vector<T>>& /*values*/) {
    add(field, list_of(object_schema<T>(field)), false);
  }

 private:
  using ObjectSchema::ObjectSchema;

  template <typename T>
  Json object_schema(const Field& field) {
    if (field.component.empty()) return write<T>(components_);
    const std::string name(field.component);
    if (!components_.contains(name)) {
      Json schema = write<T>(components_);
      components_[name] = std::move(schema);
    }
    return reference_to(name);
  }
  void put(const Field& field, Json schema) { add(field, std::move(schema), true); }
  void put_nullable(const Field& field, Json schema) {
    schema["nullable"] = true;
    put(field, std::move(schema));
  }
};

}  // namespace lamina::schema
