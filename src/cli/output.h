// What the commands print: results on stdout, talk on stderr.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "lamina/result.h"
#include "report/error_json.h"

namespace lamina::cli {

using report::error_json;
using report::exit_code_of;
using report::ExitCode;
using enum report::ExitCode;

/// Prints "lamina: message" to stderr, and with `as_json` {"message_type":"error",…} to stdout.
/// Returns the exit code.
int report_error(const Error& error, bool as_json);

/// Writes `text` to stderr. A stderr that is closed or full is no reason to fail: what cannot be
/// said is not said, and the exit code still is. (fmt::print would throw.)
void print_stderr(std::string_view text);

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
