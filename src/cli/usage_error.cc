#include "cli/usage_error.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>

#include "cli/suggestion.h"

namespace lamina::cli {
namespace {

bool is_option(const std::string& argument) { return argument.starts_with("-"); }

/// `argument` without "=value".
std::string name_of(const std::string& argument) { return argument.substr(0, argument.find('=')); }

/// The verb that was parsed, if one was.
const CLI::App* verb_of(const CLI::App& app) {
  const auto verbs = app.get_subcommands();
  return verbs.empty() ? nullptr : verbs.front();
}

bool has_option(const CLI::App& scope, const std::string& name) {
  return scope.get_option_no_throw(name) != nullptr;
}

std::string did_you_mean(const std::string& word, const std::vector<std::string>& candidates) {
  const auto suggestion = suggest(word, candidates);
  return suggestion ? fmt::format("; did you mean '{}'?", *suggestion) : "";
}

std::string explain_unknown_option(const CLI::App& scope, const std::string& argument,
                                   const std::string& where) {
  std::vector<std::string> candidates;
  for (const CLI::Option* option : scope.get_options()) {
    for (const std::string& name : option->get_lnames()) candidates.push_back("--" + name);
  }
  return fmt::format("unknown option '{}'{}{}", argument, where,
                     did_you_mean(name_of(argument), candidates));
}

/// The message for an option before the verb, or without a verb.
std::string explain_early_option(const CLI::App& app, const std::string& argument) {
  const std::string name = name_of(argument);
  const CLI::App* verb = verb_of(app);
  if (verb != nullptr && has_option(*verb, name)) {
    return fmt::format("option '{0}' belongs after the verb, as in 'lamina {1} {0}'", argument,
                       verb->get_name());
  }
  std::string owners;
  for (const CLI::App* owner : app.get_subcommands(nullptr)) {
    if (has_option(*owner, name)) owners += (owners.empty() ? "" : ", ") + owner->get_name();
  }
  if (owners.empty()) return explain_unknown_option(app, argument, "");
  return fmt::format("option '{}' belongs after a verb that has it ({})", argument, owners);
}

/// An option of the verb, and the values that were given for it.
struct GivenOption {
  const CLI::Option* option;
  std::vector<std::string> values;
  bool has_value = true;  ///< false if the last occurrence had none
};

/// The options of `verb` in the order of their first occurrence; `arguments` begin after the verb.
std::vector<GivenOption> given_options(const CLI::App& verb,
                                       std::span<const std::string> arguments) {
  std::vector<GivenOption> all;
  for (std::size_t i = 0; i < arguments.size() && arguments[i] != "--"; ++i) {
    if (!is_option(arguments[i])) continue;
    const CLI::Option* option = verb.get_option_no_throw(name_of(arguments[i]));
    if (option == nullptr) continue;
    auto found = std::find_if(all.begin(), all.end(),
                              [&](const GivenOption& known) { return known.option == option; });
    if (found == all.end()) found = all.insert(found, GivenOption{option, {}, true});
    GivenOption& given = *found;
    const std::size_t equals = arguments[i].find('=');
    if (equals != std::string::npos) {
      given.values.push_back(arguments[i].substr(equals + 1));
    } else if (option->get_items_expected_max() > 0) {
      given.has_value = i + 1 < arguments.size();
      if (given.has_value) given.values.push_back(arguments[++i]);
    }
  }
  return all;
}

/// What is wrong with how an option was given, apart from its value: empty if nothing is.
std::optional<std::string> explain_given(const GivenOption& given) {
  const std::string name = given.option->get_name();
  const bool is_flag = given.option->get_items_expected_max() == 0;
  if (is_flag) {
    if (given.values.empty()) return std::nullopt;
    return fmt::format("{} takes no value, not '{}'", name, given.values.front());
  }
  const std::string accepted = given.option->get_option_text();
  if (!given.has_value) return fmt::format("{} needs a value: {}", name, accepted);
  if (given.values.size() > 1) {
    return fmt::format("{} is given more than once ('{}', '{}'); give it once", name,
                       given.values[0], given.values[1]);
  }
  if (given.values.size() == 1 && given.values.front().empty()) {
    return fmt::format("{} is empty (''); it takes {}", name, accepted);
  }
  return std::nullopt;
}

}  // namespace

std::string explain_unknown_verb(const CLI::App& app, const std::string& word) {
  std::vector<std::string> candidates = {"help"};
  for (const CLI::App* verb : app.get_subcommands(nullptr)) candidates.push_back(verb->get_name());
  return fmt::format("unknown verb '{}'{}", word, did_you_mean(word, candidates));
}

std::string explain_usage_error(const CLI::App& app, const std::vector<std::string>& arguments,
                                const CLI::ParseError& error) {
  const CLI::App* verb = verb_of(app);
  const std::vector<std::string> early = app.remaining(false);
  const auto early_option = std::find_if(early.begin(), early.end(), is_option);
  if (early_option != early.end()) return explain_early_option(app, *early_option);
  if (verb == nullptr) return early.empty() ? error.what() : explain_unknown_verb(app, early[0]);

  const std::string of_verb = " of " + verb->get_name();
  const std::vector<std::string> left = verb->remaining(true);
  const auto odd = std::find_if(left.begin(), left.end(), is_option);
  if (odd != left.end()) return explain_unknown_option(*verb, *odd, of_verb);

  const auto begin = std::find(arguments.begin(), arguments.end(), verb->get_name());
  const auto behind = begin == arguments.end() ? begin : begin + 1;
  for (const GivenOption& given : given_options(*verb, std::span(behind, arguments.end()))) {
    if (const auto explained = explain_given(given)) return *explained;
  }
  if (!left.empty()) return fmt::format("unknown argument '{}'{}", left.front(), of_verb);
  if (!early.empty()) return fmt::format("unknown argument '{}'", early.front());
  return error.what();
}

}  // namespace lamina::cli
