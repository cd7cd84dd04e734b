#pragma once

#include <optional>
#include <string>
#include <vector>

namespace lamina::cli {

/// The candidate that is closest to `word`, if it is at most two typing mistakes away (one, for a
/// word of two or three characters); nullopt otherwise.
std::optional<std::string> suggest(const std::string& word,
                                   const std::vector<std::string>& candidates);

}  // namespace lamina::cli
