#include "manual/man_page.h"

#include <fmt/format.h>

#include <cctype>
#include <string_view>

namespace lamina::manual {
namespace {

/// Escapes literal text for troff. Each character is the ASCII one, which can be copied to a shell.
std::string plain(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '\\':
        escaped += "\\e";
        break;
      case '-':
        escaped += "\\-";
        break;
      case '\'':
        escaped += "\\(aq";
        break;
      case '`':
        escaped += "\\(ga";
        break;
      case '^':
        escaped += "\\(ha";
        break;
      case '~':
        escaped += "\\(ti";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

std::string bold(std::string_view text) { return "\\fB" + plain(text) + "\\fR"; }
std::string italic(std::string_view text) { return "\\fI" + plain(text) + "\\fR"; }

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-'; }

/// Escapes running text. Options (--zeros) are bold; a hyphen within a word stays a hyphen.
std::string prose(std::string_view text) {
  std::string written;
  std::string_view before = " ";
  while (!text.empty()) {
    std::size_t length = 0;
    while (length < text.size() && is_word(text[length])) ++length;
    const std::string_view word = text.substr(0, std::max<std::size_t>(length, 1));
    if (word.size() > 1 && word.front() == '-' && !is_word(before.back())) {
      written += bold(word);
    } else if (length > 0 && word.front() != '-') {
      written += word;
    } else {
      written += plain(word);
    }
    before = word;
    text.remove_prefix(word.size());
  }
  return written.starts_with('.') ? "\\&" + written : written;
}

std::string value_text(const Value& value) {
  if (value.kind != ValueKind::kChoice) return italic(value.placeholder);
  std::string text;
  for (const std::string& choice : value.choices) text += (text.empty() ? "" : "|") + bold(choice);
  return text;
}

std::string positional_text(const Positional& positional) {
  const std::string text = italic(positional.value.placeholder);
  const std::string many = positional.is_repeatable ? "..." : "";
  return positional.is_required ? text + many : "[" + text + many + "]";
}

std::string title(const std::string& name, const std::string& section, const Edition& edition) {
  std::string upper = name;
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return fmt::format(
      ".\\\" Made from the program's own descriptions; changes belong there.\n"
      ".TH {} {} {} \"lamina {}\" \"lamina manual\"\n.SH NAME\n",
      plain(upper), section, edition.date, plain(edition.version));
}

void add_synopsis(std::string& page, const std::string& program, const Command& command) {
  std::string line = bold(program);
  for (const Positional& positional : command.positionals) {
    line += " " + positional_text(positional);
  }
  for (const Option& option : command.options) {
    if (option.is_required)
      line += " " + bold(option.names.back()) + " " + value_text(option.value);
  }
  page += ".SH SYNOPSIS\n" + line + " [" + italic("OPTION") + "...]\n";
}

void add_options(std::string& page, const Command& command) {
  if (!command.positionals.empty()) {
    page += ".SH ARGUMENTS\n";
    for (const Positional& positional : command.positionals) {
      page += ".TP\n" + positional_text(positional) + "\n" + prose(positional.description) + "\n";
    }
  }
  page += ".SH OPTIONS\n";
  for (const Option& option : command.options) {
    std::string line;
    for (const std::string& name : option.names) line += (line.empty() ? "" : ", ") + bold(name);
    if (option.takes_value) line += " " + value_text(option.value);
    page += ".TP\n" + line + "\n" + prose(option.description);
    if (option.is_required) page += " (needed)";
    if (option.is_repeatable) page += " (repeatable)";
    page += "\n";
  }
}

void add_description(std::string& page, const Command& command) {
  if (command.paragraphs.empty()) return;
  page += ".SH DESCRIPTION\n";
  bool is_first = true;
  for (const std::string& paragraph : command.paragraphs) {
    if (!is_first) page += ".PP\n";
    page += prose(paragraph) + "\n";
    is_first = false;
  }
}

void add_exit_codes(std::string& page, const Command& command) {
  if (command.exit_codes.empty()) return;
  page += ".SH EXIT STATUS\n";
  for (const auto& [code, meaning] : command.exit_codes) {
    page += ".TP\n" + bold(code) + "\n" + prose(meaning) + "\n";
  }
}

std::string page_name(const std::string& name, const std::string& section) {
  return ".BR " + plain(name) + " (" + section + ")";
}

}  // namespace

std::string program_page(const Program& program, const std::string& section,
                         const Edition& edition) {
  const Command& command = program.command;
  std::string page = title(command.name, section, edition);
  // The description repeats the name: "lamina keeps the memory …".
  std::string description = command.description;
  if (description.starts_with(command.name + " ")) description.erase(0, command.name.size() + 1);
  page += plain(command.name) + " \\- " + prose(description) + "\n";
  if (program.verbs.empty()) {
    add_synopsis(page, command.name, command);
  } else {
    page += ".SH SYNOPSIS\n" + bold(command.name) + " " + italic("VERB") + " [" +
            italic("ARGUMENT") + "...]\n";
  }
  add_description(page, command);
  if (!program.verbs.empty()) {
    page += ".SH VERBS\nEach has a page of its own: " +
            bold("man " + command.name + " " + program.verbs.front().name) + ".\n";
    for (const Command& verb : program.verbs) {
      page += ".TP\n" + bold(verb.name) + "\n" + prose(verb.description) + "\n";
    }
  }
  add_options(page, command);
  add_exit_codes(page, command);
  page += ".SH SEE ALSO\n";
  if (program.verbs.empty()) return page + page_name("lamina", "1") + "\n";
  for (const Command& verb : program.verbs) {
    page += page_name(command.name + "-" + verb.name, section) + " ,\n";
  }
  return page + page_name("laminad", "8") + "\n";
}

std::string verb_page(const Program& program, const Command& verb, const Edition& edition) {
  const std::string& name = program.command.name;
  std::string page = title(name + "-" + verb.name, "1", edition);
  page += plain(name + "-" + verb.name) + " \\- " + prose(verb.description) + "\n";
  add_synopsis(page, name + " " + verb.name, verb);
  add_description(page, verb);
  add_options(page, verb);
  add_exit_codes(page, verb);
  page += ".SH SEE ALSO\n" + page_name(name, "1") + "\n";
  return page;
}

}  // namespace lamina::manual
