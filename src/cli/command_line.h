// The verbs of the command line, and how they are run.
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

/// Runs a verb and returns the exit code.
using Action = std::function<int()>;

// Each adds a verb with its options to the application, and returns the action of the verb.
Action add_ingest(CLI::App& app);
Action add_merge(CLI::App& app);
Action add_compact(CLI::App& app);
Action add_materialize(CLI::App& app);
Action add_export_firecracker(CLI::App& app);
Action add_export_cloud_hypervisor(CLI::App& app);
Action add_inspect(CLI::App& app);
Action add_ls(CLI::App& app);
Action add_du(CLI::App& app);
Action add_rm(CLI::App& app);
Action add_fork(CLI::App& app);
Action add_live_fork(CLI::App& app);
Action add_verify(CLI::App& app);
Action add_repair(CLI::App& app);
Action add_doctor(CLI::App& app);
Action add_serve(CLI::App& app);
Action add_pause(CLI::App& app);
Action add_resume(CLI::App& app);
Action add_recover(CLI::App& app);
Action add_ui(CLI::App& app);
Action add_report(CLI::App& app);
Action add_top(CLI::App& app);
#ifdef LAMINA_HAVE_PACKED
Action add_pack(CLI::App& app);
Action add_unpack(CLI::App& app);
Action add_import_e2b(CLI::App& app);
Action add_export_e2b(CLI::App& app);
#endif
// Only with LAMINA_HAVE_REMOTE.
Action add_remote_push(CLI::App& app);
Action add_remote_pull(CLI::App& app);
Action add_remote_fetch(CLI::App& app);
Action add_remote_ls(CLI::App& app);
Action add_remote_du(CLI::App& app);
Action add_remote_rm(CLI::App& app);
Action add_remote_prune(CLI::App& app);
Action add_remote_verify(CLI::App& app);
Action add_remote_check(CLI::App& app);
Action add_remote_keys_ls(CLI::App& app);
Action add_remote_keys_rotate(CLI::App& app);
Action add_remote_keys_destroy(CLI::App& app);

/// Adds a verb. `footer` is the text below the list of options.
CLI::App* add_verb(CLI::App& app, const std::string& name, const std::string& description,
                   const std::string& footer);

/// Adds an option or a positional whose value is a text that may not be empty: an empty text is
/// often an unset variable of a script. `placeholder` stands for the value in the help.
CLI::Option* add_text(CLI::App* verb, const std::string& name, std::string& value,
                      const std::string& description, const std::string& placeholder = "");

/// Adds a positional that may be given several times. No value may be empty.
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

/// The result of parsing valid arguments.
struct Invocation {
  Action action;     ///< runs the verb; empty: no verb was given
  std::string text;  ///< not empty: the text of --help or --version, to print instead
};

/// The options and verbs of the program. parse() may be called once.
class CommandLine {
 public:
  CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;
  CommandLine(CommandLine&&) = delete;
  CommandLine& operator=(CommandLine&&) = delete;
  ~CommandLine() = default;

  /// Parses all arguments after the program's name; runs nothing. kUsage: the message says what is
  /// wrong, and quotes arguments unescaped; print_message() escapes them.
  Result<Invocation> parse(const std::vector<std::string>& arguments);

  /// The verb that was parsed, also if parse() failed; empty: none.
  [[nodiscard]] std::string verb() const;
  /// The help of the program.
  [[nodiscard]] std::string help() const { return app_.help(); }
  /// The parser, from which the manual is made.
  [[nodiscard]] const CLI::App& app() const { return app_; }

 private:
  CLI::App app_;
  std::map<std::string, Action> actions_;
};

/// Parses and runs; returns the exit code.
int run_command_line(int argc, char** argv);

}  // namespace lamina::cli
