#include "cli/command_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "cli/output.h"
#include "cli/usage_error.h"

namespace lamina::cli {
namespace {

constexpr std::size_t kHelpColumn = 32;

constexpr const char* kFooter =
    "SNAPSHOT is a directory; the directory that holds it is the store.\n"
    "'lamina help VERB' describes a verb.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 corrupt, 5 busy,\n"
    "6 no space, 130 interrupted.";

/// Whether the error shall be printed as JSON too. What could not be parsed is searched for the
/// option instead.
bool wants_json(const std::vector<std::string>& arguments) {
  const auto end = std::find(arguments.begin(), arguments.end(), "--");
  return std::find(arguments.begin(), end, "--json") != end;
}

int report_usage(const std::string& message, const CLI::App& app,
                 const std::vector<std::string>& arguments) {
  std::string verb;
  for (const CLI::App* parsed : app.get_subcommands()) verb = parsed->get_name() + " ";
  const int code = report_error({ErrorKind::kUsage, message}, wants_json(arguments));
  print_stderr(fmt::format("Try 'lamina {}--help'.\n", verb));
  return code;
}

/// "help" and "help VERB …" as "--help" and "VERB … --help"; all else as it is.
std::vector<std::string> without_help_verb(std::vector<std::string> arguments) {
  if (arguments.empty() || arguments.front() != "help") return arguments;
  arguments.erase(arguments.begin());
  if (!arguments.empty() && arguments.front() == "help") arguments.erase(arguments.begin());
  arguments.emplace_back("--help");
  return arguments;
}

CLI::Validator not_empty() {
  const auto check = [](const std::string& text) {
    return text.empty() ? std::string("the value is empty") : std::string();
  };
  return {check, ""};
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
  CLI::Option* option = verb->add_option(name, value, description);
  option->check(not_empty())->type_name("");
  if (!placeholder.empty()) option->option_text(placeholder);
  return option;
}

CLI::Option* add_texts(CLI::App* verb, const std::string& name, std::vector<std::string>& values,
                       const std::string& description) {
  return verb->add_option(name, values, description)->check(not_empty())->type_name("");
}

int run_command_line(int argc, char** argv) {
  CLI::App app("lamina keeps the memory of paused microVMs", "lamina");
  app.set_version_flag("--version,-V", "lamina " LAMINA_VERSION);
  app.footer(kFooter);
  app.get_formatter()->column_width(kHelpColumn);
  app.get_formatter()->label("SUBCOMMAND", "VERB");
  app.require_subcommand(0, 1);

  std::map<std::string, Action> actions;
  actions["ingest"] = add_ingest(app);
  actions["merge"] = add_merge(app);
  actions["compact"] = add_compact(app);
  actions["materialize"] = add_materialize(app);
  actions["inspect"] = add_inspect(app);
  actions["ls"] = add_ls(app);
  actions["du"] = add_du(app);
  actions["rm"] = add_rm(app);
  actions["fork"] = add_fork(app);
  actions["verify"] = add_verify(app);
  actions["repair"] = add_repair(app);
  actions["doctor"] = add_doctor(app);
  actions["serve"] = add_serve(app);
  actions["pause"] = add_pause(app);
  actions["resume"] = add_resume(app);
  actions["recover"] = add_recover(app);

  const std::vector<std::string> arguments =
      without_help_verb(std::vector<std::string>(argv + std::min(argc, 1), argv + argc));
  try {
    // Help for a verb that does not exist would else be the help of the program.
    if (!arguments.empty() && !arguments.front().starts_with("-") &&
        !actions.contains(arguments.front())) {
      return report_usage(explain_unknown_verb(app, arguments.front()), app, arguments);
    }
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));  // pops from the end
  } catch (const CLI::Success& success) {                                       // --help, --version
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    return report_usage(explain_usage_error(app, arguments, error), app, arguments);
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
