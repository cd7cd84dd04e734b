#pragma once

#include <optional>
#include <string>
#include <vector>

namespace lamina::cli {

/// The candidate that `word` was most likely meant to be: at most two typing mistakes away, and
/// fewer than half of the word. Nothing when there is none.
std::optional<std::string> suggest(const std::string& word,
                                   const std::vector<std::string>& candidates);

}  // namespace lamina::cli
