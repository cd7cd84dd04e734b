#include "manual/completions.h"

namespace lamina::manual {
namespace {

std::string in_quotes(const std::string& text) {
  std::string escaped = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return escaped + "'";
}

/// The flags of `complete` for a value.
std::string value_part(const std::string& program, const Value& value) {
  switch (value.kind) {
    case ValueKind::kText:
      return "-x";
    case ValueKind::kChoice: {
      std::string words;
      for (const std::string& word : value.choices) words += (words.empty() ? "" : " ") + word;
      return "-x -a " + in_quotes(words);
    }
    case ValueKind::kFile:
      return "-r -F";
    case ValueKind::kDirectory:
      return "-x -a '(__fish_complete_directories)'";
    case ValueKind::kName:
      return "-x -a '(__" + program + "_names)'";
  }
  return "";
}

void add_command(std::string& script, const std::string& program, const Command& command,
                 const std::string& condition) {
  const std::string start = "complete -c " + program + condition;
  for (const Option& option : command.options) {
    script += start;
    for (const std::string& name : option.names) {
      script += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
    }
    if (option.takes_value) script += " " + value_part(program, option.value);
    script += " -d " + in_quotes(option.description) + "\n";
  }
  for (const Positional& positional : command.positionals) {
    const std::string part = value_part(program, positional.value);
    // "-x" and "-r" apply to options only.
    if (part.size() > 2) script += start + part.substr(2) + "\n";
  }
}

}  // namespace

std::string fish_completion(const Program& program) {
  const std::string& name = program.command.name;
  std::string script = "# Fish completion of " + name + ", made from its own descriptions.\n\n" +
                       "function __" + name + R"(_names
  # Snapshots of the store that --store, or the first argument, names.
  set -l words (commandline -opc)
  set -l store
  for i in (seq 2 (count $words))
    switch $words[$i]
      case --store
        set store $words[(math $i + 1)]
        break
      case '--store=*'
        set store (string replace -- --store= '' $words[$i])
        break
    end
  end
  if not set -q store[1]
    set -l arguments (string match -v -- '-*' $words)
    set -q arguments[3]; and set store $arguments[3]
  end
  set -q store[1]; or return
  string replace -r '.*/([^/]+)/$' '$1' -- (string replace -r '^~/' "$HOME/" -- $store)/*/
end

complete -c )" + name + " -f\n";
  if (program.verbs.empty()) {
    add_command(script, name, program.command, "");
    return script;
  }
  add_command(script, name, program.command, " -n __fish_use_subcommand");
  for (const Command& verb : program.verbs) {
    script += "complete -c " + name +
              " -n '__fish_use_subcommand; or __fish_seen_subcommand_from " + "help' -a " +
              verb.name + " -d " + in_quotes(verb.description) + "\n";
  }
  script += "complete -c " + name + " -n __fish_use_subcommand -a help -d 'describe a verb'\n";
  for (const Command& verb : program.verbs) {
    add_command(script, name, verb,
                " -n '__fish_seen_subcommand_from " + verb.name +
                    "; and not __fish_seen_subcommand_from help'");
  }
  return script;
}

}  // namespace lamina::manual
