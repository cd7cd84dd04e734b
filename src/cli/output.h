// What the commands print: results on stdout, talk on stderr.
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

/// Prints "lamina: message" to stderr, and with `as_json` {"message_type":"error",…} to stdout.
/// Returns the exit code.
int report_error(const Error& error, bool as_json);

/// Writes `text` to stderr. A stderr that is closed or full is no reason to fail: what cannot be
/// said is not said, and the exit code still is. (fmt::print would throw.)
void print_stderr(std::string_view text);

/// An argument of print_text(): texts are shown on one line, without what a terminal would take for
/// a command; all else is what it is.
template <typename T>
auto shown_argument(const T& value) {
  if constexpr (std::is_convertible_v<const T&, std::string_view>) {
    return escaped_line(value);
  } else {
    return value;
  }
}
template <typename T>
using ShownArgument = decltype(shown_argument(std::declval<const T&>()));

/// Prints to stdout. Names, paths and what files say come from outside: they are arguments, never
/// part of a text that is printed as it is.
template <typename... Args>
void print_text(fmt::format_string<ShownArgument<Args>...> format, const Args&... args) {
  const auto print = [&](const auto&... shown) {
    fmt::vprint(fmt::string_view(format), fmt::make_format_args(shown...));
  };
  print(shown_argument(args)...);
}

/// Prints "lamina: message" to stderr, on one line.
void print_message(const std::string& message);

/// Prints each note as "lamina: note" to stderr.
void print_notes(const std::vector<std::string>& notes);

/// Prints a JSON document and a newline to stdout.
void print_json(const nlohmann::ordered_json& document);

/// "17 B", "1.5 KiB", "256.0 MiB", …
std::string human_bytes(std::uint64_t bytes);

/// "1 block", "2 blocks".
std::string count_of(std::uint64_t count, std::string_view singular);

/// Milliseconds since it was made.
class Stopwatch {
 public:
  Stopwatch();
  [[nodiscard]] double elapsed_ms() const;

 private:
  std::uint64_t start_ns_;
};

}  // namespace lamina::cli
