// What is wrong with the arguments, in our own words.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace lamina::cli {

/// Says why `app` did not take `arguments` (all that follow the program's name). What says most
/// comes first: an option that nothing knows, before one that is missing because it was misspelt.
/// REQUIRES: `app` has just thrown `error` while parsing `arguments`.
std::string explain_usage_error(const CLI::App& app, const std::vector<std::string>& arguments,
                                const CLI::ParseError& error);

/// "unknown verb 'ingst'; did you mean 'ingest'?"
std::string explain_unknown_verb(const CLI::App& app, const std::string& word);

}  // namespace lamina::cli
