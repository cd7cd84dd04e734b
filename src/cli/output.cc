#include "cli/output.h"

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <cstdio>

namespace lamina::cli {
namespace {

constexpr std::string_view kNoSpaceRemedy =
    "; free space on that file system (or raise the quota), or choose another place";

std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                        std::chrono::steady_clock::now().time_since_epoch())
                                        .count());
}

std::string_view kind_name(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kFailed:
      return "failed";
    case ErrorKind::kUsage:
      return "usage";
    case ErrorKind::kNotFound:
      return "not_found";
    case ErrorKind::kCorrupt:
      return "corrupt";
    case ErrorKind::kBusy:
      return "busy";
    case ErrorKind::kNoSpace:
      return "no_space";
    case ErrorKind::kInterrupted:
      return "interrupted";
  }
  return "failed";
}

/// Every verb can meet a full disk, at every write; the remedy is the same each time.
std::string message_of(const Error& error) {
  return error.kind == ErrorKind::kNoSpace ? error.message + std::string(kNoSpaceRemedy)
                                           : error.message;
}

}  // namespace

int exit_code_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kFailed:
      return kExitFailed;
    case ErrorKind::kUsage:
      return kExitUsage;
    case ErrorKind::kNotFound:
      return kExitNotFound;
    case ErrorKind::kCorrupt:
      return kExitCorrupt;
    case ErrorKind::kBusy:
      return kExitBusy;
    case ErrorKind::kNoSpace:
      return kExitNoSpace;
    case ErrorKind::kInterrupted:
      return kExitInterrupted;
  }
  return kExitFailed;
}

int report_error(const Error& error, bool as_json) {
  print_notes(error.notes);
  const std::string message = message_of(error);
  print_message(message);
  const int code = exit_code_of(error.kind);
  if (as_json) {
    print_json({{"message_type", "error"},
                {"kind", kind_name(error.kind)},
                {"message", message},
                {"notes", error.notes},
                {"exit_code", code}});
  }
  return code;
}

std::string shown_line(std::string_view text) {
  constexpr unsigned char kFirstPrintable = 0x20;
  constexpr unsigned char kDelete = 0x7f;
  std::string line;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < kFirstPrintable || byte == kDelete) {
      line += fmt::format("\\x{:02x}", byte);
    } else {
      line += c;
    }
  }
  return line;
}

nlohmann::ordered_json error_json(const Error& error) {
  return {{"kind", kind_name(error.kind)},
          {"message", message_of(error)},
          {"exit_code", exit_code_of(error.kind)}};
}

nlohmann::ordered_json totals_json(const StoreTotals& totals) {
  return {{"allocated_bytes", totals.sum()},
          {"snapshot_bytes", totals.snapshot_bytes},
          {"pin_bytes", totals.pin_bytes},
          {"pending_bytes", totals.pending_bytes},
          {"temporary_bytes", totals.temporary_bytes},
          {"map_bytes", totals.map_bytes}};
}

void print_stderr(std::string_view text) {
  static_cast<void>(std::fwrite(text.data(), 1, text.size(), stderr));
}

void print_message(const std::string& message) {
  print_stderr(fmt::format("lamina: {}\n", shown_line(message)));
}

void print_notes(const std::vector<std::string>& notes) {
  for (const std::string& note : notes) print_message(note);
}

void print_json(const nlohmann::ordered_json& document) {
  // Paths need not be UTF-8; what is not is shown as U+FFFD.
  fmt::print("{}\n",
             document.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
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
