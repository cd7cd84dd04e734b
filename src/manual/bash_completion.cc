#include <fmt/format.h>

#include "manual/completions.h"

namespace lamina::manual {
namespace {

// PROGRAM is replaced with the program's name. An option's value is given as --option VALUE or as
// --option=VALUE; bash splits the latter into three words.
constexpr const char* kFunctions = R"(# Bash completion of PROGRAM, made from its own descriptions.

_PROGRAM_words() {
  mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

_PROGRAM_files() {  # -f: files and directories, -d: directories
  compopt -o filenames
  mapfile -t COMPREPLY < <(compgen "$1" -- "$cur")
}

# Snapshots of the store that --store, or else the first argument, names.
_PROGRAM_names() {
  local i store='' first='' path
  for (( i = 1; i < COMP_CWORD; i++ )); do
    case ${COMP_WORDS[i]} in
      --store)
        store=${COMP_WORDS[i + 1]}
        [[ $store == '=' ]] && store=${COMP_WORDS[i + 2]} ;;
      -*) ;;
      "$verb") ;;
      *) [[ -n $first ]] || first=${COMP_WORDS[i]} ;;
    esac
  done
  store=${store:-$first}
  [[ -n $store ]] || return
  COMPREPLY=()
  for path in "${store/#\~\//$HOME/}"/*/; do
    path=${path%/} path=${path##*/}
    [[ $path != '*' && $path == "$cur"* ]] && COMPREPLY+=("$path")
  done
}

_PROGRAM() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb='' i
  COMPREPLY=()
  if [[ $cur == '=' ]]; then
    cur=''
  elif [[ $prev == '=' ]] && (( COMP_CWORD > 1 )); then
    prev=${COMP_WORDS[COMP_CWORD - 2]}
  fi
)";

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

/// The command that completes a value; empty: there is none.
std::string action_of(const std::string& program, const Value& value) {
  switch (value.kind) {
    case ValueKind::kText:
      return "";
    case ValueKind::kChoice:
      return "_" + program + "_words '" + joined(value.choices) + "'";
    case ValueKind::kFile:
      return "_" + program + "_files -f";
    case ValueKind::kDirectory:
      return "_" + program + "_files -d";
    case ValueKind::kName:
      return "_" + program + "_names";
  }
  return "";
}

/// Completes an option's value, an option or an argument of one command. A command's first argument
/// may have a kind of its own; all others have the kind of the last.
void add_command(std::string& script, const std::string& program, const Command& command,
                 const std::string& indent) {
  script += indent + "case $prev in\n";
  std::vector<std::string> names;
  for (const Option& option : command.options) {
    names.insert(names.end(), option.names.begin(), option.names.end());
    if (!option.takes_value) continue;
    std::string pattern;
    for (const std::string& name : option.names) pattern += (pattern.empty() ? "" : "|") + name;
    const std::string action = action_of(program, option.value);
    script +=
        indent + "  " + pattern + ") " + (action.empty() ? "" : action + "; ") + "return ;;\n";
  }
  script += indent + "esac\n" + indent + "if [[ $cur == -* ]]; then\n" + indent + "  _" + program +
            "_words '" + joined(names) + "'\n";
  if (command.positionals.size() > 1) {
    const std::string first = action_of(program, command.positionals.front().value);
    script += indent + "elif [[ $prev == \"$verb\" ]]; then\n" + indent + "  " +
              (first.empty() ? ":" : first) + "\n";
  }
  if (!command.positionals.empty()) {
    const std::string action = action_of(program, command.positionals.back().value);
    script += indent + "else\n" + indent + "  " + (action.empty() ? ":" : action) + "\n";
  }
  script += indent + "fi\n";
}

std::string with_name(std::string text, const std::string& program) {
  constexpr std::string_view kPlace = "PROGRAM";
  for (std::size_t at = 0; (at = text.find(kPlace, at)) != std::string::npos;) {
    text.replace(at, kPlace.size(), program);
    at += program.size();
  }
  return text;
}

}  // namespace

std::string bash_completion(const Program& program) {
  const std::string& name = program.command.name;
  std::string script = with_name(kFunctions, name);
  if (program.verbs.empty()) {
    add_command(script, name, program.command, "  ");
    return script + "}\n\ncomplete -F _" + name + " " + name + "\n";
  }
  std::vector<std::string> verbs;
  verbs.reserve(program.verbs.size());
  for (const Command& verb : program.verbs) verbs.push_back(verb.name);
  script += fmt::format(
      "  for (( i = 1; i < COMP_CWORD; i++ )); do\n"
      "    [[ ${{COMP_WORDS[i]}} == -* ]] || {{ verb=${{COMP_WORDS[i]}}; break; }}\n"
      "  done\n"
      "  case $verb in\n"
      "    '')\n"
      "      if [[ $cur == -* ]]; then\n"
      "        _{0}_words '{1}'\n"
      "      else\n"
      "        _{0}_words '{2} help'\n"
      "      fi ;;\n"
      "    help) _{0}_words '{2}' ;;\n",
      name,
      [&] {
        std::vector<std::string> names;
        for (const Option& option : program.command.options) {
          names.insert(names.end(), option.names.begin(), option.names.end());
        }
        return joined(names);
      }(),
      joined(verbs));
  for (const Command& verb : program.verbs) {
    script += "    " + verb.name + ")\n";
    add_command(script, name, verb, "      ");
    script += "      ;;\n";
  }
  return script + "  esac\n}\n\ncomplete -F _" + name + " " + name + "\n";
}

}  // namespace lamina::manual
