// Paths in what another process says. It works in another directory, so it is given absolute paths
// without symbolic links; what it says of them is shown with the paths that the user gave.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "report/error_json.h"

namespace lamina::cli {

class SaidPaths {
 public:
  /// From now on what is said of `theirs`, and of what is below it, is shown as of `ours`.
  void add(std::string theirs, std::string ours);

  /// `text` with our paths; the longest that fits counts.
  [[nodiscard]] std::string shown(const std::string& text) const;

  /// The same for all texts in a document, but for the names of fields.
  void show(report::Json& document) const;

 private:
  using Pair = std::pair<std::string, std::string>;  ///< theirs, ours
  [[nodiscard]] const Pair* find(const std::string& text, std::size_t at) const;

  std::vector<Pair> pairs_;  ///< the longest of theirs first
};

}  // namespace lamina::cli
