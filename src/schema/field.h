// Requests and reports are described once, each by a function
//
//   template <typename Visitor, Is<PauseOptions> Options>
//   void describe(Visitor& visitor, Options& options);
//
// that passes each field to a visitor (schema/requests.h, schema/reports.h). Visitors read and
// write JSON, add the options of the command line, and write the OpenAPI document. So one line adds
// a field to all of them.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

namespace lamina::schema {

/// `Value` is T or const T.
template <typename Value, typename T>
concept Is = std::same_as<std::remove_const_t<Value>, T>;

struct Field {
  std::string_view name;        ///< in JSON; the command line has "--" before it and '-' for '_'
  std::string_view help{};      ///< one line for --help and the OpenAPI document
  std::string_view value{};     ///< requests: placeholder of the value in --help: "DIR"
  std::string_view option{};    ///< requests: name of the option or positional, if not from `name`
  std::string_view api_help{};  ///< requests: help in the OpenAPI document, if not `help`
  bool required = false;        ///< requests
  bool is_always_sent = false;  ///< requests: sent even if it has its default
  std::string_view
      component{};  ///< objects and lists of them: name of the object's schema in OpenAPI
};

/// The valid values of a number.
struct Range {
  std::uint64_t least = 0;
  std::uint64_t most = UINT64_MAX;
};

/// Converts a value, or one of a list, from and to text, for the command line and for JSON.
template <typename T>
struct TextFormat {
  std::string_view name;  ///< for messages: "pause id"
  std::optional<T> (*parse)(const std::string& text);
  std::string (*format)(const T& value);
};

}  // namespace lamina::schema
