// Output of the commands: results on stdout, messages on stderr.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/escape.h"
#include "lamina/result.h"
#include "schema/error_json.h"

namespace lamina::cli {

using schema::error_json;
using schema::exit_code_of;
using schema::ExitCode;
using enum schema::ExitCode;

/// A remedy (Error::remedy) or a note with the options that it names as arguments: "set
/// `layout=compact`" becomes "set --layout compact".
std::string with_arguments(std::string_view text);

/// A document with the same done to its notes and problems, at any depth.
nlohmann::ordered_json with_arguments_in_notes(nlohmann::ordered_json document);

/// "message; remedy", as a person gets it.
std::string shown(const Error& error);

/// Prints "lamina: message; remedy" to stderr, and with `as_json` {"message_type":"error",…} to
/// stdout. Returns the exit code.
int report_error(const Error& error, bool as_json);

/// Writes `text` to stderr. Errors are ignored: if stderr is closed or full, the exit code still
/// tells the result. (fmt::print would throw.)
void print_stderr(std::string_view text);

/// An argument of print_text(): a text is escaped (escaped_line()), another value stays as it is.
template <typename T>
auto escaped_argument(const T& value) {
  if constexpr (std::is_convertible_v<const T&, std::string_view>) {
    return escaped_line(value);
  } else {
    return value;
  }
}
template <typename T>
using EscapedArgument = decltype(escaped_argument(std::declval<const T&>()));

/// Prints to stdout. Untrusted texts (names, paths, contents of files) are passed as arguments,
/// which are escaped.
template <typename... Args>
void print_text(fmt::format_string<EscapedArgument<Args>...> format, const Args&... args) {
  const auto print = [&](const auto&... escaped) {
    fmt::vprint(fmt::string_view(format), fmt::make_format_args(escaped...));
  };
  print(escaped_argument(args)...);
}

/// Prints "lamina: message" to stderr, escaped to one line.
void print_message(const std::string& message);

/// Prints each note as "lamina: note" to stderr, with_arguments().
void print_notes(const std::vector<std::string>& notes);

/// Prints a JSON document, with_arguments_in_notes(), and a newline to stdout.
void print_json(nlohmann::ordered_json document);

/// "17 B", "1.5 KiB", "256.0 MiB", …
std::string human_bytes(std::uint64_t bytes);

/// "1 block", "2 blocks".
std::string count_of(std::uint64_t count, std::string_view singular);

}  // namespace lamina::cli
