#include "cli/command_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <sstream>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "cli/output.h"
#include "cli/usage_error.h"
#include "lamina/version.h"
#include "os/own_process.h"

namespace lamina::cli {
namespace {

constexpr std::size_t kHelpColumn = 32;

constexpr const char* kFooter =
    "A SNAPSHOT is a directory. The directory that holds it is the store.\n"
    "'lamina help VERB' describes a verb.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 corrupt, 5 busy,\n"
    "6 no space, 130 interrupted.";

/// True if the error of parsing is to be printed as JSON too. The parser's flag cannot be used:
/// parsing has failed.
bool wants_json(const std::vector<std::string>& arguments) {
  const auto end = std::find(arguments.begin(), arguments.end(), "--");
  return std::find(arguments.begin(), end, "--json") != end;
}

/// Turns "help" into "--help" and "help VERB …" into "VERB … --help".
std::vector<std::string> without_help_verb(std::vector<std::string> arguments) {
  if (arguments.empty() || arguments.front() != "help") return arguments;
  arguments.erase(arguments.begin());
  if (!arguments.empty() && arguments.front() == "help") arguments.erase(arguments.begin());
  arguments.emplace_back("--help");
  return arguments;
}

/// The exit code after flushing stdout: a result that could not be written is a failure.
int flush_output(int code) {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
  print_message("the result could not be written to standard output");
  return code == kExitDone ? kExitFailed : code;
}

/// A word that needs another to be a verb: "remote push" is the verb "remote-push".
struct VerbGroup {
  std::string_view name;
  std::string_view needs;  ///< for messages
};

constexpr std::array kGroups = {
    VerbGroup{"remote", "a verb: push, pull, fetch, ls, du, rm, prune, verify, check or keys"},
    VerbGroup{"remote-keys", "a verb: ls, rotate or destroy"},
#ifdef LAMINA_HAVE_PACKED
    VerbGroup{"import", "a format: e2b"},
    VerbGroup{"export", "a format: firecracker, cloud-hypervisor or e2b"},
#else
    VerbGroup{"export", "a format: firecracker or cloud-hypervisor"},
#endif
};

const VerbGroup* group_of(const std::vector<std::string>& arguments) {
  if (arguments.empty()) return nullptr;
  const auto* found = std::find_if(kGroups.begin(), kGroups.end(), [&](const VerbGroup& group) {
    return group.name == arguments.front();
  });
  return found == kGroups.end() ? nullptr : found;
}

/// Turns "remote VERB …" into "remote-VERB …", and the same with the other groups, also with groups
/// in groups.
std::vector<std::string> with_joined_verb(std::vector<std::string> arguments) {
  while (arguments.size() >= 2 && group_of(arguments) != nullptr &&
         !arguments[1].starts_with("-")) {
    arguments[1] = arguments[0] + "-" + arguments[1];
    arguments.erase(arguments.begin());
  }
  return arguments;
}

CLI::Validator not_empty() {
  const auto check = [](const std::string& text) {
    return text.empty() ? std::string("the value is empty") : std::string();
  };
  return {check, ""};
}

/// 'fork --live' is the verb fork-live, which has other arguments than fork.
void rename_live_fork(std::vector<std::string>& arguments) {
  if (arguments.empty() || arguments.front() != "fork") return;
  const auto live = std::find(arguments.begin(), arguments.end(), "--live");
  if (live == arguments.end()) return;
  arguments.erase(live);
  arguments.front() = "fork-live";
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

CommandLine::CommandLine() : app_("lamina keeps the memory of paused microVMs", "lamina") {
  app_.set_version_flag("--version,-V", std::string("lamina ") + version_text());
  app_.footer(kFooter);
  app_.get_formatter()->column_width(kHelpColumn);
  app_.get_formatter()->label("SUBCOMMAND", "VERB");
  app_.require_subcommand(0, 1);

  actions_["ingest"] = add_ingest(app_);
  actions_["merge"] = add_merge(app_);
  actions_["compact"] = add_compact(app_);
  actions_["materialize"] = add_materialize(app_);
  actions_["export-firecracker"] = add_export_firecracker(app_);
  actions_["export-cloud-hypervisor"] = add_export_cloud_hypervisor(app_);
  actions_["inspect"] = add_inspect(app_);
  actions_["ls"] = add_ls(app_);
  actions_["du"] = add_du(app_);
  actions_["rm"] = add_rm(app_);
  actions_["fork"] = add_fork(app_);
  actions_["fork-live"] = add_live_fork(app_);
  actions_["verify"] = add_verify(app_);
  actions_["repair"] = add_repair(app_);
  actions_["doctor"] = add_doctor(app_);
  actions_["serve"] = add_serve(app_);
  actions_["pause"] = add_pause(app_);
  actions_["resume"] = add_resume(app_);
  actions_["recover"] = add_recover(app_);
  actions_["ui"] = add_ui(app_);
  actions_["report"] = add_report(app_);
  actions_["top"] = add_top(app_);
#ifdef LAMINA_HAVE_PACKED
  actions_["pack"] = add_pack(app_);
  actions_["unpack"] = add_unpack(app_);
  actions_["import-e2b"] = add_import_e2b(app_);
  actions_["export-e2b"] = add_export_e2b(app_);
#endif
#ifdef LAMINA_HAVE_REMOTE
  actions_["remote-push"] = add_remote_push(app_);
  actions_["remote-pull"] = add_remote_pull(app_);
  actions_["remote-fetch"] = add_remote_fetch(app_);
  actions_["remote-ls"] = add_remote_ls(app_);
  actions_["remote-du"] = add_remote_du(app_);
  actions_["remote-rm"] = add_remote_rm(app_);
  actions_["remote-prune"] = add_remote_prune(app_);
  actions_["remote-verify"] = add_remote_verify(app_);
  actions_["remote-check"] = add_remote_check(app_);
  actions_["remote-keys-ls"] = add_remote_keys_ls(app_);
  actions_["remote-keys-rotate"] = add_remote_keys_rotate(app_);
  actions_["remote-keys-destroy"] = add_remote_keys_destroy(app_);
#endif
}

Result<Invocation> CommandLine::parse(const std::vector<std::string>& given) {
  const std::vector<std::string> arguments = with_joined_verb(without_help_verb(given));
  if (const VerbGroup* group = group_of(arguments)) {
    return fail(ErrorKind::kUsage, "'{}' needs {}", group->name, group->needs);
  }
  try {
    // CLI11 would print the help of the program for an unknown verb with --help.
    if (!arguments.empty() && !arguments.front().starts_with("-") &&
        !actions_.contains(arguments.front())) {
      return fail(ErrorKind::kUsage, "{}", explain_unknown_verb(app_, arguments.front()));
    }
    app_.parse(
        std::vector<std::string>(arguments.rbegin(), arguments.rend()));  // pops from the end
  } catch (const CLI::Success& success) {                                 // --help, --version
    std::ostringstream text;
    app_.exit(success, text, text);
    return Invocation{{}, text.str()};
  } catch (const CLI::ParseError& error) {
    return fail(ErrorKind::kUsage, "{}", explain_usage_error(app_, arguments, error));
  }
  const std::string name = verb();
  return name.empty() ? Invocation{} : Invocation{actions_.at(name), {}};
}

std::string CommandLine::verb() const {
  const auto verbs = app_.get_subcommands();
  return verbs.empty() ? "" : verbs.front()->get_name();
}

int run_command_line(int argc, char** argv) {
  CommandLine command_line;
  std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  rename_live_fork(arguments);
  const auto invocation = command_line.parse(arguments);
  if (!invocation) {
    const int code = report_error(invocation.error(), wants_json(arguments));
    const std::string verb = command_line.verb();
    print_stderr(fmt::format("Try 'lamina {}{}--help'.\n", verb, verb.empty() ? "" : " "));
    return flush_output(code);
  }
  if (!invocation->text.empty()) {
    static_cast<void>(std::fwrite(invocation->text.data(), 1, invocation->text.size(), stdout));
    return flush_output(kExitDone);
  }
  if (!invocation->action) {
    print_stderr(command_line.help());
    return kExitUsage;
  }
  // A page server handles signals itself. One that its predecessor has left pending must not end
  // it.
  if (command_line.verb() != "serve") os::unblock_signals();
  return flush_output(invocation->action());
}

}  // namespace lamina::cli
