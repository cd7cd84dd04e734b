#include "manual/completions.h"

namespace lamina::manual {
namespace {

/// Escapes text for a part of a specification of _arguments, within single quotes.
std::string in_quotes(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\'') {
      escaped += "'\\''";
    } else {
      if (c == ':' || c == '[' || c == ']' || c == '\\') escaped += '\\';
      escaped += c;
    }
  }
  return escaped;
}

std::string joined(const std::vector<std::string>& words, const char* between) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : between) + word;
  return text;
}

/// The part ":MESSAGE:ACTION" of a value's specification.
std::string value_part(const std::string& program, const Value& value) {
  std::string action = " ";
  switch (value.kind) {
    case ValueKind::kText:
      break;
    case ValueKind::kChoice:
      action = "(" + joined(value.choices, " ") + ")";
      break;
    case ValueKind::kFile:
      action = "_files";
      break;
    case ValueKind::kDirectory:
      action = "_files -/";
      break;
    case ValueKind::kName:
      action = "_" + program + "_names";
      break;
  }
  return ":" + in_quotes(value.placeholder) + ":" + action;
}

void add_arguments(std::string& script, const std::string& program, const Command& command,
                   const std::string& indent) {
  script += indent + "_arguments -s";
  const auto add = [&](const std::string& part) { script += " \\\n" + indent + "  " + part; };
  for (const Option& option : command.options) {
    const std::string rest = "[" + in_quotes(option.description) + "]" +
                             (option.takes_value ? value_part(program, option.value) : "");
    for (const std::string& name : option.names) {
      // An option that was given is not offered again under any of its names. A long option also
      // takes
      // --name=VALUE.
      const std::string before = option.is_repeatable ? "*" : "(" + joined(option.names, " ") + ")";
      const bool has_equals = option.takes_value && name.starts_with("--");
      add("'" + before + name + (has_equals ? "=" : "") + rest + "'");
    }
  }
  for (const Positional& positional : command.positionals) {
    add(std::string("'") + (positional.is_repeatable ? "*" : "") +
        value_part(program, positional.value) + "'");
  }
  script += "\n";
}

}  // namespace

std::string zsh_completion(const Program& program) {
  const std::string& name = program.command.name;
  std::string script =
      "#compdef " + name + "\n# Zsh completion of " + name +
      ", made from its own descriptions.\n\n" + "_" + name +
      R"(_names() {  # snapshots of the store that --store, or the first argument, names
  local i store=''
  local -a found
  for (( i = 2; i < CURRENT; i++ )); do
    case $words[i] in
      (--store) store=$words[i+1] ;;
      (--store=*) store=${words[i]#--store=} ;;
      (-*) ;;
      (*) [[ -n $store ]] || store=$words[i] ;;
    esac
  done
  [[ -n $store ]] || return 1
  found=(${~store}/*(N/:t))
  compadd -a found
}

)";
  script += "_" + name + "() {\n";
  if (program.verbs.empty()) {
    add_arguments(script, name, program.command, "  ");
    return script + "}\n\n_" + name + " \"$@\"\n";
  }
  script += "  local line state\n  local -a verbs\n  verbs=(\n";
  for (const Command& verb : program.verbs) {
    script += "    '" + in_quotes(verb.name) + ":" + in_quotes(verb.description) + "'\n";
  }
  script += "    'help:describe a verb'\n  )\n";
  Command top = program.command;
  add_arguments(script, name, top, "  ");
  script.pop_back();
  script +=
      " \\\n    '1:VERB:->verb' '*::ARGUMENT:->argument'\n"
      "  case $state in\n"
      "    (verb) _describe -t verbs verb verbs ;;\n"
      "    (argument)\n"
      "      case $words[1] in\n"
      "        (help) _describe -t verbs verb verbs ;;\n";
  for (const Command& verb : program.verbs) {
    script += "        (" + verb.name + ")\n";
    add_arguments(script, name, verb, "          ");
    script += "          ;;\n";
  }
  return script + "      esac ;;\n  esac\n}\n\n_" + name + " \"$@\"\n";
}

}  // namespace lamina::manual
