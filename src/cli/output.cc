#include "cli/output.h"

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <cstdio>

#include "base/escape.h"

namespace lamina::cli {
namespace {

std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                        std::chrono::steady_clock::now().time_since_epoch())
                                        .count());
}

}  // namespace

int report_error(const Error& error, bool as_json) {
  print_notes(error.notes);
  const std::string message = schema::message_of(error);
  print_message(message);
  const int code = exit_code_of(error.kind);
  if (as_json) {
    print_json({{"message_type", "error"},
                {"kind", word_of(error.kind)},
                {"message", message},
                {"notes", error.notes},
                {"exit_code", code}});
  }
  return code;
}

void print_stderr(std::string_view text) {
  static_cast<void>(std::fwrite(text.data(), 1, text.size(), stderr));
}

void print_message(const std::string& message) {
  print_stderr(fmt::format("lamina: {}\n", escaped_line(message)));
}

void print_notes(const std::vector<std::string>& notes) {
  for (const std::string& note : notes) print_message(note);
}

void print_json(const nlohmann::ordered_json& document) {
  fmt::print("{}\n", schema::json_text(document, 2));
}

std::string human_bytes(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  constexpr double kStep = 1024;
  if (bytes < static_cast<std::uint64_t>(kStep)) return fmt::format("{} B", bytes);
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= kStep && unit + 1 < kUnits.size()) {
    value /= kStep;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string count_of(std::uint64_t count, std::string_view singular) {
  return fmt::format("{} {}{}", count, singular, count == 1 ? "" : "s");
}

Stopwatch::Stopwatch() : start_ns_(now_ns()) {}

double Stopwatch::elapsed_ms() const {
  constexpr double kNanosecondsPerMillisecond = 1e6;
  return static_cast<double>(now_ns() - start_ns_) / kNanosecondsPerMillisecond;
}

}  // namespace lamina::cli
