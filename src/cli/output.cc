#include "cli/output.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>

#include "base/escape.h"

namespace lamina::cli {
namespace {

bool is_word(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char byte) {
    return std::isalnum(byte) != 0 || byte == '_';
  });
}

/// "`huge_pages=2M`" without the quotes as the command line takes it: "--huge-pages 2M". Empty if
/// it is not an option with or without a value.
std::string as_argument(std::string_view quoted) {
  const std::size_t equals = quoted.find('=');
  std::string name(quoted.substr(0, equals));
  if (!is_word(name)) return {};
  std::replace(name.begin(), name.end(), '_', '-');
  if (equals == std::string_view::npos) return "--" + name;
  const std::string_view value = quoted.substr(equals + 1);
  return is_word(value) ? fmt::format("--{} {}", name, value) : std::string();
}

}  // namespace

std::string with_arguments(std::string_view text) {
  std::string shown;
  while (true) {
    const std::size_t open = text.find('`');
    const std::size_t close = open == std::string_view::npos ? open : text.find('`', open + 1);
    if (close == std::string_view::npos) return shown.append(text);
    const std::string argument = as_argument(text.substr(open + 1, close - open - 1));
    // Otherwise the second backquote may open an option.
    shown.append(text.substr(0, argument.empty() ? close : open)).append(argument);
    text.remove_prefix(argument.empty() ? close : close + 1);
  }
}

nlohmann::ordered_json with_arguments_in_notes(nlohmann::ordered_json document) {
  for (auto one = document.begin(); document.is_structured() && one != document.end(); ++one) {
    const bool is_for_a_person =
        document.is_object() && (one.key() == "notes" || one.key() == "problems");
    if (is_for_a_person && one->is_array()) {
      for (auto& note : *one) {
        if (note.is_string()) note = with_arguments(note.get<std::string>());
      }
    } else if (one->is_structured()) {
      *one = with_arguments_in_notes(std::move(*one));
    }
  }
  return document;
}

std::string shown(const Error& error) {
  const std::string remedy = with_arguments(schema::remedy_of(error));
  return remedy.empty() ? error.message : error.message + "; " + remedy;
}

int report_error(const Error& error, bool as_json) {
  print_notes(error.notes);
  print_message(shown(error));
  const std::string remedy = with_arguments(schema::remedy_of(error));
  const int code = exit_code_of(error.kind);
  if (as_json) {
    nlohmann::ordered_json document = {
        {"message_type", "error"}, {"kind", word_of(error.kind)}, {"message", error.message}};
    if (!remedy.empty()) document["remedy"] = remedy;
    document["notes"] = error.notes;
    document["exit_code"] = code;
    print_json(document);
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
  for (const std::string& note : notes) print_message(with_arguments(note));
}

void print_json(nlohmann::ordered_json document) {
  fmt::print("{}\n", schema::json_text(with_arguments_in_notes(std::move(document)), 2));
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

}  // namespace lamina::cli
