// What a command line offers, as the manual pages and the shells' completions need it: read from
// the CLI11 application that parses it, so that neither can differ from the program.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <utility>
#include <vector>

namespace lamina::manual {

/// What can stand for a value. CLI11 does not know it: it follows from the placeholder that the
/// help shows ("FILE", "full|diff").
enum class ValueKind : std::uint8_t {
  kText,       ///< nothing that a shell could complete
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
  std::string description;                                      ///< half a line
  std::vector<std::string> paragraphs;                          ///< each without line breaks
  std::vector<std::pair<std::string, std::string>> exit_codes;  ///< "3", "not found"
  std::vector<Positional> positionals;
  std::vector<Option> options;
};

struct Program {
  Command command;
  std::vector<Command> verbs;
};

/// Reads the application and its subcommands. The footer is the text: paragraphs between empty
/// lines; the one that begins with "Exit codes: " is taken apart.
Program read_program(const CLI::App& app);

/// What a placeholder stands for.
Value value_of(const std::string& placeholder);

}  // namespace lamina::manual
