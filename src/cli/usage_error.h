// Messages about wrong arguments, in place of CLI11's.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace lamina::cli {

/// Says why `app` refused `arguments` (all after the program's name). The most helpful reason comes
/// first: an unknown option before a missing one, which may only have been misspelt.
/// REQUIRES: `app` has just thrown `error` while parsing `arguments`.
std::string explain_usage_error(const CLI::App& app, const std::vector<std::string>& arguments,
                                const CLI::ParseError& error);

/// "unknown verb 'ingst'; did you mean 'ingest'?"
std::string explain_unknown_verb(const CLI::App& app, const std::string& word);

}  // namespace lamina::cli
