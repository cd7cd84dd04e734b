// How a request or a report is described: once, by a function
//
//   template <typename Visitor, Is<PauseOptions> Options>
//   void describe(Visitor& visitor, Options& options);
//
// that names each of its fields to a visitor (schema/requests.h, schema/reports.h). The visitors
// are what reads and writes JSON, adds the options of the command line, and writes the OpenAPI
// document. A field is added to all of them by one line.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

namespace lamina::schema {

/// A value of type T, or one that is only read.
template <typename Value, typename T>
concept Is = std::same_as<std::remove_const_t<Value>, T>;

struct Field {
  std::string_view name;        ///< in JSON; on the command line "--" before it and '-' for '_'
  std::string_view help{};      ///< one line; for a report: what it means, in the OpenAPI document
  std::string_view value{};     ///< requests: stands for the value in the help: "DIR"
  std::string_view option{};    ///< requests: the option or positional, where it is named otherwise
  std::string_view api_help{};  ///< requests: the OpenAPI document's words, where they differ
  bool required = false;        ///< requests
  bool is_always_sent = false;  ///< requests: also when it has its default
  std::string_view
      component{};  ///< objects and lists: the name of the object in the OpenAPI document
};

/// The values that a number may have.
struct Range {
  std::uint64_t least = 0;
  std::uint64_t most = UINT64_MAX;
};

/// The text of one value in a list, for the command line and for JSON.
template <typename T>
struct TextForm {
  std::string_view name;  ///< for messages: "pause id"
  std::optional<T> (*parse)(const std::string& text);
  std::string (*format)(const T& value);
};

}  // namespace lamina::schema
