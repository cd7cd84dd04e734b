#include "cli/command_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "cli/output.h"
#include "cli/suggestion.h"

namespace lamina::cli {
namespace {

constexpr std::size_t kHelpColumn = 32;

constexpr const char* kFooter =
    "SNAPSHOT is a directory; the directory that holds it is the store.\n"
    "'lamina VERB --help' describes a verb.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 corrupt, 5 busy,\n"
    "6 no space, 130 interrupted.";

/// The first argument that is no known verb or option, with what it was probably meant to be.
std::string explain_unexpected(const CLI::App& app, const std::string& argument) {
  std::vector<std::string> candidates;
  const CLI::App* scope = &app;
  for (const CLI::App* verb : app.get_subcommands()) scope = verb;
  if (argument.starts_with("-")) {
    for (const CLI::Option* option : scope->get_options()) {
      for (const std::string& name : option->get_lnames()) candidates.push_back("--" + name);
    }
  } else if (scope == &app) {
    for (const CLI::App* verb : app.get_subcommands(nullptr))
      candidates.push_back(verb->get_name());
  }
  const std::string where = scope == &app ? std::string() : " of " + scope->get_name();
  const char* what = argument.starts_with("-") ? "option" : (scope == &app ? "verb" : "argument");
  const auto suggestion = suggest(argument.substr(0, argument.find('=')), candidates);
  return fmt::format("unknown {} '{}'{}{}", what, argument, where,
                     suggestion ? fmt::format("; did you mean '{}'?", *suggestion) : "");
}

int report_usage(const std::string& message, const CLI::App& app) {
  std::string verb;
  for (const CLI::App* parsed : app.get_subcommands()) verb = parsed->get_name() + " ";
  print_message(message);
  print_stderr(fmt::format("Try 'lamina {}--help'.\n", verb));
  return kExitUsage;
}

}  // namespace

CLI::App* add_verb(CLI::App& app, const std::string& name, const std::string& description,
                   const std::string& footer) {
  CLI::App* verb = app.add_subcommand(name, description)->group("Verbs");
  verb->footer(footer);
  verb->get_formatter()->column_width(kHelpColumn);
  return verb;
}

CLI::Option* add_text(CLI::App* verb, const std::string& name, std::string& value,
                      const std::string& description, const std::string& placeholder) {
  const auto not_empty = [](const std::string& text) {
    return text.empty() ? std::string("the value is empty") : std::string();
  };
  CLI::Option* option = verb->add_option(name, value, description);
  option->check(CLI::Validator(not_empty, ""))->type_name("");
  if (!placeholder.empty()) option->option_text(placeholder);
  return option;
}

int run_command_line(int argc, char** argv) {
  CLI::App app("lamina keeps the memory of paused microVMs", "lamina");
  app.set_version_flag("--version", "lamina " LAMINA_VERSION);
  app.footer(kFooter);
  app.get_formatter()->column_width(kHelpColumn);
  app.get_formatter()->label("SUBCOMMAND", "VERB");
  app.require_subcommand(0, 1);

  std::map<std::string, Action> actions;
  actions["ingest"] = add_ingest(app);
  actions["merge"] = add_merge(app);
  actions["materialize"] = add_materialize(app);
  actions["inspect"] = add_inspect(app);
  actions["verify"] = add_verify(app);
  actions["repair"] = add_repair(app);
  actions["doctor"] = add_doctor(app);

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help, --version
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    // What parsing could not place says more than what it then missed: a misspelt --out is the
    // reason that --out is missing.
    const std::vector<std::string> left = app.remaining(true);
    const auto odd = std::find_if(left.begin(), left.end(), [](const std::string& argument) {
      return argument.starts_with("-");
    });
    if (odd != left.end()) return report_usage(explain_unexpected(app, *odd), app);
    if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr && !left.empty()) {
      return report_usage(explain_unexpected(app, left.front()), app);
    }
    return report_usage(error.what(), app);
  }
  const auto verbs = app.get_subcommands();
  if (verbs.empty()) {
    print_stderr(app.help());
    return kExitUsage;
  }
  const int code = actions.at(verbs.front()->get_name())();
  // A result that could not be written (a full disk behind stdout) was not given.
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    print_message("the result could not be written to standard output");
    if (code == kExitDone) return kExitFailed;
  }
  return code;
}

}  // namespace lamina::cli
