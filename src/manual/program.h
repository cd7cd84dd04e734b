// The verbs and options of a program, for its manual pages and completions. They are read from the
// CLI11 application that parses them, so the manual cannot differ from the program.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <utility>
#include <vector>

namespace lamina::manual {

/// The kind of a value. It is derived from the placeholder in the help ("FILE", "full|diff"),
/// because CLI11 does not know it.
enum class ValueKind : std::uint8_t {
  kText,       ///< a shell cannot complete it
  kChoice,     ///< one of `choices`
  kFile,       ///< MEMFILE, FILE, PATH, SOCKET
  kDirectory,  ///< DIR, DIRECTORY, STORE, SNAPSHOT
  kName,       ///< NAME: of a snapshot in the store
};

struct Value {
  std::string placeholder;
  ValueKind kind = ValueKind::kText;
  std::vector<std::string> choices{};  // NOLINT(readability-redundant-member-init)
};

struct Option {
  std::vector<std::string> names;  ///< with their dashes, the long ones last: "-V", "--version"
  std::string description;
  bool takes_value = false;
  Value value;
  bool is_required = false;
  bool is_repeatable = false;
};

struct Positional {
  Value value;
  std::string description;
  bool is_required = false;
  bool is_repeatable = false;
};

/// A program, or one verb of it.
struct Command {
  std::string name;                                             ///< "lamina", "laminad", "ingest"
  std::string description;                                      ///< one phrase
  std::vector<std::string> paragraphs;                          ///< each without line breaks
  std::vector<std::pair<std::string, std::string>> exit_codes;  ///< "3", "not found"
  std::vector<Positional> positionals;
  std::vector<Option> options;
};

struct Program {
  Command command;
  std::vector<Command> verbs;
};

/// Reads the application and its subcommands. Empty lines separate the paragraphs of the footer.
/// The paragraph that begins with "Exit codes: " becomes Command::exit_codes.
Program read_program(const CLI::App& app);

/// The kind of value that a placeholder stands for.
Value value_of(const std::string& placeholder);

}  // namespace lamina::manual
