// The verbs of the command line and how they are run.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "lamina/words.h"

namespace lamina::cli {

/// One verb: adds itself to the application and returns what runs it, which gives the exit code.
using Action = std::function<int()>;

Action add_ingest(CLI::App& app);
Action add_merge(CLI::App& app);
Action add_compact(CLI::App& app);
Action add_materialize(CLI::App& app);
Action add_inspect(CLI::App& app);
Action add_ls(CLI::App& app);
Action add_du(CLI::App& app);
Action add_rm(CLI::App& app);
Action add_fork(CLI::App& app);
Action add_verify(CLI::App& app);
Action add_repair(CLI::App& app);
Action add_doctor(CLI::App& app);
Action add_serve(CLI::App& app);
Action add_pause(CLI::App& app);
Action add_resume(CLI::App& app);
Action add_recover(CLI::App& app);

/// Adds a verb with our help layout.
CLI::App* add_verb(CLI::App& app, const std::string& name, const std::string& description,
                   const std::string& footer);

/// Adds an option (`placeholder` stands for its value) or a positional whose value is a text that
/// may not be empty: an unset variable in a script must not pass for an option that was not given.
CLI::Option* add_text(CLI::App* verb, const std::string& name, std::string& value,
                      const std::string& description, const std::string& placeholder = "");

/// Adds a positional that may be given several times, each not empty.
CLI::Option* add_texts(CLI::App* verb, const std::string& name, std::vector<std::string>& values,
                       const std::string& description);

/// Adds an option whose value is one of the words of T, or of `words`.
template <typename T>
void add_choice(CLI::App* verb, const std::string& name, T& value, const std::string& description,
                std::span<const Word<T>> words = kWords<T>) {
  std::string list;
  for (const Word<T>& word : words) list += (list.empty() ? "" : "|") + std::string(word.text);
  const auto choose = [&value, words, name, list](const std::string& given) {
    for (const Word<T>& word : words) {
      if (word.text != given) continue;
      value = word.value;
      return;
    }
    throw CLI::ValidationError(name, "'" + given + "' is not one of " + list);
  };
  verb->add_option_function<std::string>(name, choose, description)->option_text(list);
}

/// What arguments come to that nothing is wrong with.
struct Invocation {
  Action action;       ///< runs the verb; empty: there is none
  std::string answer;  ///< what --help or --version prints, instead of running anything
};

/// The options and verbs of the program. Arguments are parsed into it once.
class CommandLine {
 public:
  CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;
  CommandLine(CommandLine&&) = delete;
  CommandLine& operator=(CommandLine&&) = delete;
  ~CommandLine() = default;

  /// Takes all arguments that follow the program's name; runs nothing. kUsage says what is wrong
  /// with them, in a message that quotes them as they are: print_message() makes one line of it.
  Result<Invocation> parse(const std::vector<std::string>& arguments);

  /// The verb that was found, also by a parse that failed; empty: none.
  [[nodiscard]] std::string verb() const;
  /// The help of the program.
  [[nodiscard]] std::string help() const { return app_.help(); }
  /// What can be given, for the manual.
  [[nodiscard]] const CLI::App& app() const { return app_; }

 private:
  CLI::App app_;
  std::map<std::string, Action> actions_;
};

/// Parses and runs; returns the exit code.
int run_command_line(int argc, char** argv);

}  // namespace lamina::cli
