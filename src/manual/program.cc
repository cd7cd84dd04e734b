#include "manual/program.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <sstream>
#include <string_view>

namespace lamina::manual {
namespace {

constexpr std::string_view kExitCodes = "Exit codes: ";

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::vector<std::string> paragraphs_of(const std::string& text) {
  std::vector<std::string> paragraphs;
  bool is_new = true;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) {
      is_new = true;
    } else if (is_new) {
      paragraphs.push_back(line);
      is_new = false;
    } else {
      paragraphs.back() += " " + line;
    }
  }
  return paragraphs;
}

/// Splits "0 done, 1 failed, or worse, 2 usage." at each comma that a number follows.
std::vector<std::pair<std::string, std::string>> exit_codes_of(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> codes;
  if (text.ends_with('.')) text.remove_suffix(1);
  while (!text.empty()) {
    std::size_t end = text.find(", ");
    while (end != std::string_view::npos && !is_digit(text[std::min(end + 2, text.size() - 1)])) {
      end = text.find(", ", end + 1);
    }
    const std::string_view part = text.substr(0, end);
    const std::size_t space = std::min(part.find(' '), part.size());
    codes.emplace_back(part.substr(0, space), part.substr(std::min(space + 1, part.size())));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 2);
  }
  return codes;
}

bool is_one_of(const std::string& word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

Option option_of(const CLI::Option& option) {
  Option read;
  for (const std::string& name : option.get_snames()) read.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) read.names.push_back("--" + name);
  read.description = option.get_description();
  read.takes_value = option.get_items_expected_max() > 0;
  if (read.takes_value) read.value = value_of(option.get_option_text());
  read.is_required = option.get_required();
  read.is_repeatable = read.takes_value && option.get_items_expected_max() > 1;
  return read;
}

Command command_of(const CLI::App& app) {
  Command command;
  command.name = app.get_name();
  command.description = app.get_description();
  for (const std::string& paragraph : paragraphs_of(app.get_footer())) {
    if (paragraph.starts_with(kExitCodes)) {
      command.exit_codes = exit_codes_of(std::string_view(paragraph).substr(kExitCodes.size()));
    } else {
      command.paragraphs.push_back(paragraph);
    }
  }
  for (const CLI::Option* option : app.get_options({})) {
    if (option->get_positional()) {
      command.positionals.push_back({value_of(option->get_name(true)), option->get_description(),
                                     option->get_required(), option->get_items_expected_max() > 1});
    } else {
      command.options.push_back(option_of(*option));
    }
  }
  return command;
}

}  // namespace

Value value_of(const std::string& placeholder) {
  Value value{placeholder};
  const bool is_choice = placeholder.find('|') != std::string::npos &&
                         std::islower(static_cast<unsigned char>(placeholder.front())) != 0;
  if (is_choice) {
    value.kind = ValueKind::kChoice;
    std::istringstream words(placeholder);
    for (std::string word; std::getline(words, word, '|');) value.choices.push_back(word);
  } else if (is_one_of(placeholder, {"MEMFILE", "FILE", "PATH", "SOCKET", "SNAPSHOT|HEADER"})) {
    value.kind = ValueKind::kFile;
  } else if (is_one_of(placeholder, {"DIR", "DIRECTORY", "STORE", "SNAPSHOT", "NEW"})) {
    value.kind = ValueKind::kDirectory;
  } else if (placeholder == "NAME") {
    value.kind = ValueKind::kName;
  }
  return value;
}

Program read_program(const CLI::App& app) {
  Program program{command_of(app), {}};
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    program.verbs.push_back(command_of(*verb));
  }
  return program;
}

}  // namespace lamina::manual
